"""`python -m config_server` as a process: readiness, refusals, signals."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc import aio
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub

from tests.config_server.ads_client import ads_client
from tests.config_server.server_process import Failure, failure, server_process
from tests.config_server.worlds import ROUTE, batch, upstream

LISTEN = ("--listen", "127.0.0.1:0")


def one_line(failed: Failure, code: int) -> str:
    """Checks that the command failed as commands do, and returns the line that says why."""
    assert failed.code == code, failed
    assert failed.output == ""
    assert failed.error.count("\n") == 1, failed.error
    assert failed.error.startswith("janua config-server: ")
    return failed.error


async def test_it_says_when_it_is_ready_and_where(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'config.db'}"
    async with server_process(*LISTEN, "--store", store) as server:
        assert list(server.ready) == ["event", "component", "grpc", "store", "revision"]
        assert (server.ready["event"], server.ready["component"]) == ("ready", "config-server")
        assert (server.ready["store"], server.ready["revision"]) == (store, 0)
        assert not server.address.endswith(":0")
        async with aio.insecure_channel(server.address) as channel:
            await ConfigServiceStub(channel).Apply(batch(upstream("u")))
        server.terminate()
        assert await server.process.wait() == 0
    async with server_process(*LISTEN, "--store", store) as server:
        assert server.ready["revision"] == 1


async def test_every_flag_is_an_environment_variable_too(tmp_path: Path) -> None:
    variables = {
        "JANUA_LISTEN": "127.0.0.1:0",
        "JANUA_STORE": f"sqlite:///{tmp_path / 'config.db'}",
        "JANUA_REPLICA_ID": "from-the-environment",
        "JANUA_DRAIN_TIMEOUT": "250ms",
        "JANUA_LOG_LEVEL": "error",
        "JANUA_LOG_FORMAT": "json",
    }
    async with (
        server_process(**variables) as server,
        aio.insecure_channel(server.address) as channel,
        ads_client(channel) as client,
    ):
        assert (await client.ask(ROUTE)).control_plane.identifier == "from-the-environment"
    text = (await failure("--help")).output
    for variable in (*variables, "JANUA_INSECURE_ALLOW_REMOTE"):
        assert variable in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_it(tmp_path: Path, number: signal.Signals) -> None:
    store = f"sqlite:///{tmp_path / 'config.db'}"
    async with server_process(*LISTEN, "--store", store, "--drain-timeout", "1s") as server:
        async with aio.insecure_channel(server.address) as channel, ads_client(channel) as client:
            await client.ask(ROUTE)
            server.process.send_signal(number)
            assert (await client.end()).code() is grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(10):
            assert await server.process.wait() == 0


async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = one_line(await failure("--listen", address, "--store", f"sqlite:///{tmp_path / 'config.db'}"), 1)
    assert address in line
    assert "in use" in line


async def test_a_second_server_on_one_store(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'config.db'}"
    async with server_process(*LISTEN, "--store", store):
        line = one_line(await failure(*LISTEN, "--store", store), 1)
    assert "in use by another config server" in line


async def test_a_corrupt_store(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    path.write_bytes(b"no database at all" * 1000)
    line = one_line(await failure(*LISTEN, "--store", f"sqlite:///{path}"), 1)
    assert str(path) in line


async def test_a_store_in_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    line = one_line(await failure(*LISTEN, "--store", f"sqlite:///{tmp_path}/no/config.db"), 1)
    assert "no such file or directory" in line


async def test_an_unsupported_store() -> None:
    line = one_line(await failure(*LISTEN, "--store", "mysql://localhost/janua"), 1)
    assert "sqlite:///PATH" in line
    assert "postgresql://" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--store"),
        (("--store", "sqlite:///x", "--listen", "nowhere"), "HOST:PORT"),
        (("--store", "sqlite:///x", "--drain-timeout", "soon"), "is not a duration"),
        (("--store", "sqlite:///x", "--drain-timeout", "-1s"), "negative"),
        (("--store", "sqlite:///x", "--log-level", "loud"), "loud"),
        (("--store", "sqlite:///x", "--console", "nowhere"), "HOST:PORT"),
        (("--store", "sqlite:///x", "surplus"), "surplus"),
        (("--store", "sqlite:///x", "--listen", "0.0.0.0:0"), "--insecure-allow-remote"),
        (("--store", "sqlite:///x", "--listen", "config.example:1"), "give --tls-cert and --tls-key"),
        (
            ("--store", "sqlite:///x", "--listen", "0.0.0.0:0", "--tls-cert", "c", "--tls-key", "k"),
            "give --access-file",
        ),
        (("--store", "sqlite:///x", "--listen", "0.0.0.0:0", "--access-file", "a"), "give --tls-cert and --tls-key"),
        (("--store", "sqlite:///x", "--tls-cert", "c"), "belong together"),
        (("--store", "sqlite:///x", "--tls-client-ca", "c", "--access-file", "a"), "needs --tls-cert"),
        (("--store", "sqlite:///x", "--tls-client-ca", "c"), "give --access-file"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], says: str) -> None:
    assert says in one_line(await failure(*arguments), 2)


def test_a_traceback_in_the_log_shows_no_values() -> None:
    code = (
        "import structlog\n"
        "from config_server.logging import configure_logging\n"
        "configure_logging('info', 'text')\n"
        "def fail(password): raise RuntimeError('it failed')\n"
        "try: fail('hunter' + '2')\n"
        "except RuntimeError as error: structlog.get_logger('config_server').error('oops', exc_info=error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "it failed" in ended.stderr
    assert "hunter2" not in ended.stderr


async def test_off_loopback_with_the_flag(tmp_path: Path) -> None:
    arguments = ("--listen", "0.0.0.0:0", "--store", f"sqlite:///{tmp_path / 'config.db'}", "--insecure-allow-remote")
    async with server_process(*arguments) as server:
        assert server.address.startswith("0.0.0.0:")
