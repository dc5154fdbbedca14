"""Kept answers to GET on routes that pass requests through: by HTTP's rules, and never another caller's."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.conformance.configuration import Configuration, api_key
from tests.conformance.gateway import Gateway
from tests.conformance.proxying import ProxyClient, proxied
from tests.conformance.upstream_scripts import after
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import answer, cut, fail

ALICE, BOB = ({"authorization": f"Bearer sk-{name}-0123456789"} for name in ("alice", "bob"))


@pytest.fixture
async def client(gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream) -> ProxyClient:
    await gateway.post("/cache/purge")
    await gateway.apply(cached(upstream.address))
    upstream.script = saying()
    return ProxyClient(gateway.addresses.http, session)


def cached(address: str, *policies: Mapping[str, Any], **cache: Any) -> Configuration:
    """All paths to one upstream through a cache; alice and bob may have a key."""
    keys = {"name": "keys", "api_key_auth": {"optional": True}}
    kept = {"name": "kept", "cache": {"ttl": "300s", **cache}}
    named = [keys, kept, *policies]
    consumers = [{"name": name, "api_keys": [api_key(f"sk-{name}-0123456789")]} for name in ("alice", "bob")]
    route = {"policies": [policy["name"] for policy in named]}
    return proxied(address, route=route, policies=named, consumers=consumers)


def saying(text: str = "hello", *headers: tuple[str, str], status: int = 200) -> Any:
    return answer(response(status, text.encode(), headers=headers, content_type="text/plain"))


async def results(client: ProxyClient, *headers: Mapping[str, str], path: str = "/a?x=1") -> list[str | None]:
    return [(await client.send(path, headers=dict(each))).header("x-janua-cache") for each in headers]


async def test_answer_is_given_again_with_its_headers(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = saying("hello", ("etag", '"1"'), ("x-own", "yes"), ("cache-control", "max-age=60"))
    first, second = [await client.send("/a?x=1") for _ in range(2)]
    assert (first.header("x-janua-cache"), second.header("x-janua-cache")) == ("miss", "hit")
    for each in (first, second):
        assert (each.status, each.body) == (200, b"hello")
        told = [each.header(name) for name in ("etag", "x-own", "content-type", "cache-control", "content-length")]
        assert told == ['"1"', "yes", "text/plain", "max-age=60", "5"]
    assert (first.header("age"), second.header("age")) == (None, "0")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("path", ["/a?x=2", "/a", "/b?x=1", "/a?x=1&y"])
async def test_path_and_query_count(client: ProxyClient, upstream: FaultyUpstream, path: str) -> None:
    await client.send("/a?x=1")
    assert (await client.send(path)).header("x-janua-cache") == "miss"


async def test_nobody_gets_the_answer_of_another(client: ProxyClient, upstream: FaultyUpstream) -> None:
    """Field failure: the cache answers one tenant with another's data."""
    assert await results(client, ALICE, BOB, {}, ALICE, BOB, {}) == ["miss"] * 3 + ["hit"] * 3
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("set-cookie", "id=1")], 200),
        ([("cache-control", "no-store")], 200),
        ([("cache-control", "max-age=60, private")], 200),
        ([("cache-control", "no-cache")], 200),
        ([("cache-control", "max-age=0")], 200),
        ([("cache-control", "max-age=60, max-age=0")], 200),
        ([("cache-control", "max-age=x")], 200),
        ([("cache-control", "max-age=60"), ("age", "61")], 200),
        ([("cache-control", "max-age=600, s-maxage=0")], 200),
        ([("expires", "0")], 200),
        ([("vary", "*")], 200),
        ([("vary", "accept, x-team")], 200),
        ([], 404),
        ([("location", "/b")], 302),
        ([], 206),
    ],
    ids=str,
)
async def test_what_is_not_kept(
    client: ProxyClient, upstream: FaultyUpstream, headers: list[tuple[str, str]], status: int
) -> None:
    upstream.script = saying("hello", *headers, status=status)
    for number in (1, 2):
        told = await client.send("/a")
        assert (told.status, told.header("x-janua-cache")) == (status, "miss")
        assert len(upstream.requests) == number


