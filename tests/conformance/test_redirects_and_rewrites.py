"""Routes that answer themselves, and routes that change where a request goes."""

from typing import Any

import aiohttp
import pytest

from tests.conformance.configuration import Configuration, api_key, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.proxying import ProxyClient, proxied
from tests.conformance.raw_http import connected, request
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import answer

HELLO = response(200, b"hello", content_type="text/plain")


@pytest.fixture
def client(gateway: Gateway, session: aiohttp.ClientSession) -> ProxyClient:
    """A client of the node."""
    return ProxyClient(gateway.addresses.http, session)


def answering(**route: Any) -> Configuration:
    """A route that takes everything and calls nobody."""
    return {"routes": [{"name": "own", "match": {"path": {"prefix": "/"}}, **route}]}


REDIRECTS: list[tuple[dict[str, Any], str, int, str]] = [
    ({"scheme": "https"}, "/a?b=c", 302, "https://shop.example.com:8080/a?b=c"),
    ({"scheme": "https", "host": "new.example.com"}, "/a?b=c", 302, "https://new.example.com/a?b=c"),
    ({"host": "new.example.com:81"}, "/a", 302, "//new.example.com:81/a"),
    ({"path": "/b"}, "/a?b=c", 302, "/b"),
    ({"path": "/b?x=y", "host": "h.example.com", "scheme": "http"}, "/a", 302, "http://h.example.com/b?x=y"),
    ({"path": "/b", "status": 301}, "/a", 301, "/b"),
    ({"path": "/b", "status": 303}, "/a", 303, "/b"),
    ({"path": "/b", "status": 307}, "/a", 307, "/b"),
    ({"path": "/b", "status": 308}, "/a", 308, "/b"),
    ({"scheme": "https"}, "/a%2Fb/%c3%bc?x=%20%26+", 302, "https://shop.example.com:8080/a%2Fb/%c3%bc?x=%20%26+"),
    ({"scheme": "https"}, "//other.example.com/a", 302, "https://shop.example.com:8080//other.example.com/a"),
    ({"scheme": "https"}, "/a%0d%0aset-cookie:%20a=b", 302, "https://shop.example.com:8080/a%0d%0aset-cookie:%20a=b"),
    ({"scheme": "https"}, "/a?b%0d%0ac", 302, "https://shop.example.com:8080/a?b%0d%0ac"),
]


@pytest.mark.parametrize(("redirect", "target", "status", "location"), REDIRECTS, ids=range(len(REDIRECTS)))
async def test_redirect(
    gateway: Gateway, client: ProxyClient, redirect: dict[str, Any], target: str, status: int, location: str
) -> None:
    await gateway.apply(answering(redirect=redirect))
    headers = {"host": "shop.example.com:8080", "x-request-id": "req-1"}
    for method in ("GET", "POST", "HEAD"):
        redirected = await client.send(target, method, headers=headers, data=b"x" if method == "POST" else None)
        assert (redirected.status, redirected.header("location"), redirected.body) == (status, location, b"")
        assert redirected.header("x-request-id") == "req-1"
        assert redirected.header("x-janua-route") == "own"
        assert redirected.header("set-cookie") is None


@pytest.mark.parametrize("target", ["@evil.example/x", "http://evil.example/x", "%2F/evil.example", "/a/../b"])
async def test_target_that_could_lead_elsewhere_is_not_put_in_a_redirect(
    gateway: Gateway, client: ProxyClient, target: str
) -> None:
    await gateway.apply(answering(redirect={"scheme": "https", "host": "new.example.com"}))
    async with connected(client.address) as connection:
        await connection.send(request("GET", target))
        refused = await connection.response()
    assert refused is not None
    assert (refused.status, refused.header("location")) == (400, None)


async def test_inference_path_can_be_redirected(gateway: Gateway, client: ProxyClient) -> None:
    await gateway.apply(answering(redirect={"scheme": "https", "host": "new.example.com", "status": 308}))
    for path in ("/v1/chat/completions", "%2Fv1/chat/completions", "/v1%2Fchat/completions"):
        head = request("POST", path, "content-length: 13", body=b'{"model":"m"}')
        async with connected(client.address) as connection:
            await connection.send(head)
            redirected = await connection.response()
        assert redirected is not None
        assert redirected.status == 308
        assert (redirected.header("location") or "").startswith("https://new.example.com/")


async def test_redirect_over_http2(gateway: Gateway) -> None:
    await gateway.apply(answering(redirect={"scheme": "https"}))
    async with http2_client(gateway.addresses.http) as http2:
        redirected = await http2.answer(await http2.post({}, path="/a%0d%0ax:y?b"))
    assert (redirected.status, redirected.is_complete) == (302, True)
    assert dict(redirected.headers)["location"] == "https://gateway/a%0d%0ax:y?b"


