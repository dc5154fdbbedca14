"""What of a caller's headers or metadata becomes the metadata of a call to a backend."""

import pytest

from gateway.operations.call_metadata import call_metadata

SECRETS = [
    (b"authorization", b"Bearer k"),
    (b"x-api-key", b"k"),
    (b"api-key", b"k"),
    (b"x-goog-api-key", b"k"),
    (b"proxy-authorization", b"k"),
    (b"cookie", b"a=b"),
]
OF_HTTP = [
    (b"host", b"h"),
    (b"content-length", b"5"),
    (b"content-type", b"application/json"),
    (b"content-encoding", b"gzip"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip"),
    (b"transfer-encoding", b"chunked"),
    (b"inference-header-content-length", b"5"),
    (b"connection", b"close, x-hop"),
    (b"x-hop", b"1"),
    (b"te", b"trailers"),
    (b"user-agent", b"curl"),
]


@pytest.mark.parametrize("is_from_grpc", [True, False])
def test_credentials_and_what_says_something_of_the_hop_stay_behind(is_from_grpc: bool) -> None:
    sent = [*SECRETS, *OF_HTTP, (b"x-janua-timeout-ms", b"5"), (b"grpc-timeout", b"5S"), (b"x-tenant", b"blue")]
    metadata = call_metadata(sent, "r-1", is_from_grpc=is_from_grpc)
    assert metadata == [("x-tenant", "blue"), ("x-request-id", "r-1")]


def test_request_id_is_the_nodes() -> None:
    assert call_metadata([(b"x-request-id", b"theirs")], "ours", is_from_grpc=True) == [("x-request-id", "ours")]


def test_bytes_are_passed_on_from_grpc_alone() -> None:
    sent = [(b"x-trace-bin", b"\0\xff"), (b"x-trace-bin", b"\1")]
    assert call_metadata(sent, "r", is_from_grpc=True)[:-1] == [("x-trace-bin", b"\0\xff"), ("x-trace-bin", b"\1")]
    assert call_metadata(sent, "r", is_from_grpc=False)[:-1] == []


@pytest.mark.parametrize("pair", [(b"x!y", b"1"), (b"x", b"\xe9"), (b"x", b"a\tb"), (b"", b"1")])
def test_what_grpc_cannot_carry_stays_behind(pair: tuple[bytes, bytes]) -> None:
    assert call_metadata([pair], "r", is_from_grpc=False) == [("x-request-id", "r")]
