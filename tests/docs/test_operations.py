"""What docs/operations.md walks through, done: its commands run as they stand, on ports and files of the test's own."""

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml
from janua_client.processes import Child

from tests.clients.janua_client.cli_runner import janua
from tests.support.postgres_server import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PLANES = ("config-server", "gateway")

POOL = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}
SERVICE = {"name": "llm", "upstream_service": {"upstream": "pool"}}
ROUTE = {"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "llm"}]}


def commands() -> Iterator[str]:
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        yield from (line for line in block.splitlines() if not line.startswith("pip "))


@pytest.mark.component("postgres")
async def test_every_command_works(
    shared_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "janua.yaml": yaml.safe_dump({"upstreams": [POOL], "services": [SERVICE], "routes": [ROUTE]}),
        "changed.yaml": yaml.safe_dump({"upstreams": [{**POOL, "description": "other"}]}),
        "openai-key.txt": "sk-test\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    places = {"$DATABASE": await shared_postgres.new_database(), "/var/lib/janua": str(tmp_path)}
    outputs: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for line in commands():
            for place, real in places.items():
                line = line.replace(place, real)
            words = shlex.split(line.partition(" < ")[0], comments=True)
            if words[0] != "janua":
                await asyncio.to_thread(subprocess.run, ["bash", "-c", line], check=True)
            elif words[1] in PLANES:
                places.update(await started(stack, words))
            else:
                stdin = (tmp_path / line.rpartition(" < ")[2]).read_text() if " < " in line else ""
                done = await janua(*words[1:], stdin=stdin)
                assert done.code == 0, f"{line}\n{done.out}{done.err}"
                outputs[" ".join(words[1:3])] = done.out
    assert "first routes" in outputs["history --server"]
    assert "created   route/chat" in outputs["history 1"]
    assert outputs["diff --revision"].splitlines()[0] == "updated   upstream/pool"
    assert "revision 3: 1 updated" in outputs["rollback 1"]
    assert outputs["secrets set"] == "revision 4: secret/openai-key created\n"
    assert "laptop" in outputs["keys list"]


async def started(stack: AsyncExitStack, words: list[str]) -> dict[str, str]:
    """Starts a plane on free ports. Which address of the page is which of theirs."""
    module = words[1].replace("-", "_")
    named = words[words.index("--listen") + 1] if "--listen" in words else ""
    arguments = [word if word != named else "127.0.0.1:0" for word in words[2:]]
    if words[1] == "gateway":
        for option in ("--http", "--grpc", "--admin"):
            arguments += [option, "127.0.0.1:0"]
    child = await Child.start(words[1], [sys.executable, "-m", module, *arguments])
    stack.push_async_callback(child.stop)
    ready = await child.ready(30.0)
    return {named: str(ready["grpc"])} if named else {}
