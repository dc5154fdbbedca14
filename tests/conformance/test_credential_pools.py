"""Several keys for one provider: shared by weight, and a request goes on with another when one is refused."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conformance.calls import Caller, Kind, ask, assert_refused
from tests.conformance.configuration import Configuration, proxy_service
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.proxying import ProxyClient
from tests.conformance.upstream_scripts import open_stream
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import LAST_CHUNK, ReceivedRequest, response, sse
from tests.support.scripts import Exchange, Script, answer, chat, fail
from tests.support.websocket_backend import websocket_backend

FIRST, SECOND = "sk-first-1a2b", "sk-second-3c4d"
Refusals = Mapping[str, Script]


def keyed(base_url: str, directory: Path, *keys: str, **fields: Any) -> Configuration:
    """All models and paths from a provider with these keys, `key-0` and so on."""
    credentials = []
    secrets = []
    for number, key in enumerate(keys):
        path = directory / f"key-{number}"
        path.write_text(key, "utf-8")
        secrets.append({"name": f"key-{number}", "file": str(path)})
        credentials.append({"secret": f"key-{number}", **({"weight": 3} if number == 0 else {})})
    proxy = {"provider": "custom", "base_url": base_url, "credentials": credentials, **fields}
    service = {"name": "provider", "proxy_service": proxy, "retry_policy": {"num_retries": 0}}
    return {
        "secrets": secrets,
        "services": [service],
        "routes": [
            {"name": "models", "match": {"models": ["*"]}, "backends": [{"service": "provider"}]},
            {"name": "rest", "match": {"path": {"prefix": "/"}}, "backends": [{"service": "provider"}]},
        ],
    }


def key_of(request: ReceivedRequest) -> str:
    return (request.header("authorization") or "").removeprefix("Bearer ")


def only_for(refusals: Refusals, otherwise: Script | None = None) -> Script:
    """Says hello to keys that are not refused."""
    welcome = otherwise or chat("hello there")

    async def script(exchange: Exchange) -> None:
        await refusals.get(key_of(exchange.request), welcome)(exchange)

    return script


async def until_key_is_tried(upstream: FaultyUpstream, key: str, caller: Caller, *, streamed: bool = False) -> None:
    """Asks until a request has come to that key; all are answered."""
    for _ in range(10):
        if any(key_of(request) == key for request in upstream.requests):
            return
        assert (await ask(caller, streamed=streamed)).text == "hello there"
    raise AssertionError("the key never had its turn")


async def credentials(gateway: Gateway) -> dict[str, Any]:
    (endpoint,) = await gateway.endpoints()
    return {each["secret"]: each for each in endpoint["credentials"]}


async def test_requests_are_spread_by_weight(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    for _ in range(40):
        assert (await ask(http)).failure is None
    counts = Counter(key_of(request) for request in upstream.requests)
    assert abs(counts[FIRST] - 30) <= 1
    assert counts[FIRST] + counts[SECOND] == 40


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_request_goes_on_with_another_key_and_leaves_the_refused_one_alone(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, tmp_path: Path, status: int
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = only_for({FIRST: fail(status, "no", headers=[("retry-after", "600")] if status == 429 else ())})

    await until_key_is_tried(upstream, FIRST, caller, streamed=streamed)
    at = [key_of(request) for request in upstream.requests].index(FIRST)
    assert [key_of(request) for request in upstream.requests[at:]] == [FIRST, SECOND]

    shown = await credentials(gateway)
    assert shown["key-0"]["refusals"] == 1
    assert shown["key-1"] == {
        "secret": "key-1",
        "weight": 1,
        "fresh": True,
        "reason": "",
        "fresh_at": None,
        "refusals": 0,
    }
    labels = {"upstream": "provider:provider", "secret": "key-0"}
    assert await gateway.metric("janua_credential_refusals_total", labels) == 1
    if status == 429:
        assert not shown["key-0"]["fresh"]
        told = await ask(caller, streamed=streamed)
        assert told.headers["x-janua-attempts"] == "1"
        assert (shown["key-0"]["reason"], await gateway.metric("janua_credential_fresh", labels)) == ("rate_limited", 0)


async def test_attempts_with_other_keys_are_counted(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = only_for({FIRST: fail(429)})
    attempts = [int((await ask(http)).headers["x-janua-attempts"]) for _ in range(4)]
    assert sum(attempts) == len(upstream.requests)
    assert max(attempts) == 2


async def test_key_is_used_again_when_the_provider_says_so(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = only_for({FIRST: fail(429, headers=[("retry-after", "0")])})
    for _ in range(8):
        assert (await ask(http)).text == "hello there"
    assert [key_of(request) for request in upstream.requests].count(FIRST) > 3


async def test_stream_that_begins_with_a_refusal_goes_on_with_another_key(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    error = {"error": {"message": "too many tokens", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}

    async def limited(exchange: Exchange) -> None:
        await exchange.send(open_stream(*sse(error, done=False)) + LAST_CHUNK)

    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = only_for({FIRST: limited})
    await until_key_is_tried(upstream, FIRST, http, streamed=True)
    assert key_of(upstream.requests[-1]) == SECOND


async def test_when_all_keys_are_at_their_limits_the_caller_is_told_when_to_come_again(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    waits = {FIRST: "600", SECOND: "300"}
    upstream.script = only_for({key: fail(429, headers=[("retry-after", wait)]) for key, wait in waits.items()})

    assert_refused(await ask(caller, streamed=streamed), Kind.RATE_LIMITED, "RATE_LIMITED")
    assert len(upstream.requests) == 2

    failure = assert_refused(await ask(caller, streamed=streamed), Kind.RATE_LIMITED, "CREDENTIALS_EXHAUSTED")
    assert failure.retry_after_s is not None
    assert 200 < failure.retry_after_s <= 300
    assert len(upstream.requests) == 2


async def test_when_all_keys_are_wrong_it_is_our_fault_and_the_provider_is_not_asked_again_and_again(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = fail(401, f"wrong key {FIRST}")
    assert_refused(await ask(caller), Kind.BAD_GATEWAY, "UPSTREAM_AUTH_FAILED")
    failure = assert_refused(await ask(caller), Kind.UNAVAILABLE, "CREDENTIALS_EXHAUSTED")
    assert failure.retry_after_s is not None
    assert len(upstream.requests) == 2


async def test_request_that_no_key_may_make_keeps_no_key_from_others(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.next.extend([fail(403), fail(403)])
    assert_refused(await ask(caller), Kind.BAD_GATEWAY, "UPSTREAM_AUTH_FAILED")
    assert (await ask(caller)).failure is None
    assert all(each["fresh"] for each in (await credentials(gateway)).values())


@pytest.mark.parametrize("keys", [[FIRST], [FIRST, SECOND]], ids=["one", "two"])
async def test_route_goes_on_to_its_next_backend_when_no_key_is_left(
    gateway: Gateway, upstreams: Upstreams, http: Caller, tmp_path: Path, keys: Sequence[str]
) -> None:
    first, second = await upstreams(2)
    configured = keyed(first.url, tmp_path, *keys)
    backends = [{"service": "provider"}, {"service": "other", "priority": 1}]
    await gateway.apply(
        {
            **configured,
            "services": [*configured["services"], proxy_service("other", second.url)],
            "routes": [{"name": "models", "match": {"models": ["*"]}, "backends": backends}],
        }
    )
    first.script, second.script = fail(401), chat("from the other")
    for _ in range(2):
        assert (await ask(http)).text == "from the other"
    assert len(first.requests) == 2


async def test_single_key_is_never_left_alone(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST))
    upstream.next.append(fail(429, headers=[("retry-after", "600")]))
    assert_refused(await ask(http), Kind.RATE_LIMITED, "RATE_LIMITED")
    assert (await ask(http)).failure is None


async def test_reload_keeps_what_is_known_of_keys_that_stay(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = only_for({FIRST: fail(429, headers=[("retry-after", "600")])})
    await until_key_is_tried(upstream, FIRST, http)

    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND, headers={"x-new": "1"}))
    assert not (await credentials(gateway))["key-0"]["fresh"]
    await gateway.apply(keyed(upstream.url, tmp_path, "sk-renewed", SECOND))
    assert (await credentials(gateway))["key-0"]["fresh"]


# What is passed through.


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_request_that_passes_through_goes_on_with_another_key(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, tmp_path: Path, status: int
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    client = ProxyClient(gateway.addresses.http, session)
    upstream.script = only_for({FIRST: fail(status)}, answer(response(200, b"hello")))
    for number in range(4):
        answered = await client.send("/v1/files", "POST", data=f"body {number}".encode())
        assert answered.status == 200
    assert FIRST in {key_of(request) for request in upstream.requests}
    by_second = [request.body for request in upstream.requests if key_of(request) == SECOND]
    assert by_second == [f"body {number}".encode() for number in range(4)]


async def test_answer_of_the_provider_stands_when_the_body_is_gone(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    client = ProxyClient(gateway.addresses.http, session)
    upstream.script = fail(401, "no")
    answered = await client.send("/files", "POST", data=b"x" * 300_000)
    assert (answered.status, json.loads(answered.body)["error"]["message"]) == (401, "no")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/files", "/files?key=sk-first-1a2b%2B%2F"),
        ("/files?a=%20b&key=theirs&k%65y=theirs&c", "/files?a=%20b&c&key=sk-first-1a2b%2B%2F"),
    ],
)
async def test_key_in_the_query_takes_the_place_of_the_clients(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, tmp_path: Path, asked: str, sent: str
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, f"{FIRST}+/", auth={"query": {"name": "key"}}))
    upstream.script = answer(response(200, b"hello"))
    answered = await ProxyClient(gateway.addresses.http, session).send(asked)
    assert answered.status == 200
    (request,) = upstream.requests
    assert request.target == sent
    assert request.header("authorization") is None


async def test_key_in_the_query_of_inference(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, auth={"query": {"name": "key"}}))
    assert (await ask(caller, streamed=streamed)).failure is None
    assert upstream.requests[0].target == f"/v1/chat/completions?key={FIRST}"


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"header": {"name": "X-Own-Key"}}, ("x-own-key", FIRST)),
        ({"header": {"scheme": "Token"}}, ("authorization", f"Token {FIRST}")),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
async def test_provider_of_ones_own_gets_the_key_as_it_wants_it(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    auth: Mapping[str, Any],
    header: tuple[str, str],
    count: int,
) -> None:
    keys: Sequence[str] = [FIRST, FIRST][:count]
    await gateway.apply(keyed(upstream.url, tmp_path, *keys, auth=auth))
    theirs = {"x-own-key": "theirs", "authorization": "Bearer theirs"}
    url = f"http://{gateway.addresses.http}/v1/chat/completions"
    for target in (url, f"http://{gateway.addresses.http}/other"):
        async with session.post(target, json={"model": "m", "messages": []}, headers=theirs) as got:
            assert got.status == 200
    name, value = header
    assert [[v for k, v in request.headers if k.lower() == name] for request in upstream.requests] == [[value]] * 2
    assert not any(v == "Bearer theirs" for request in upstream.requests for _, v in request.headers)


async def test_many_at_a_time_all_go_on_with_the_other_key(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, SECOND))
    upstream.script = only_for({FIRST: fail(429)})
    told = await asyncio.gather(*(ask(http) for _ in range(20)))
    assert {each.text for each in told} == {"hello there"}
    assert (await credentials(gateway))["key-0"]["refusals"] >= 1


async def test_websocket_is_opened_with_another_key(
    gateway: Gateway, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async def only_second(request: web.Request) -> web.StreamResponse:
        if request.headers["authorization"] == f"Bearer {FIRST}":
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async with websocket_backend(only_second) as backend:
        await gateway.apply(keyed(f"http://{backend.address}", tmp_path, FIRST, SECOND))
        for _ in range(4):
            async with session.ws_connect(f"ws://{gateway.addresses.http}/v1/realtime") as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
        keys = [request.headers["authorization"] for request in backend.requests]
        assert keys.count(f"Bearer {FIRST}") >= 1
        assert keys.count(f"Bearer {SECOND}") == 4
