"""Requests written to slip past one HTTP reader and be understood otherwise by the next: refused, or harmless."""

import pytest

from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.raw_http import connected, post
from tests.support.faulty_upstream import FaultyUpstream

BODY = b'{"model": "m"}'
CHUNKED = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
SMUGGLED = post(BODY, "content-length: 14", path="/v1/embeddings")
LENGTH = "content-length: 14"

REFUSED = {
    "two lengths": post(BODY, LENGTH, "content-length: 0"),
    "list of lengths": post(BODY, "content-length: 14, 0"),
    "negative length": post(BODY, "content-length: -14"),
    "signed length": post(BODY, "content-length: +14"),
    "hexadecimal length": post(BODY, "content-length: 0xe"),
    "unknown coding": post(CHUNKED, "transfer-encoding: xchunked"),
    "coding after chunked": post(CHUNKED, "transfer-encoding: chunked, identity"),
    "chunked twice": post(CHUNKED, "transfer-encoding: chunked", "transfer-encoding: chunked"),
    "space before the colon": post(BODY, "content-length : 14"),
    "space in a name": post(BODY, "x bad: 1", LENGTH),
    "no colon": post(BODY, "x-bad", LENGTH),
    "empty name": post(BODY, ": 1", LENGTH),
    "bare CR in a value": post(BODY, "x-bad: a\rx-evil: b", LENGTH),
    "NUL in a value": post(BODY, "x-bad: a\0b", LENGTH),
    "chunk size that is none": post(b"z\r\n" + BODY, "transfer-encoding: chunked"),
    "negative chunk size": post(b"-1\r\n" + BODY, "transfer-encoding: chunked"),
    "chunk without its end": post(b"2\r\n" + BODY, "transfer-encoding: chunked"),
    "no host": b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 14\r\n\r\n" + BODY,
    "two hosts": post(BODY, "host: other", LENGTH),
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "header without end": post(b"", "x-long: " + "a" * 100_000),
    "headers without end": post(b"", *(f"x-{number}: {number}" for number in range(20_000))),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_ambiguous_request_is_refused(gateway: Gateway, upstream: FaultyUpstream, name: str) -> None:
    await gateway.apply(one_pool(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(REFUSED[name] + SMUGGLED)
        responses = await connection.responses_until_closed()
    assert [response.status for response in responses if response.status not in (400, 431, 501)] == []
    assert len(responses) <= 1
    assert upstream.requests == []


HARMLESS = {
    # RFC 9112 section 6.3: the coding wins, and the length must not reach the backend.
    "length and coding": (post(CHUNKED, "content-length: 5", "transfer-encoding: chunked"), BODY),
    "coding and length": (post(CHUNKED, "transfer-encoding: chunked", "content-length: 500"), BODY),
    "same length twice": (post(BODY, LENGTH, LENGTH), BODY),
    "folded value": (post(BODY, "x-folded: a\r\n x-evil: b", LENGTH), BODY),
    "chunk extension": (post(CHUNKED.replace(b"e\r\n", b"e;a=b\r\n", 1), "transfer-encoding: chunked"), BODY),
    "trailer": (post(CHUNKED[:-2] + b"x-evil: 1\r\n\r\n", "transfer-encoding: chunked"), BODY),
    "names in capitals": (post(CHUNKED, "TRANSFER-ENCODING: Chunked"), BODY),
    "upgrade": (post(BODY, LENGTH, "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AA"), BODY),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_odd_request_reaches_the_backend_as_a_plain_one(
    gateway: Gateway, upstream: FaultyUpstream, name: str
) -> None:
    await gateway.apply(one_pool(upstream.address))
    request, body = HARMLESS[name]
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request)
        response = await connection.response()
    assert response is not None
    assert response.status == 200
    (forwarded,) = upstream.requests
    assert forwarded.body == body
    assert [value for key, value in forwarded.headers if key.lower() == "content-length"] == [str(len(body))]
    assert forwarded.header("transfer-encoding") is None
    assert forwarded.header("x-evil") is None
    assert "x-evil: b" not in [f"{key}: {value}" for key, value in forwarded.headers]
    assert forwarded.header("upgrade") is None


async def test_pipelined_requests_are_answered_in_order(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(one_pool(upstream.address))
    bodies = [b'{"model": "a"}', b'{"model": "b"}']
    async with connected(gateway.addresses.http) as connection:
        await connection.send(b"".join(post(body, LENGTH) for body in bodies))
        responses = [await connection.response() for _ in bodies]
    assert [response.status for response in responses if response] == [200, 200]
    assert [request.body for request in upstream.requests] == bodies


async def test_expectation_is_met(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(one_pool(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(post(b"", LENGTH, "expect: 100-continue"))
        interim = await connection.response()
        await connection.send(BODY)
        response = await connection.response()
    assert interim is not None
    assert response is not None
    assert (interim.status, response.status) == (100, 200)
    assert upstream.requests[0].header("expect") is None


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [(b"\xe2\x98\x83", b"\xe2\x98\x83"), (b"caf\xe9", b"caf\xc3\xa9")],
    ids=["UTF-8 as it is", "Latin-1 as UTF-8"],
)
async def test_bytes_beyond_ascii_in_a_header_reach_the_backend(
    gateway: Gateway, upstream: FaultyUpstream, sent: bytes, forwarded: bytes
) -> None:
    await gateway.apply(one_pool(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(post(BODY, LENGTH, "x-name: VALUE").replace(b"VALUE", sent))
        response = await connection.response()
    assert response is not None
    assert response.status == 200
    assert (upstream.requests[0].header("x-name") or "").encode("latin-1") == forwarded
