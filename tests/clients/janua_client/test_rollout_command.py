"""`janua rollout status` and live views, against a real server and node."""

import asyncio
import contextlib
import json
import os
import pty
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.janua_client.cli_runner import JANUA, janua
from tests.config_server.server_process import server_process
from tests.support.processes import ConfigServer, NodeFactory

POOL: dict[str, Any] = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}
_TIMEOUT_S = 30.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "janua.yaml"
    write(path)
    return path


def write(path: Path, description: str = "") -> None:
    path.write_text(yaml.safe_dump({"upstreams": [{**POOL, "description": description}]}))


async def apply(server: ConfigServer, file: Path, description: str = "") -> None:
    write(file, description)
    done = await janua("apply", "-f", str(file), "--server", server.address)
    assert done.code == 0, done.err


@asynccontextmanager
async def started(*arguments: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(JANUA, *arguments, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_rollout_node_by_node(config_server: ConfigServer, node: NodeFactory, file: Path) -> None:
    await node(config_server)
    await apply(config_server, file)
    waited = await janua("apply", "-f", str(file), "--wait", "all", "--server", config_server.address)
    assert waited.code == 0
    shown = await janua("rollout", "status", "--server", config_server.address)
    summary, empty, header, row = shown.out.splitlines()
    assert (summary, empty) == ("revision 1: 1 of 1 nodes have it", "")
    assert header.split() == ["NODE", "CONFIG", "ACKED", "CONNECTED", "CONFIG", "SERVER"]
    assert row.split()[:3] == ["node-1", "synced", "1"]
    data = json.loads((await janua("rollout", "status", "1", "-o", "json", "--server", config_server.address)).out)
    assert [(each["id"], each["state"], each["connected"]) for each in data["nodes"]] == [("node-1", "synced", True)]
    assert data["nodes"][0]["connected_since"]
    assert data["nodes"][0]["config_server"]
    missing = await janua("rollout", "status", "9", "--server", config_server.address)
    assert (missing.code, missing.err) == (1, "janua rollout: revision 9 was never made; the current one is 1\n")


@pytest.mark.parametrize("command", [["rollout", "status"], ["nodes"]])
async def test_lines_of_json_follow_the_newest_revision(
    config_server: ConfigServer, node: NodeFactory, file: Path, command: list[str]
) -> None:
    await node(config_server)
    arguments = (*command, "--watch", "-o", "json", "--server", config_server.address)
    async with started(*arguments, stdout=asyncio.subprocess.PIPE) as watching, asyncio.timeout(_TIMEOUT_S):
        assert watching.stdout is not None
        for revision in (1, 2):
            await apply(config_server, file, f"of {revision}")
            while True:
                state = json.loads(await watching.stdout.readline())
                states = {each.get("config", each["state"]) for each in state["nodes"]}
                if (state["revision"], states) == (revision, {"synced"}):
                    break
        watching.send_signal(signal.SIGINT)
        assert await watching.wait() == 130


@pytest.mark.parametrize("command", [["nodes"], ["canary", "status"]])
async def test_a_config_server_that_goes_is_told_of_and_comes_back(
    tmp_path: Path, file: Path, command: list[str]
) -> None:
    """Without that, what was so before would go on standing there as if it were so."""
    listen = ("--store", f"sqlite:///{tmp_path / 'config.db'}", "--drain-timeout", "0s", "--listen")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(server_process(*listen, "127.0.0.1:0"))
        assert (await janua("apply", "-f", str(file), "--server", server.address)).code == 0
        write(file, "tried")
        canary = ("--canary", "cluster=none", "--server", server.address)
        assert (await janua("apply", "-f", str(file), *canary)).code == 0
        arguments = (*command, "--watch", "-o", "json", "--server", server.address)
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        watching = await stack.enter_async_context(started(*arguments, **pipes))
        assert watching.stdout is not None
        assert watching.stderr is not None
        async with asyncio.timeout(_TIMEOUT_S):
            before = await watching.stdout.readline()
            assert json.loads(before)
            server.kill()
            await server.process.wait()
            told = (await watching.stderr.readline()).decode()
            assert told.startswith(f"warning: the config server at {server.address} is lost (")
            assert told.endswith("): this is how it was, tried again\n")
            async with server_process(*listen, server.address):
                assert await watching.stdout.readline() == before
                watching.send_signal(signal.SIGINT)
                assert await watching.wait() == 130
        assert await watching.stderr.read() == b"", "told once"


@pytest.mark.parametrize("command", [["rollout", "status"], ["nodes"]])
async def test_a_person_sees_one_view_that_changes(
    config_server: ConfigServer, node: NodeFactory, file: Path, command: list[str]
) -> None:
    await node(config_server)
    await apply(config_server, file)
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    arguments = (*command, "--watch", "--server", config_server.address)
    try:
        async with started(*arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as watching:
            os.close(terminal)
            screen = await _screen_until(controller, "synced")
            await apply(config_server, file, "changed")
            screen += await _screen_until(controller, "revision 2")
            assert "revision 1" in screen
            assert "\x1b[1A" in screen or "\x1b[2K" in screen  # in the place of what was there before
            watching.send_signal(signal.SIGINT)
            await asyncio.to_thread(_drained, controller)
            assert await watching.wait() == 130
    finally:
        os.close(controller)


async def _screen_until(controller: int, text: str) -> str:
    screen = ""
    async with asyncio.timeout(_TIMEOUT_S):
        while text not in screen:
            screen += (await asyncio.to_thread(os.read, controller, 65536)).decode()
    return screen


def _drained(controller: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(controller, 65536):
            pass


async def test_a_live_view_is_no_yaml(config_server: ConfigServer) -> None:
    for command in (["rollout", "status"], ["nodes"]):
        refused = await janua(*command, "--watch", "-o", "yaml", "--server", config_server.address)
        assert refused.code == 2
        assert "--watch prints a table, or with -o json" in refused.err


async def test_who_and_why_are_kept(config_server: ConfigServer, file: Path) -> None:
    server = ("--server", config_server.address)
    await janua("apply", "-f", str(file), "--author", "ci", "-m", "first", *server)
    await janua("delete", "upstream", "pool", "--author", "eve", "-m", "not needed", *server)
    await janua("rollback", "1", "--yes", "--author", "bob", *server)
    data = json.loads((await janua("history", "-o", "json", *server)).out)
    assert [(each["author"], each["message"]) for each in data["revisions"]] == [
        ("bob", "back to revision 1"),
        ("eve", "not needed"),
        ("ci", "first"),
    ]
