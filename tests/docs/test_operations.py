"""What docs/operations.md walks through, done: its commands run as they stand, on ports and files of the test's own."""

import asyncio
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import yaml
from janua_client.processes import Child

from tests.clients.janua_client.cli_runner import janua, run_janua
from tests.docs.fenced import commands
from tests.support.polling import eventually
from tests.support.postgres_server import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PLANES = ("config-server", "gateway")

POOL = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}
SERVICE = {"name": "llm", "upstream_service": {"upstream": "pool"}}
ROUTE = {"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "llm"}]}


class Planes:
    """The servers and the node that the page has, on free ports, by their names: what `restart` restarts."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.addresses: dict[str, str] = {}
        """Which address of the page is which of theirs."""
        self._stack = stack
        self._children: dict[str, Child] = {}
        self._commands: dict[str, list[str]] = {}

    async def start(self, words: Sequence[str]) -> None:
        """`words` are a command of the page. Returns once it serves."""
        named = words[words.index("--listen") + 1] if "--listen" in words else ""
        name = words[words.index("--replica-id") + 1] if named else "node"
        arguments = [word if word != named else "127.0.0.1:0" for word in words[2:]]
        if not named:
            arguments += [each for option in ("--http", "--grpc", "--admin") for each in (option, "127.0.0.1:0")]
        ready = await self._start(name, [words[1].replace("-", "_"), *arguments])
        if named:
            self.addresses[named] = str(ready["grpc"])
            self._commands[name][self._commands[name].index("--listen") + 1] = self.addresses[named]

    async def restart(self, name: str) -> None:
        await self._children[name].stop()
        await self._start(name, self._commands[name])

    async def _start(self, name: str, command: list[str]) -> Mapping[str, object]:
        self._commands[name] = command
        child = self._children[name] = await Child.start(name, [sys.executable, "-m", *command])
        self._stack.push_async_callback(child.stop)
        return await child.ready(30.0)


@pytest.mark.component("postgres")
@pytest.mark.timeout(300)
async def test_every_command_works(
    shared_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "janua.yaml": yaml.safe_dump({"upstreams": [POOL], "services": [SERVICE], "routes": [ROUTE]}),
        "changed.yaml": yaml.safe_dump({"upstreams": [{**POOL, "description": "other"}]}),
        "mistake.yaml": yaml.safe_dump({"upstreams": [{**POOL, "description": "mistaken"}]}),
        "openai-key.txt": "sk-test\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    database = await shared_postgres.new_database()
    outputs: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        planes = Planes(stack)
        for line in commands(PAGE):
            if line.startswith("pip "):
                continue
            for place, real in {"$DATABASE": database, "/var/lib/janua": str(tmp_path), **planes.addresses}.items():
                line = line.replace(place, real)
            words = shlex.split(line.partition(" < ")[0], comments=True)
            if words[0] == "restart":
                await planes.restart(words[1])
            elif words[0] == "umask":
                stack.callback(os.umask, os.umask(int(words[1], 8)))
            elif words[0] != "janua":
                await asyncio.to_thread(subprocess.run, ["bash", "-c", line], check=True)
            elif words[1] in PLANES:
                await planes.start(words)
            else:
                stdin = (tmp_path / line.rpartition(" < ")[2]).read_text() if " < " in line else ""
                run = run_janua if words[1] == "store" else janua  # another program, which takes this one's place
                done = await run(*words[1:], stdin=stdin)
                assert done.code == 0, f"{line}\n{done.out}{done.err}"
                outputs[" ".join(words[1:3])] = done.out
        await eventually(partial(is_as_in_the_backup, planes.addresses["127.0.0.1:18003"]))
    assert "first routes" in outputs["history --server"]
    assert "created   route/chat" in outputs["history 1"]
    assert outputs["diff --revision"].splitlines()[0] == "updated   upstream/pool"
    assert "revision 3: 1 updated" in outputs["rollback 1"]
    assert outputs["secrets set"] == "revision 4: secret/openai-key created\n"
    assert "laptop" in outputs["keys list"]
    assert "1 of 1 nodes have it" in outputs["rollout status"]
    assert len((tmp_path / "keys").read_text().split()) == 1
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600


async def is_as_in_the_backup(server: str) -> bool:
    done = await janua("get", "upstream", "pool", "-o", "yaml", "--server", server)
    return done.code == 0 and "mistaken" not in done.out
