"""What docs/security.md walks through, done: its commands run as they stand, on ports and files of the test's own."""

import asyncio
import os
import shlex
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import yaml
from janua_client.processes import Child

from config_server.access.access_list import AccessList
from tests.clients.janua_client.cli_runner import JANUA
from tests.config_server.access.certificates import Authority
from tests.docs.fenced import blocks, commands
from tests.support.processes import START_S

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PLANES = ("config-server", "gateway")
POOL = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}


async def test_every_command_works(tmp_path: Path) -> None:
    Authority(tmp_path).server().key.rename(tmp_path / "server.key")
    (tmp_path / "janua.yaml").write_text(yaml.safe_dump({"upstreams": [POOL]}))
    environment = {"PATH": f"{Path(JANUA).parent}:{os.environ['PATH']}"}
    port, outputs = "18000", {}
    async with AsyncExitStack() as stack:
        for line in commands(PAGE):
            here = line.replace("0.0.0.0:18000", "0.0.0.0:0").replace("localhost:18000", f"localhost:{port}")
            words = shlex.split(here, comments=True)
            if words[0] == "umask":
                stack.callback(os.umask, os.umask(int(words[1], 8)))
            elif words[0] == "export":
                environment.update(await exported(here, tmp_path, environment))
            elif words[1] in PLANES:
                ready = await started(stack, words, tmp_path, environment)
                port = port if words[1] == "gateway" else ready["grpc"].rpartition(":")[2]
            else:
                outputs[" ".join(words[1:3])] = await shell(here, tmp_path, environment)
    assert outputs["access list"].splitlines()[-1].split() == ["edge", "node", "1", "-", "edge-*"]
    assert "1 of 1" in outputs["apply -f"]
    assert stat.S_IMODE((tmp_path / "edge.token").stat().st_mode) == 0o600
    assert outputs["nodes"].splitlines()[1].startswith("edge-1 ")


def test_the_file_that_it_shows_is_one() -> None:
    (text,) = blocks(PAGE, "yaml")
    access = AccessList.parse(text.replace("5f9c…", "5f" * 32))
    assert [principal.name for principal in access.principals] == ["ci", "edge"]


async def started(stack: AsyncExitStack, words: list[str], directory: Path, env: dict[str, str]) -> dict[str, str]:
    options = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state-dir", "node")
    more = options if words[1] == "gateway" else ()
    script = f"cd {shlex.quote(str(directory))} && exec {shlex.join([JANUA, *words[1:], *more])}"
    child = await Child.start(words[1], ["bash", "-c", script], env=env)
    stack.push_async_callback(child.stop)
    return {name: str(value) for name, value in (await child.ready(START_S)).items()}


async def exported(line: str, directory: Path, environment: dict[str, str]) -> dict[str, str]:
    told = await shell(f"{line}; env -0", directory, environment)
    pairs = (entry.split("=", 1) for entry in told.split("\0") if entry.startswith("JANUA_"))
    return dict(pairs)


async def shell(line: str, directory: Path, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", line),
        cwd=directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{line}\n{out.decode()}{err.decode()}"
    return out.decode()
