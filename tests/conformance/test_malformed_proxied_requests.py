"""Requests and answers that HTTP readers may understand differently: refused, or passed through as plain ones."""

import aiohttp
import pytest

from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.proxying import ProxyClient, proxied
from tests.conformance.raw_http import connected, request
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import answer

HELLO = response(200, b"hello", content_type="text/plain")

DOT_SEGMENTS = [
    "/..",
    "/.",
    "/a/../b",
    "/a/./b",
    "/a/%2e%2e/b",
    "/a/%2E./b",
    "/a/..%2fb",
    "/a%2f..%2fb",
    "/a/..%5cb",
    "/a\\..\\b",
    "/a/..;x=y/b",
    "/a/..%3bx/b",
    "/a/%2e",
]


@pytest.fixture
async def client(gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream) -> ProxyClient:
    """A client of a node that passes everything to one upstream, which says hello."""
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(HELLO)
    return ProxyClient(gateway.addresses.http, session)


@pytest.mark.parametrize("target", DOT_SEGMENTS)
async def test_path_that_means_another_is_refused(client: ProxyClient, upstream: FaultyUpstream, target: str) -> None:
    assert (await client.send(target)).problem() == (400, "INVALID_REQUEST")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "line",
    [
        "GET http://evil.example/x",
        "GET https://gateway/x",
        "OPTIONS *",
        "CONNECT evil.example:443",
        "CONNECT /x",
        "GET x",
        "GET @evil.example/x",
        "GET /a#b",
        "GET /a?b#c",
    ],
)
@pytest.mark.parametrize(
    "fields", [{}, {"direct_response": {"status": 200}, "backends": []}], ids=["proxied", "direct"]
)
async def test_target_that_is_no_path_is_refused(
    client: ProxyClient, gateway: Gateway, upstream: FaultyUpstream, line: str, fields: dict[str, object]
) -> None:
    await gateway.apply(proxied(upstream.address, route=fields))
    method, target = line.split(" ")
    async with connected(client.address) as connection:
        await connection.send(request(method, target))
        refused = await connection.response()
    assert refused is not None
    assert refused.status == 400
    assert upstream.requests == []


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = request("GET", "/smuggled")

