"""Addresses to listen on, checked before anything is started."""

import socket
from collections.abc import Iterator

import pytest
from janua_client.cli.failures import CommandError, ExitCode
from janua_client.demo.ports import require_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this test listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_and_port_0_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    require_free({"--http": f"127.0.0.1:{port}", "--grpc": "127.0.0.1:0", "--admin": "0.0.0.0:0"})


def test_taken_port_is_named_with_the_option_that_changes_it(taken: int) -> None:
    with pytest.raises(CommandError) as caught:
        require_free({"--http": "127.0.0.1:0", "--grpc": f"127.0.0.1:{taken}"})
    expected = f"127.0.0.1:{taken} is in use: stop what listens there, or choose another with --grpc 127.0.0.1:0"
    assert str(caught.value) == expected


def test_address_of_another_machine_is_said_so() -> None:
    with pytest.raises(CommandError, match=r"cannot listen on 192\.0\.2\.1:0: .*; see --http"):
        require_free({"--http": "192.0.2.1:0"})


def test_unknown_host_is_said_so() -> None:
    with pytest.raises(CommandError, match=r"cannot listen on no-such-host\.invalid:0: .*; see --http"):
        require_free({"--http": "no-such-host.invalid:0"})


@pytest.mark.parametrize("address", ["8080", ":8080", "localhost", "localhost:", "localhost:http", "localhost:65536"])
def test_what_is_no_address_is_wrong_usage(address: str) -> None:
    with pytest.raises(CommandError, match=f"--admin {address}: not HOST:PORT") as caught:
        require_free({"--admin": address})
    assert caught.value.code is ExitCode.USAGE