@pytest.mark.parametrize("name", ["range", "if-none-match", "if-modified-since"])
async def test_parts_and_conditions_are_the_affair_of_the_backend(
    client: ProxyClient, upstream: FaultyUpstream, name: str
) -> None:
    assert await results(client, {}, {name: "bytes=0-1"}) == ["miss", None]
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_other_methods_take_no_part(client: ProxyClient, upstream: FaultyUpstream, method: str) -> None:
    await client.send("/a")
    for number in (2, 3):
        assert (await client.send("/a", method)).header("x-janua-cache") is None
        assert len(upstream.requests) == number


async def test_headers_that_answers_vary_by_count(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = saying("hello", ("vary", "Accept, Accept-Language"))
    asked = [{"accept-language": "de"}, {"accept-language": "fr"}, {"accept-language": "de", "x-trace": "2"}]
    assert await results(client, *asked) == ["miss", "miss", "hit"]


@pytest.mark.parametrize("sent", [{"cookie": "id=1"}, {"authorization": "Basic YTpi"}], ids=["cookie", "authorization"])
async def test_answer_to_credentials_is_kept_where_it_says_that_it_is_for_all(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, sent: dict[str, str]
) -> None:
    config = cached(upstream.address)
    await gateway.apply({**config, "routes": [{**config["routes"][0], "policies": ["kept"]}]})
    assert await results(client, sent, sent) == ["miss", "miss"]
    upstream.script = saying("hello", ("cache-control", "public, max-age=60"))
    assert await results(client, sent, sent, {**sent, "cookie": "id=2"}) == ["miss", "hit", "miss"]


async def test_caller_can_ask_anew(client: ProxyClient, upstream: FaultyUpstream) -> None:
    await client.send("/a")
    told = await results(client, {"cache-control": "no-cache"}, {"cache-control": "no-store"}, {}, path="/a")
    assert told == ["bypass", "bypass", "hit"]
    assert len(upstream.requests) == 3


async def test_answer_that_breaks_off_is_not_kept(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = cut(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", 43)
    with pytest.raises(aiohttp.ClientError):
        await client.send("/a")
    upstream.script = saying()
    assert await results(client, {}, {}, path="/a") == ["miss", "hit"]


async def test_requests_that_are_the_same_share_one_call(client: ProxyClient, upstream: FaultyUpstream) -> None:
    gate = asyncio.Event()
    upstream.script = after(gate, saying())
    asking = [asyncio.create_task(client.send("/a")) for _ in range(5)]
    await upstream.wait_for_requests(1)
    gate.set()
    told = await asyncio.gather(*asking)
    assert {each.body for each in told} == {b"hello"}
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("header", [("set-cookie", "id=1"), ("vary", "x-team"), ("cache-control", "private")])
@pytest.mark.parametrize("status", [200, 503])
async def test_answer_for_one_alone_is_not_shared_with_who_waited(
    client: ProxyClient, upstream: FaultyUpstream, header: tuple[str, str], status: int
) -> None:
    """Field failure: the first caller's session goes to all who asked at the same time."""
    gate = asyncio.Event()
    upstream.script = after(gate, saying("hello", header, status=status))
    asking = [asyncio.create_task(client.send("/a")) for _ in range(8)]
    await upstream.wait_for_requests(1)
    gate.set()
    told = await asyncio.gather(*asking)
    assert [each.status for each in told] == [status] * 8
    assert len(upstream.requests) == 8 * (1 if status == 200 else 3)  # what fails is tried again


async def test_header_that_a_policy_makes_for_each_caller_keeps_callers_apart(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    change = {"name": "change", "transform": {"request": {"set_headers": {"x-caller": "consumer.name"}}}}
    await gateway.apply(cached(upstream.address, change, scope="ROUTE"))
    keys = [{"x-api-key": f"sk-{name}-0123456789"} for name in ("alice", "bob", "alice")]
    assert await results(client, *keys) == ["miss", "miss", "hit"]


async def test_error_is_not_kept(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = fail(503)
    assert (await client.send("/a")).status == 503
    upstream.script = saying()
    assert await results(client, {}, {}, path="/a") == ["miss", "hit"]


async def test_large_answer_passes_and_is_not_kept(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(cached(upstream.address, max_entry_bytes=1000))
    upstream.script = saying("x" * 3_000_000)
    for number in (1, 2):
        assert (await client.send("/a")).body == b"x" * 3_000_000
        assert len(upstream.requests) == number