@pytest.mark.parametrize("status", [200, 201, 204, 304, 404, 418, 503, 599])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_direct_response(gateway: Gateway, client: ProxyClient, status: int, method: str) -> None:
    has_body = status not in (204, 304)
    direct = {"status": status, "body": "grüß" if has_body else "", "content_type": "text/x"}
    await gateway.apply(answering(direct_response=direct))
    for _ in range(2):  # the connection is well afterwards
        answered = await client.send("/", method, data=b"x" * 100_000 if method == "PUT" else None)
        is_shown = has_body and method != "HEAD"
        assert (answered.status, answered.body) == (status, "grüß".encode() if is_shown else b"")
        assert answered.header("content-type") == "text/x"
        assert answered.header("content-length") == ("6" if has_body else None if status == 204 else "0")


async def test_direct_response_of_text_by_default(gateway: Gateway, client: ProxyClient) -> None:
    await gateway.apply(answering(direct_response={"status": 200, "body": "ok"}))
    answered = await client.send()
    assert (answered.header("content-type"), answered.header("x-janua-service")) == ("text/plain; charset=utf-8", None)


async def test_answers_of_routes_ask_for_keys_too(gateway: Gateway, client: ProxyClient) -> None:
    await gateway.apply(with_keys(answering(direct_response={"status": 200, "body": "ok"}), api_key("k-1")))
    assert (await client.send()).problem()[0] == 401
    assert (await client.send(headers={"x-api-key": "k-1"})).body == b"ok"


REWRITES: list[tuple[dict[str, str], str, str, str]] = [
    ({"prefix": "/api"}, "/v2", "/api", "/v2"),
    ({"prefix": "/api"}, "/v2", "/api/", "/v2/"),
    ({"prefix": "/api"}, "/v2", "/api/a%2Fb?c=d", "/v2/a%2Fb?c=d"),
    ({"prefix": "/api"}, "/", "/api", "/"),
    ({"prefix": "/api"}, "/", "/api/a", "/a"),
    ({"prefix": "/api"}, "/", "/api//a", "//a"),
    ({"prefix": "/api"}, "/v2/", "/api/a", "/v2/a"),
    ({"prefix": "/"}, "/v2", "/", "/v2/"),
    ({"prefix": "/"}, "/v2", "/a?b", "/v2/a?b"),
    ({"prefix": "/a b"}, "/v2", "/a%20b/c", "/v2/c"),
    ({"prefix": "/grüß"}, "/v2", "/gr%C3%BC%c3%9f/c", "/v2/c"),
    ({"exact": "/old"}, "/new/place", "/old?x", "/new/place?x"),
]


@pytest.mark.parametrize(("path", "prefix", "target", "seen"), REWRITES, ids=range(len(REWRITES)))
async def test_rewritten_path(
    gateway: Gateway,
    client: ProxyClient,
    upstream: FaultyUpstream,
    path: dict[str, str],
    prefix: str,
    target: str,
    seen: str,
) -> None:
    upstream.script = answer(HELLO)
    await gateway.apply(proxied(upstream.address, route={"match": {"path": path}, "rewrite": {"path_prefix": prefix}}))
    assert (await client.send(target)).status == 200
    assert upstream.requests[0].target == seen


async def test_prefix_takes_whole_segments(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = answer(HELLO)
    await gateway.apply(proxied(upstream.address, prefix="/api"))
    statuses = {path: (await client.send(path)).status for path in ("/api", "/api/", "/api/x", "/apix", "/ap", "/API")}
    assert statuses == {"/api": 200, "/api/": 200, "/api/x": 200, "/apix": 404, "/ap": 404, "/API": 404}


async def test_base_path_of_endpoint_and_prefix_of_service_come_before_the_path(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(HELLO)
    service = {"upstream_service": {"upstream": "pool", "schema": "PASSTHROUGH", "path_prefix": "/of-service"}}
    address = f"{upstream.url}/base"
    rewrite = {"path_prefix": "/new"}
    await gateway.apply(proxied(address, prefix="/old", service=service, route={"rewrite": rewrite}))
    await client.send("/old/x?y")
    assert upstream.requests[0].target == "/base/of-service/new/x?y"


async def test_rewritten_host(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = answer(HELLO)
    await gateway.apply(proxied(upstream.address, route={"rewrite": {"host": "inner.example.com"}}))
    await client.send(headers={"host": "outer.example.com"})
    (received,) = upstream.requests
    assert [value for name, value in received.headers if name.lower() == "host"] == ["inner.example.com"]
    assert received.header("x-forwarded-host") == "outer.example.com"
