"""`janua up` as a process: what it prints, how it ends, and what it does when a plane or a file is not right."""

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from janua_client.config_client import ConfigClient
from janua_client.processes import Child
from janua_resources.kinds import unwrap

from tests.clients.janua_client.cli_runner import JANUA, janua, run_janua
from tests.support.polling import eventually

LONG = 30.0
ANY_PORT = [word for option in ("--listen", "--http", "--grpc", "--admin") for word in (option, "127.0.0.1:0")]

KEY: dict[str, Any] = {"key_sha256": "0" * 64}
ALICE = {"name": "alice", "api_keys": [KEY]}
POOL = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9"}]}
LLM = {"name": "llm", "upstream_service": {"upstream": "pool"}}
CHAT = {"name": "chat", "backends": [{"service": "llm"}], "policies": ["keys"]}
KEYS = {"name": "keys", "api_key_auth": {}}
ALL = {"upstreams": [POOL], "services": [LLM], "policies": [KEYS], "routes": [CHAT], "consumers": [ALICE]}

Up = Callable[..., contextlib.AbstractAsyncContextManager[Child]]


@pytest.fixture
def up(tmp_path: Path) -> Up:
    """Starts `janua up` on free ports, below a directory of its own."""

    @asynccontextmanager
    async def start(*arguments: str) -> AsyncIterator[Child]:
        command = [JANUA, "up", *ANY_PORT, "--data-dir", str(tmp_path / "data"), *arguments]
        child = await Child.start("up", command)
        try:
            yield child
        finally:
            await child.stop(LONG)

    return start


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "janua.yaml"
    rewrite(path, yaml.safe_dump(ALL))
    return path


