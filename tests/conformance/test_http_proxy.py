"""Requests that are passed through: what the backend gets is what the client sent, and what the client gets what the
backend answered."""

import asyncio
import gzip
import json

import aiohttp
import pytest

from tests.conformance.configuration import api_key, proxy_service, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.proxying import ProxyClient, proxied
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import ReceivedRequest, chunked_response, response
from tests.support.scripts import answer, chat

HELLO = response(200, b"hello", content_type="text/plain")


@pytest.fixture
async def client(gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream) -> ProxyClient:
    """A client of a node that passes everything to one upstream, which says hello."""
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(HELLO)
    return ProxyClient(gateway.addresses.http, session)


def names(request: ReceivedRequest) -> list[str]:
    return sorted(name.lower() for name, _ in request.headers)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY"])
async def test_any_method_is_passed_through(client: ProxyClient, upstream: FaultyUpstream, method: str) -> None:
    answered = await client.send("/things/1", method)
    assert (answered.status, answered.body) == (200, b"hello")
    (request,) = upstream.requests
    assert (request.method, request.target, request.body) == (method, "/things/1", b"")


async def test_answer_to_head_has_the_length_and_no_body(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = answer(response(200, b"")[:-4].replace(b"length: 0", b"length: 1234") + b"\r\n\r\n")
    answered = await client.send("/", "HEAD")
    assert (answered.status, answered.header("content-length"), answered.body) == (200, "1234", b"")
    assert (await client.send("/", "HEAD")).status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_body_of_any_method_is_passed_through(client: ProxyClient, upstream: FaultyUpstream, method: str) -> None:
    assert (await client.send("/", method, data=b"\x00some bytes\xff")).status == 200
    (request,) = upstream.requests
    assert (request.method, request.body, request.header("content-length")) == (method, b"\x00some bytes\xff", "12")


async def test_empty_body_with_a_length_keeps_it(client: ProxyClient, upstream: FaultyUpstream) -> None:
    await client.send("/", "POST", headers={"content-length": "0"})
    (request,) = upstream.requests
    assert (request.header("content-length"), request.header("transfer-encoding"), request.body) == ("0", None, b"")


@pytest.mark.parametrize("status", [200, 201, 202, 206, 400, 401, 403, 404, 409, 410, 418, 422, 499, 599])
async def test_status_headers_and_body_are_the_backends(
    client: ProxyClient, upstream: FaultyUpstream, status: int
) -> None:
    headers = [("x-own", "1"), ("www-authenticate", "Bearer"), ("etag", '"a"'), ("server", "backend/1.0")]
    upstream.script = answer(response(status, b"what it says", content_type="text/x", headers=headers))
    answered = await client.send()
    assert (answered.status, answered.body) == (status, b"what it says")
    assert answered.header("content-type") == "text/x"
    assert answered.header("content-length") == "12"
    assert {name: answered.header(name) for name, _ in headers} == dict(headers)


@pytest.mark.parametrize("status", [204, 304])
async def test_answer_without_a_body(client: ProxyClient, upstream: FaultyUpstream, status: int) -> None:
    head = f"HTTP/1.1 {status} x\r\netag: a\r\n\r\n".encode()
    upstream.script = answer(head)
    for _ in range(2):  # the connection is well afterwards
        answered = await client.send()
        assert (answered.status, answered.body, answered.header("etag")) == (status, b"", "a")
        assert answered.header("transfer-encoding") is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_of_the_backend_are_the_clients_to_follow(
    client: ProxyClient, upstream: FaultyUpstream, status: int
) -> None:
    upstream.script = answer(response(status, b"", headers=[("location", f"{upstream.url}/secret")]))
    answered = await client.send("/a", "POST", data=b"x")
    assert (answered.status, answered.header("location")) == (status, f"{upstream.url}/secret")
    assert [request.target for request in upstream.requests] == ["/a"]


TARGETS = [
    "/",
    "/a/b/",
    "//a//b",
    "/a%2Fb%2f",
    "/%41%7e~",
    "/caf%C3%A9/%E9",
    "/a:b@c;d=e,f!$&'()*+",
    "/a?",
    "/?a=b&a=c&d",
    "/a?x=%2F%20%C3%A9+&y=http://h/?z=1",
    "/...?/../..",
    "/.well-known/a..b/...",
    "/%zz%",
    '/[a]|^`{}"<>',
    "/" + "x" * 8000 + "?" + "y" * 6000,
]


@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
async def test_path_and_query_are_passed_through_byte_for_byte(
    client: ProxyClient, upstream: FaultyUpstream, target: str
) -> None:
    assert (await client.send(target)).status == 200
    assert upstream.requests[0].target == target.removesuffix("?")


async def test_end_to_end_headers_are_passed_through_both_ways(client: ProxyClient, upstream: FaultyUpstream) -> None:
    sent = [
        ("accept", "text/html, */*;q=0.1"),
        ("accept-encoding", "gzip, br"),
        ("user-agent", "browser/1.0"),
        ("content-type", "text/x; charset=utf-8"),
        ("content-encoding", "zz"),
        ("cookie", "a=b; c=d"),
        ("range", "bytes=0-1"),
        ("if-none-match", '"a"'),
        ("origin", "https://example.com"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-empty", ""),
    ]
    back = [
        ("set-cookie", "a=b; Path=/"),
        ("set-cookie", "c=d; Expires=Wed, 21 Oct 2015 07:28:00 GMT"),
        ("cache-control", "no-store"),
        ("content-encoding", "zz"),
        ("access-control-allow-origin", "*"),
        ("vary", "a"),
        ("vary", "b"),
        ("x-empty", ""),
    ]
    upstream.script = answer(response(200, b"x", headers=back))
    answered = await client.send("/", "POST", headers=sent, data=b"zz")
    (request,) = upstream.requests
    received = [(name.lower(), value) for name, value in request.headers]
    assert [pair for pair in received if pair in sent] == sorted(sent, key=received.index)
    assert len([pair for pair in received if pair in sent]) == len(sent)
    assert [pair for pair in answered.headers if pair in back] == back


async def test_nothing_is_added_that_the_client_did_not_send(client: ProxyClient, upstream: FaultyUpstream) -> None:
    skipped = ("Accept", "Accept-Encoding", "User-Agent")
    async with aiohttp.ClientSession(skip_auto_headers=skipped) as session:
        bare = ProxyClient(client.address, session)
        await bare.send()
    own = ["host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"]
    assert names(upstream.requests[0]) == own


async def test_backend_learns_of_the_client(client: ProxyClient, upstream: FaultyUpstream) -> None:
    await client.send(headers={"host": "shop.example.com:8080", "x-request-id": "req-1"})
    (request,) = upstream.requests
    assert request.header("host") == upstream.address
    assert request.header("x-forwarded-for") == "127.0.0.1"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-forwarded-host") == "shop.example.com:8080"
    assert request.header("via") == "1.1 janua"
    assert request.header("x-request-id") == "req-1"


async def test_what_proxies_before_say_is_added_to_and_what_clients_claim_is_not_believed(
    client: ProxyClient, upstream: FaultyUpstream
) -> None:
    claims = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("via", "1.0 first"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "bank.example.com"),
        ("forwarded", "for=10.9.9.9"),
    ]
    await client.send(headers=claims)
    (request,) = upstream.requests
    assert request.header("x-forwarded-for") == "10.0.0.1, 10.0.0.2, 127.0.0.1"
    assert request.header("via") == "1.0 first, 1.1 janua"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-forwarded-host") != "bank.example.com"
    assert request.header("forwarded") is None
    assert len(names(request)) == len(set(names(request)))


async def test_headers_for_the_next_hop_alone_go_no_further(client: ProxyClient, upstream: FaultyUpstream) -> None:
    hop_by_hop = {
        "connection": "keep-alive, X-Mine,cookie",
        "x-mine": "1",
        "cookie": "a=b",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "trailer": "x-sum",
        "proxy-authorization": "Basic eA==",
        "proxy-connection": "keep-alive",
        "upgrade": "irc/1.0",
        "http2-settings": "AA",
        "expect": "100-continue",
    }
    upstream.script = answer(
        response(
            200,
            b"hello",
            headers=[
                ("connection", "keep-alive, X-Internal"),
                ("x-internal", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("trailer", "x-sum"),
                ("upgrade", "h2c"),
                ("alt-svc", 'h3=":443"'),
                ("x-janua-endpoint", "forged"),
                ("x-janua-made-up", "forged"),
                ("x-request-id", "forged"),
            ],
        )
    )
    answered = await client.send("/", "POST", headers=hop_by_hop, data=b"x")
    assert not set(names(upstream.requests[0])) & hop_by_hop.keys() - {"connection"}
    told = {name for name, _ in answered.headers}
    assert not told & {"x-internal", "keep-alive", "proxy-authenticate", "trailer", "upgrade", "alt-svc"}
    assert "forged" not in str(answered.headers)
    assert answered.header("x-janua-endpoint") == upstream.address


async def test_credentials_of_clients_go_no_further(client: ProxyClient, upstream: FaultyUpstream) -> None:
    given = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "x-janua-anything"]
    await client.send(headers=dict.fromkeys(given, "Bearer secret"))
    assert "secret" not in str(upstream.requests[0].headers)


@pytest.mark.parametrize(
    ("asked", "received"),
    [
        ("/v1beta/models/m:predict?key=sk-1", "/v1beta/models/m:predict"),
        ("/v1beta/models/m:predict?a=%20b&key=sk-1&k%65y=sk-2&c", "/v1beta/models/m:predict?a=%20b&c"),
        ("/elsewhere?key=of-the-backend", "/elsewhere?key=of-the-backend"),
    ],
)
async def test_key_in_the_query_goes_no_further_where_it_is_the_callers(
    client: ProxyClient, upstream: FaultyUpstream, asked: str, received: str
) -> None:
    await client.send(asked, "POST")
    assert upstream.requests[0].target == received


async def test_provider_gets_the_services_credential_and_headers(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("secret") / "key"
    secret.write_text("sk-of-the-node")
    service = proxy_service("web", f"{upstream.url}/base", secret="key", headers={"x-plan": "gold"})
    secrets = [{"name": "key", "file": str(secret)}]
    await gateway.apply({**proxied(upstream.address), "services": [service], "secrets": secrets})
    await client.send("/v1/files?x=y", headers={"authorization": "Bearer mine", "x-plan": "iron"})
    (request,) = upstream.requests
    assert request.target == "/base/v1/files?x=y"
    assert request.header("authorization") == "Bearer sk-of-the-node"
    assert [value for name, value in request.headers if name.lower() == "x-plan"] == ["gold"]


async def test_answer_tells_who_gave_it(client: ProxyClient, upstream: FaultyUpstream) -> None:
    answered = await client.send(headers={"x-request-id": "req-1"})
    assert {name: value for name, value in answered.headers if name.startswith("x-")} == {
        "x-request-id": "req-1",
        "x-janua-route": "all",
        "x-janua-service": "web",
        "x-janua-endpoint": upstream.address,
        "x-janua-attempts": "1",
    }
    assert len(answered.values("date")) == 1


async def test_access_log_has_the_request(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    await client.send("/a%20b?key=secret", "PATCH", headers={"x-request-id": "proxied-1"})
    entry = await gateway.access_log_entry("proxied-1")
    told = {name: entry[name] for name in ("method", "path", "status", "route", "service", "endpoint", "attempts")}
    assert told == {
        "method": "PATCH",
        "path": "/a b",
        "status": "200",
        "route": "all",
        "service": "web",
        "endpoint": upstream.address,
        "attempts": 1,
    }
    assert "secret" not in str(entry)


async def test_compressed_bodies_are_left_as_they_are(client: ProxyClient, upstream: FaultyUpstream) -> None:
    squeezed = gzip.compress(b"hello" * 1000)
    upstream.script = answer(response(200, squeezed, headers=[("content-encoding", "gzip")]))
    answered = await client.send("/", "POST", headers={"content-encoding": "gzip"}, data=squeezed)
    assert (answered.body, answered.header("content-encoding")) == (squeezed, "gzip")
    assert (upstream.requests[0].body, upstream.requests[0].header("content-encoding")) == (squeezed, "gzip")


@pytest.mark.parametrize("target", ["/nothing", "/v1/nothing"])
async def test_path_without_a_route(gateway: Gateway, client: ProxyClient, target: str) -> None:
    await gateway.apply(proxied("127.0.0.1:9", prefix="/here"))
    answered = await client.send(target, "POST", data=b"x" * 100_000)
    assert answered.status == 404
    if target == "/nothing":
        assert answered.problem() == (404, "PATH_NOT_FOUND")
    assert answered.header("x-request-id")


async def test_method_without_a_route(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    match = {"path": {"prefix": "/"}, "methods": ["GET"]}
    await gateway.apply(proxied(upstream.address, route={"match": match}))
    assert (await client.send()).status == 200
    assert (await client.send("/", "POST")).problem() == (404, "PATH_NOT_FOUND")


async def test_model_list_is_the_nodes_own_under_any_route(client: ProxyClient, upstream: FaultyUpstream) -> None:
    answered = await client.send("/v1/models")
    assert json.loads(answered.body) == {"object": "list", "data": []}
    assert (await client.send("/v1/models/m")).status == 404
    assert (await client.send("/v1/models", "DELETE")).status == 405
    assert upstream.requests == []
    assert (await client.send("/v1/models-of-mine")).body == b"hello"


async def test_inference_path_under_a_route_by_path_stays_inference(
    client: ProxyClient, upstream: FaultyUpstream, gateway: Gateway
) -> None:
    upstream_service = {"upstream": "pool", "schema": "OPENAI"}
    await gateway.apply(proxied(upstream.address, service={"upstream_service": upstream_service}))
    upstream.script = chat()
    data = json.dumps({"model": "m", "messages": []}).encode()
    answered = await client.send("/v1/chat/completions", "POST", data=data)
    assert json.loads(answered.body)["choices"][0]["message"]["content"] == "hello there"
    refused = await client.send("/v1/chat/completions", "POST", data=b"no JSON")
    assert json.loads(refused.body)["error"]["type"] == "invalid_request_error"


async def test_inference_route_takes_no_other_path(gateway: Gateway, client: ProxyClient) -> None:
    await gateway.apply(proxied("127.0.0.1:9", route={"match": {"models": ["*"]}}))
    assert (await client.send("/anything")).problem() == (404, "PATH_NOT_FOUND")


async def test_keys_are_asked_for(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    await gateway.apply(with_keys(proxied(upstream.address), api_key("k-1")))
    refused = await client.send("/", "POST", data=b"x" * 200_000)
    assert refused.problem()[0] == 401
    assert (await client.send(headers={"authorization": "Bearer k-2"})).status == 401
    assert (await client.send(headers={"authorization": "Bearer k-1"})).body == b"hello"
    assert (await client.send(headers={"x-api-key": "k-1"})).body == b"hello"
    assert "k-1" not in str([request.headers for request in upstream.requests])


async def test_each_chunk_of_an_event_stream_arrives_before_the_next_is_sent(
    client: ProxyClient, upstream: FaultyUpstream
) -> None:
    goes_on: asyncio.Queue[bytes] = asyncio.Queue()
    begun = chunked_response([], content_type="text/event-stream; charset=utf-8").partition(b"0\r\n")[0]

    async def script(exchange: object) -> None:
        await exchange.send(begun)  # type: ignore[attr-defined]
        while piece := await goes_on.get():
            await exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))  # type: ignore[attr-defined]
        await exchange.send(b"0\r\n\r\n")  # type: ignore[attr-defined]

    upstream.script = script
    async with client.open("/events") as streamed:
        assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
        for piece in (b": comment\n", b"event: x\ndata: 1", b"\n\n", b"\xff"):
            goes_on.put_nowait(piece)
            assert await streamed.content.readany() == piece
        goes_on.put_nowait(b"")
        assert await streamed.content.readany() == b""


async def test_requests_over_http2_are_passed_through(client: ProxyClient, upstream: FaultyUpstream) -> None:
    own = [(b":method", b"PATCH"), (b":path", b"/a%2Fb?c=d%20e"), (b":scheme", b"http"), (b":authority", b"shop:81")]
    sent = [(b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"te", b"trailers"), (b"x-many", b"1"), (b"x-many", b"2")]
    back = [("set-cookie", "a=b"), ("set-cookie", "c=d"), ("connection", "x-inner"), ("x-inner", "1")]
    upstream.script = answer(response(207, b"hello", headers=back))
    async with http2_client(client.address) as http2:
        number = await http2.begin([*own, *sent])
        await http2.send_data(number, b"some bytes")
        await http2.end(number)
        answered = await http2.answer(number)
    assert (answered.status, answered.body, answered.is_complete) == (207, b"hello", True)
    assert [value for name, value in answered.headers if name == "set-cookie"] == ["a=b", "c=d"]
    assert not {"connection", "x-inner", "keep-alive", "transfer-encoding"} & {name for name, _ in answered.headers}
    (received,) = upstream.requests
    assert (received.method, received.target, received.body) == ("PATCH", "/a%2Fb?c=d%20e", b"some bytes")
    assert [value for name, value in received.headers if name.lower() == "cookie"] == ["a=b; c=d"]
    assert [value for name, value in received.headers if name.lower() == "x-many"] == ["1", "2"]
    assert (received.header("host"), received.header("x-forwarded-host")) == (upstream.address, "shop:81")
    assert received.header("via") == "2 janua"
    assert received.header("te") is None


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"HEAD", 503)])
async def test_answer_without_a_body_over_http2(
    client: ProxyClient, upstream: FaultyUpstream, method: bytes, status: int
) -> None:
    own = [(b":method", method), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"shop")]
    length = "content-length: 1234\r\n" if method == b"HEAD" else ""
    upstream.script = answer(f"HTTP/1.1 {status} x\r\n{length}\r\n".encode())
    async with http2_client(client.address) as http2:
        for _ in range(2):
            answered = await http2.answer(await http2.begin(own, ends=True))
            assert (answered.status, answered.body, answered.is_complete) == (status, b"", True)
            assert dict(answered.headers).get("content-length") == ("1234" if length else None)
