"""Addresses to listen on."""

import socket

import pytest

from config_server.listen_address import ListenAddress, ListenError


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:18000", "127.0.0.1", 18000, True),
        ("127.8.9.1:0", "127.8.9.1", 0, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:18000", "::1", 18000, True),
        ("0.0.0.0:18000", "0.0.0.0", 18000, False),
        ("[::]:18000", "::", 18000, False),
        ("config.example:18000", "config.example", 18000, False),
        ("192.0.2.1:65535", "192.0.2.1", 65535, False),
    ],
)
def test_an_address_is_read_and_written(text: str, host: str, port: int, is_loopback: bool) -> None:
    address = ListenAddress.parse(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, is_loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", "::1:1", "a b:1", "h:²"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        ListenAddress.parse(text)


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = ListenAddress("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ListenError, match=f"cannot listen on {address}: address already in use"):
            address.check_free()
    address.check_free()


def test_an_address_of_another_machine_is_not_ours() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:1"):
        ListenAddress("192.0.2.1", 1).check_free()


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on nowhere\.invalid:1"):
        ListenAddress("nowhere.invalid", 1).check_free()