REFUSED = {
    "two lengths": request("POST", "/", "content-length: 5", "content-length: 6", body=b"hello"),
    "list of lengths": request("POST", "/", "content-length: 5, 6", body=b"hello"),
    "signed length": request("POST", "/", "content-length: +5", body=b"hello"),
    "unknown coding": request("POST", "/", "transfer-encoding: xchunked", body=CHUNKED),
    "coding after chunked": request("POST", "/", "transfer-encoding: chunked, identity", body=CHUNKED),
    "chunked twice": request("POST", "/", "transfer-encoding: chunked", "transfer-encoding: chunked", body=CHUNKED),
    "space before the colon": request("POST", "/", "content-length : 5", body=b"hello"),
    "space in a name": request("GET", "/", "x bad: 1"),
    "bare CR in a value": request("GET", "/", "x-bad: a\rx-evil: b"),
    "bare LF in a value, which ends it": request("GET", "/", "x-bad: a\nx evil: b"),
    "NUL in a value": request("GET", "/", "x-bad: a\0b"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request("GET", "/", "host: other"),
    "space in the target": request("GET", "/a b"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_ambiguous_request_is_refused(client: ProxyClient, upstream: FaultyUpstream, name: str) -> None:
    async with connected(client.address) as connection:
        await connection.send(REFUSED[name] + SMUGGLED)
        responses = await connection.responses_until_closed()
    assert [each.status for each in responses if each.status not in (400, 431, 501)] == []
    assert upstream.requests == []


BROKEN_CHUNKS = {
    "chunk size that is none": b"z\r\nhello",
    "negative chunk size": b"-1\r\nhello",
    "chunk without its end": b"2\r\nhello",
}


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
async def test_broken_chunks_are_no_request_to_the_backend(
    client: ProxyClient, upstream: FaultyUpstream, name: str
) -> None:
    async with connected(client.address) as connection:
        await connection.send(request("POST", "/", "transfer-encoding: chunked", body=BROKEN_CHUNKS[name]) + SMUGGLED)
        responses = await connection.responses_until_closed()
    assert [each.status for each in responses if each.status < 400] == []
    assert upstream.requests == []


HARMLESS = {
    # RFC 9112 section 6.3: the coding wins, and the length must not reach the backend.
    "length and coding": request("POST", "/", "content-length: 3", "transfer-encoding: chunked", body=CHUNKED),
    "coding and length": request("POST", "/", "transfer-encoding: chunked", "content-length: 300", body=CHUNKED),
    "coding in capitals": request("POST", "/", "TRANSFER-ENCODING: Chunked", body=CHUNKED),
    "same length twice": request("POST", "/", "content-length: 5", "content-length: 5", body=b"hello"),
    "length nominated": request("POST", "/", "connection: content-length", "content-length: 5", body=b"hello"),
    "coding nominated": request(
        "POST", "/", "connection: transfer-encoding", "transfer-encoding: chunked", body=CHUNKED
    ),
    "host nominated": request("POST", "/", "connection: host", "content-length: 5", body=b"hello"),
    "folded value": request("POST", "/", "x-folded: a\r\n x-evil: b", "content-length: 5", body=b"hello"),
    "trailer": request("POST", "/", "transfer-encoding: chunked", body=CHUNKED[:-2] + b"x-evil: 1\r\n\r\n"),
    "chunk extension": request("POST", "/", "transfer-encoding: chunked", body=CHUNKED.replace(b"5", b"5;a=b")),
    "upgrade": request("POST", "/", "connection: upgrade", "upgrade: websocket", "content-length: 5", body=b"hello"),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_odd_request_reaches_the_backend_as_a_plain_one(
    client: ProxyClient, upstream: FaultyUpstream, name: str
) -> None:
    async with connected(client.address) as connection:
        await connection.send(HARMLESS[name])
        answered = await connection.response()
        await connection.send(request("GET", "/next"))
        following = await connection.response()
    assert answered is not None
    assert following is not None
    assert (answered.status, following.status) == (200, 200)
    received, following_request = upstream.requests
    assert (received.body, following_request.target) == (b"hello", "/next")
    framing = [
        (name.lower(), value)
        for name, value in received.headers
        if name.lower() in ("content-length", "transfer-encoding")
    ]
    assert framing in ([("content-length", "5")], [("transfer-encoding", "chunked")])
    assert received.header("x-evil") is None
    assert received.header("upgrade") is None
    assert received.header("host") == upstream.address


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [(b"\xe2\x98\x83", b"\xe2\x98\x83"), (b"caf\xe9", b"caf\xc3\xa9")],
    ids=["UTF-8 as it is", "Latin-1 as UTF-8"],
)
async def test_bytes_beyond_ascii_in_a_header_reach_the_backend(
    client: ProxyClient, upstream: FaultyUpstream, sent: bytes, forwarded: bytes
) -> None:
    async with connected(client.address) as connection:
        await connection.send(request("GET", "/", "x-name: VALUE").replace(b"VALUE", sent))
        answered = await connection.response()
    assert answered is not None
    assert answered.status == 200
    assert (upstream.requests[0].header("x-name") or "").encode("latin-1") == forwarded


ODD_ANSWERS = {
    "length and coding": b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKED,
    "coding and length": b"transfer-encoding: chunked\r\ncontent-length: 300\r\n\r\n" + CHUNKED,
    "two lengths": b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "two codings": b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKED,
    "same length twice": b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "unknown coding": b"connection: close\r\ntransfer-encoding: xchunked\r\n\r\n" + CHUNKED,
    "control characters in a value": b"content-length: 5\r\nx-bad: a\x01b\r\n\r\nhello",
    "bare CR in a value": b"content-length: 5\r\nx-bad: a\rx-evil: b\r\n\r\nhello",
    "NUL in a value": b"content-length: 5\r\nx-bad: a\0b\r\n\r\nhello",
    "folded value": b"content-length: 5\r\nx-bad: a\r\n x-evil: b\r\n\r\nhello",
    "space in a name": b"content-length: 5\r\nx bad: a\r\n\r\nhello",
    "space before the colon": b"content-length: 5\r\nx-bad : a\r\n\r\nhello",
    "byte beyond ASCII in a name": b"content-length: 5\r\nx-b\xe4d: a\r\n\r\nhello",
    "empty name": b"content-length: 5\r\n: a\r\n\r\nhello",
    "colon first in a name": b"content-length: 5\r\n:status: 200\r\n\r\nhello",
    "capitals": b"Content-LENGTH: 5\r\nX-Good: a\r\n\r\nhello",
    "bytes beyond ASCII in a value": b"content-length: 5\r\nx-good: \xe2\x98\x83\xff\r\n\r\nhello",
}


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("name", ODD_ANSWERS)
async def test_odd_answer_reaches_the_client_as_a_plain_one_or_as_a_fault_of_the_backend(
    client: ProxyClient, gateway: Gateway, upstream: FaultyUpstream, name: str, status: int
) -> None:
    await gateway.apply(proxied(upstream.address, service={"retry_policy": {"num_retries": 0}}))
    upstream.script = answer(f"HTTP/1.1 {status} x\r\n".encode() + ODD_ANSWERS[name])
    async with connected(client.address) as connection:
        await connection.send(request("GET", "/", "connection: close"))
        (plain,) = await connection.responses_until_closed()
    async with http2_client(client.address) as http2:
        over_http2 = await http2.answer(await http2.post({}, path="/"))
    assert plain.status in (status, 502)
    if plain.status == status:
        assert (plain.body, plain.is_complete) == (b"hello", True)
        assert (over_http2.status, over_http2.body, over_http2.is_complete) == (status, b"hello", True)
        assert len([key for key, _ in plain.headers if key in ("content-length", "transfer-encoding")]) == 1
        assert plain.header("x-evil") is None
    else:
        assert over_http2.status == 502
        assert over_http2.is_complete


OVER_HTTP2 = {b":method": b"GET", b":path": b"/", b":scheme": b"http", b":authority": b"gateway"}

REFUSED_OVER_HTTP2: dict[str, dict[bytes, bytes | None]] = {
    "space in the method": {b":method": b"GET /smuggled HTTP/1.1"},
    "line in the method": {b":method": b"GET / HTTP/1.1\r\nx-evil: 1\r\n\r\n"},
    "byte beyond ASCII in the method": {b":method": b"G\xc4T"},
    "empty method": {b":method": b""},
    "no method": {b":method": None},
    "space in the path": {b":path": b"/ HTTP/1.1"},
    "line in the path": {b":path": b"/ HTTP/1.1\r\nx-evil: 1"},
    "space in the query": {b":path": b"/?a b"},
    "line in the query": {b":path": b"/?a HTTP/1.1\r\nx-evil: 1"},
    "byte beyond ASCII in the path": {b":path": b"/\xe4"},
    "byte beyond ASCII in the query": {b":path": b"/?\xe4"},
    "empty path": {b":path": b""},
    "no path": {b":path": None},
    "relative path": {b":path": b"x"},
    "absolute form": {b":path": b"http://evil.example/x"},
    "dot segments": {b":path": b"/a/../b"},
    "line in the authority": {b":authority": b"gateway\r\nx-evil: 1"},
    "tunnel": {b":method": b"CONNECT", b":path": None, b":scheme": None},
    "tunnel with a path": {b":method": b"CONNECT"},
    "tunnel of another protocol": {b":method": b"CONNECT", b":protocol": b"connect-udp"},
    "line in a value": {b"x-bad": b"a\r\nx-evil: b"},
    "NUL in a value": {b"x-bad": b"a\0b"},
    "capitals in a name": {b"X-BAD": b"a"},
    "space in a name": {b"x bad": b"a"},
    "line in a name": {b"x-bad: a\r\nx-evil": b"a"},
    "colon in a name": {b"x-bad:x": b"a"},
    "empty name": {b"": b"a"},
    "connection header": {b"connection": b"x"},
    "transfer coding": {b"transfer-encoding": b"chunked"},
    "length without a body": {b":method": b"POST", b"content-length": b"5"},
    "length of a body without one": {b"content-length": b"5"},
    "list of lengths": {b":method": b"POST", b"content-length": b"0, 0"},
    "length that is none": {b"content-length": b"five"},
}


@pytest.mark.parametrize("name", REFUSED_OVER_HTTP2)
async def test_what_http2_can_carry_and_http1_cannot_is_refused(
    client: ProxyClient, upstream: FaultyUpstream, name: str
) -> None:
    fields = {**OVER_HTTP2, **REFUSED_OVER_HTTP2[name]}
    async with http2_client(client.address) as http2:
        number = await http2.begin([(key, value) for key, value in fields.items() if value is not None], ends=True)
        answered = await http2.answer(number)
    assert answered.status in (0, 400, 404, 405)
    assert upstream.requests == []


Fields = list[tuple[bytes, bytes]]

LENGTHS: dict[str, tuple[Fields, bytes, Fields | None]] = {
    "shorter than told, with trailers": ([(b"content-length", b"10")], b"hello", [(b"x-trailer", b"1")]),
    "shorter than told, large": ([(b"content-length", b"200000")], b"hello", [(b"x-trailer", b"1")]),
    "two lengths": ([(b"content-length", b"5"), (b"content-length", b"6")], b"hello", None),
    "longer than told": ([(b"content-length", b"3")], b"hello", None),
}


@pytest.mark.parametrize("name", LENGTHS)
async def test_body_of_another_length_than_told_is_no_request_to_the_backend(
    client: ProxyClient, upstream: FaultyUpstream, name: str
) -> None:
    """Else what the backend takes for the rest of it would be the next request of somebody else."""
    lengths, body, trailers = LENGTHS[name]
    fields = {**OVER_HTTP2, b":method": b"POST"}
    async with http2_client(client.address) as http2:
        number = await http2.begin([*fields.items(), *lengths])
        await http2.send_data(number, body)
        await http2.end(number, trailers)
        answered = await http2.answer(number)
    assert answered.status in (0, 400)
    assert upstream.requests == []
    assert (await client.send("/next")).body == b"hello"
    assert [request.target for request in upstream.requests] == ["/next"]
