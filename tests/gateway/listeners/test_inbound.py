"""What is read of every request first: joined headers, the host, the request id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.listeners.inbound import host_name, join_headers, request_id


def test_values_of_a_repeated_header_are_joined_in_order() -> None:
    pairs = [(b"a", b"1"), (b"b", b"x"), (b"a", b""), (b"a", b"3, 4")]
    assert join_headers(pairs) == {b"a": b"1, , 3, 4", b"b": b"x"}


def test_no_headers() -> None:
    assert join_headers([]) == {}


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.sampled_from([b"1", b"2"]))))
def test_joining_loses_nothing(pairs: list[tuple[bytes, bytes]]) -> None:
    split = [(name, value) for name, joined in join_headers(pairs).items() for value in joined.split(b", ")]
    assert sorted(split) == sorted(pairs)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"ai.example.com", "ai.example.com"),
        (b"ai.example.com:8080", "ai.example.com"),
        (b"AI.Example.COM:443", "ai.example.com"),
        (b"ai.example.com.", "ai.example.com"),
        (b"ai.example.com.:80", "ai.example.com"),
        (b"127.0.0.1:80", "127.0.0.1"),
        (b"[::1]", "::1"),
        (b"[::1]:8080", "::1"),
        (b"[2001:DB8::A]:8080", "2001:db8::a"),
        (b"localhost:", "localhost"),
        (b"", ""),
        (b":80", ""),
        (b".", ""),
        (b"[", ""),
        (b"]", "]"),
        (b"[::1", "::1"),
        (b"h\xe9.example", "h\xe9.example"),
        (b"a.example:80:90", "a.example"),
    ],
)
def test_host(authority: bytes, host: str) -> None:
    assert host_name(authority) == host


@pytest.mark.parametrize("sent", [b"a", b"~!@#", b"0123-abc_DEF.x", b"x" * 128])
def test_usable_request_id_is_kept(sent: bytes) -> None:
    assert request_id(sent) == sent.decode()


@pytest.mark.parametrize(
    "sent", [None, b"", b" ", b"a b", b"a\r\nx: y", b"a\n", b"\x00", b"x" * 129, b"caf\xc3\xa9", b"\x7f"]
)
def test_unusable_request_id_is_replaced(sent: bytes | None) -> None:
    assert re.fullmatch("[0-9a-f]{32}", request_id(sent))


def test_new_request_ids_differ() -> None:
    assert len({request_id(None) for _ in range(1000)}) == 1000