def rewrite(path: Path, text: str) -> None:
    """Writes as editors do: a new file under the old name, so that nobody reads a half."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def planes(child: Child) -> dict[str, int]:
    """The process ids of the planes, by module."""
    pids = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    words = {int(pid): command_line(int(pid)) for pid in pids}
    return {each[each.index("-m") + 1]: pid for pid, each in words.items() if "-m" in each}


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def names(config_server: str) -> list[str]:
    async with ConfigClient(config_server) as client:
        stored, _ = await client.snapshot()
        return sorted(unwrap(each.resource).name for each in stored)


async def test_serves_until_sigterm_and_keeps_what_it_was_given(up: Up, file: Path) -> None:
    async with up("-f", str(file), "--node-id", "me", "--node-cluster", "here", "--access-log", "off") as child:
        ready = await child.ready(LONG)
        assert set(ready) == {"event", "component", "config_server", "http", "grpc", "admin"}
        assert ready["component"] == "up"
        server = str(ready["config_server"])
        data = json.loads((await janua("nodes", "-o", "json", "--server", server)).out)
        assert [(node["id"], node["cluster"], node["config"]) for node in data["nodes"]] == [("me", "here", "synced")]
        assert len(planes(child)) == 2
        assert await child.stop(LONG) == 0
        log = child.log_tail(200)
        assert any("created   route/chat" in line for line in log)
    async with up() as child:
        assert await names(str((await child.ready(LONG))["config_server"])) == ["alice", "chat", "keys", "llm", "pool"]


async def test_the_node_is_advertised_as_it_is_told(up: Up) -> None:
    async with up("--advertise-grpc", "10.0.0.7:0") as child:
        ready = await child.ready(LONG)
        port = str(ready["grpc"]).rpartition(":")[2]
        async with ConfigClient(str(ready["config_server"])) as client:
            (node,) = (await client.nodes()).nodes
        assert node.status.addresses.grpc == f"10.0.0.7:{port}"


async def test_what_left_the_files_is_deleted_consumers_too(up: Up, file: Path) -> None:
    async with up("-f", str(file), "--watch") as child:
        server = str((await child.ready(LONG))["config_server"])
        by_hand = yaml.safe_dump({"policies": [{"name": "by-hand", "api_key_auth": {}}]})
        assert (await janua("apply", "-f", "-", "--server", server, stdin=by_hand)).code == 0
        rewrite(file, yaml.safe_dump({"upstreams": [POOL], "services": [LLM]}))

        async def only_the_rest() -> bool:
            return await names(server) == ["by-hand", "llm", "pool"]

        await eventually(only_the_rest)
        rewrite(file, "# nothing at all\n")

        async def said_so() -> bool:
            return any(
                "the files name no resource: the configuration stays as it is" in each for each in child.log_tail()
            )

        await eventually(said_so)
        assert await only_the_rest()


async def test_a_bad_edit_is_reported_and_a_good_one_after_it_applied(up: Up, file: Path) -> None:
    async with up("-f", str(file), "--watch") as child:
        server = str((await child.ready(LONG))["config_server"])
        good = yaml.safe_dump(ALL)
        rewrite(file, good.replace("api_key_auth", "api_key_auht"))

        async def reported() -> bool:
            return any("not applied, the configuration stays as it is" in line for line in child.log_tail())

        await eventually(reported)
        assert any("did you mean 'api_key_auth'" in line for line in child.log_tail())
        assert "alice" in await names(server)
        rewrite(file, good.replace("alice", "alina"))

        async def applied() -> bool:
            return "alina" in await names(server)

        await eventually(applied)


async def test_hangup_has_files_read_again(up: Up, file: Path) -> None:
    async with up("-f", str(file)) as child:
        server = str((await child.ready(LONG))["config_server"])
        rewrite(file, yaml.safe_dump(ALL).replace("alice", "alina"))
        child.signal(signal.SIGHUP)

        async def applied() -> bool:
            return "alina" in await names(server)

        await eventually(applied)
        assert child.returncode is None


async def test_what_the_node_refuses_is_a_warning(up: Up, file: Path) -> None:
    secret = {"name": "key", "env": "NOT_SET_ANYWHERE"}
    proxy = {"name": "out", "proxy_service": {"provider": "openai", "credentials": [{"secret": "key"}]}}
    rewrite(file, yaml.safe_dump({**ALL, "services": [LLM, proxy], "secrets": [secret]}))
    async with up("-f", str(file)) as child:
        await child.ready(LONG)
        assert any("the node refuses secret/key: " in line for line in child.log_tail(200))


@pytest.mark.parametrize(("module", "name"), [("gateway", "gateway"), ("config_server", "config-server")])
async def test_a_plane_that_dies_ends_it(up: Up, module: str, name: str) -> None:
    async with up() as child:
        await child.ready(LONG)
        os.kill(planes(child)[module], signal.SIGKILL)
        assert await child.wait() == 1
        assert any(f"janua up: {name} ended unexpectedly (signal SIGKILL)" in line for line in child.log_tail())


async def test_options_reach_both_planes(up: Up) -> None:
    async with up(
        "--log-format", "json", "--log-level", "debug", "--drain-timeout", "1m", "--insecure-allow-remote"
    ) as child:
        await child.ready(LONG)
        words = [command_line(pid) for pid in planes(child).values()]
    assert all("debug" in each and "json" in each for each in words)
    assert ["--insecure-allow-remote" in each for each in words] == ["config_server" in each for each in words]
    assert ["60s" in each for each in words] == ["gateway" in each for each in words]


async def test_a_store_that_is_in_use(up: Up) -> None:
    async with up() as first:
        await first.ready(LONG)
        async with up() as second:
            assert await second.wait() == 1
            assert any("janua up: config-server ended before it was ready" in line for line in second.log_tail())


async def test_interrupted_before_it_is_ready(up: Up) -> None:
    async with up() as child:

        async def has_begun() -> bool:
            return bool(planes(child))

        await eventually(has_begun)
        child.signal(signal.SIGINT)
        assert await child.wait() == 130
        assert not any("Traceback" in line for line in child.log_tail(200))


async def test_a_file_that_is_not_right_at_the_start(file: Path, tmp_path: Path) -> None:
    rewrite(file, "routes:\n- {name: chat}\n")
    done = await run_janua("up", *ANY_PORT, "--data-dir", str(tmp_path / "data"), "-f", str(file))
    assert (done.code, done.out) == (1, "")
    assert any(line.startswith(f"{file}:2:") for line in done.errors)
    assert done.errors[-1] == "janua up: 1 problem in the files; nothing was sent"


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--watch",), 2, "--watch needs files to watch: give -f"),
        (("--watch", "-f", "-"), 2, "--watch cannot watch standard input"),
        (("--drain-timeout", "soon"), 2, "--drain-timeout: 'soon' is not a duration"),
        (("-f", "/nowhere.yaml"), 1, "/nowhere.yaml: no such file or directory"),
        (("--data-dir", "/proc/nowhere"), 1, "/proc/nowhere: No such file or directory: name another directory"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], code: int, expected: str, tmp_path: Path) -> None:
    done = await run_janua("up", *ANY_PORT, "--data-dir", str(tmp_path / "data"), *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.errors[-1].startswith(f"janua up: {expected}")
