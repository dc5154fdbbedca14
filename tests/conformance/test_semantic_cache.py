"""Kept answers to what means the same: over HTTP and gRPC, in every dialect, and never for what is asked beside it."""

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.conformance.caching import ALICE, BOB, EVE, by, cached, result
from tests.conformance.calls import Caller, Question, ask, assert_answered
from tests.conformance.conftest import Upstreams
from tests.conformance.dialect_backends import answering
from tests.conformance.dialect_table import BACKENDS, CLIENTS
from tests.conformance.dialects import Ask, Client, Node, Told
from tests.conformance.gateway import Gateway
from tests.conformance.meanings import with_meaning
from tests.conformance.polling import eventually
from tests.conformance.upstream_scripts import HELLO, ROLE, after, stream_of
from tests.support.embedding_model import as_base64, vectors
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, sse
from tests.support.scripts import Script, answer, chat, fail, reset, stall

PRICES: Mapping[str, Any] = {"models": [{"name": "m", "price": {"input": 2.0, "output": 10.0}}]}
VECTOR_PRICES: Mapping[str, Any] = {"models": [{"name": "vectors", "price": {"input": 1.0}}]}

WEATHER, SAME_WEATHER, OTHER = "weather in Oslo, please", "weather for Oslo?", "flights to Oslo"


@pytest.fixture(autouse=True)
async def _empty(gateway: Gateway) -> None:
    """Nothing is kept of the test before."""
    status, _ = await gateway.post("/cache/purge")
    assert status == 200


@pytest.fixture
async def embedder(upstreams: Upstreams) -> FaultyUpstream:
    (embedder,) = await upstreams(1)
    embedder.script = vectors()
    return embedder


def asking(text: str, key: str = "", **headers: str) -> Question:
    sent = by(key, **headers).headers if key else headers
    return Question(text=text, headers=sent)


async def searches(gateway: Gateway, result: str) -> float:
    return await gateway.metric("janua_semantic_cache_total", {"result": result})


async def test_answer_to_what_means_the_same_is_given_again(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    config = cached(upstream.address, service=PRICES)
    await gateway.apply(with_meaning(config, embedder.address, **VECTOR_PRICES))
    before = await searches(gateway, "hit"), await searches(gateway, "miss")
    tokens = await gateway.metric("janua_tokens_total", {"service": "embedder", "kind": "input"})
    cost = await gateway.metric("janua_cost_usd_total", {"service": "embedder"})
    first = await ask(caller, asking(WEATHER), streamed=streamed)
    near = await ask(caller, asking(SAME_WEATHER), streamed=streamed)
    far = await ask(caller, asking(OTHER), streamed=streamed)
    same = await ask(caller, asking(WEATHER), streamed=streamed)

    for told in (first, near, far, same):
        assert_answered(told)
    assert [result(told) for told in (first, near, far, same)] == ["miss", "hit", "miss", "hit"]
    assert near.pieces == first.pieces
    assert len(upstream.requests) == 2
    assert 0.95 <= float(near.headers["x-janua-cache-similarity"]) < 1
    assert near.headers["age"] == "0"
    assert "x-janua-cache-similarity" not in same.headers
    assert "x-janua-service" not in near.headers
    assert (await searches(gateway, "hit"), await searches(gateway, "miss")) == (before[0] + 1, before[1] + 2)
    # What is the same is found without a vector; and what was found by its meaning is not kept once more.
    assert len(embedder.requests) == 3
    assert await gateway.metric("janua_cache_entries") == 2
    assert await gateway.metric("janua_tokens_total", {"service": "embedder", "kind": "input"}) == tokens + 21
    assert await gateway.metric("janua_cost_usd_total", {"service": "embedder"}) == pytest.approx(cost + 21e-6)
    paid, free = [await gateway.access_log_entry(told.headers["x-request-id"]) for told in (first, near)]
    assert (paid["cache"], paid["output_tokens"], paid["service"]) == ("miss", 2, "llm")
    assert (free["cache"], free["cost_usd"], free.get("output_tokens", 0)) == ("hit", 0, 0)


async def test_embedder_is_asked_for_the_words_and_told_nothing_of_the_caller(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    semantic = {"dimensions": 64}
    service = {"models": [{"name": "vectors", "upstream_name": "vectors-3"}]}
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address, semantic, **service))
    await ask(caller, asking(WEATHER, ALICE, **{"openai-beta": "a", "cookie": "id=1"}))
    (request,) = embedder.requests
    assert request.target == "/v1/embeddings"
    asked = request.json()
    assert (asked["model"], asked["input"], asked["dimensions"]) == ("vectors-3", [WEATHER], 64)
    names = {name.lower() for name, _ in request.headers}
    assert names.isdisjoint({"authorization", "openai-beta", "cookie"})


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"from-{client.name}")
@pytest.mark.parametrize("backend", BACKENDS[:2], ids=lambda backend: f"to-{backend.name}")
async def test_in_every_dialect(
    gateway: Gateway,
    upstream: FaultyUpstream,
    embedder: FaultyUpstream,
    inference_node: Node,
    client: Client,
    backend: Any,
    streamed: bool,
) -> None:
    told = Told(text="sunny")
    upstream.script = answering(backend, told)
    schema = {"openai": "OPENAI", "anthropic": "ANTHROPIC"}[backend.name]
    service = {"upstream_service": {"upstream": "pool", "schema": schema}}
    await gateway.apply(with_meaning(cached(upstream.address, service=service), embedder.address))

    async def asked(text: str, system: str = "Be brief.") -> Told:
        reply = await client.ask(inference_node, Ask(text=text, system=system), streamed=streamed)
        assert reply.is_ended
        return reply.told

    replies = [await asked(text) for text in (WEATHER, SAME_WEATHER)]
    assert replies[0] == replies[1]
    assert len(upstream.requests) == 1
    await asked(OTHER)
    await asked(SAME_WEATHER, system="Answer in verse.")
    assert len(upstream.requests) == 3
    assert [request.json()["input"] for request in embedder.requests[:2]] == [[WEATHER], [SAME_WEATHER]]


async def test_dialects_do_not_share(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, inference_node: Node, streamed: bool
) -> None:
    upstream.script = answering(BACKENDS[0], Told(text="sunny"))
    await gateway.apply(with_meaning(cached(upstream.address, {"scope": "ROUTE"}), embedder.address))
    for number, client in enumerate(CLIENTS):
        reply = await client.ask(inference_node, Ask(text=f"weather {'again ' * number}"), streamed=streamed)
        assert reply.told.text == "sunny"
    assert len(upstream.requests) == len(CLIENTS)


async def test_stream_and_whole_answer_do_not_share(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    assert result(await ask(caller, asking(WEATHER))) == "miss"
    assert result(await ask(caller, asking(SAME_WEATHER), streamed=True)) == "miss"


# Whose answers they are


@pytest.mark.parametrize(("scope", "sharing"), [("CONSUMER", set[str]()), ("GROUP", {BOB}), ("ROUTE", {BOB, EVE, ""})])
async def test_answers_are_shared_within_their_scope_alone(
    gateway: Gateway,
    upstream: FaultyUpstream,
    embedder: FaultyUpstream,
    caller: Caller,
    streamed: bool,
    scope: str,
    sharing: set[str],
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address, {"scope": scope}), embedder.address))
    upstream.script = chat("the secret of alice")
    assert_answered(await ask(caller, asking(WEATHER, ALICE), streamed=streamed), "the secret of alice")
    for number, key in enumerate((BOB, EVE, "")):
        upstream.script = chat(f"for {key or 'nobody'}")
        told = await ask(caller, asking(f"weather {'now ' * (number + 1)}", key), streamed=streamed)
        expected = ("hit", "the secret of alice") if key in sharing else ("miss", f"for {key or 'nobody'}")
        assert (result(told), told.text) == expected


async def test_caller_whom_a_service_refuses_gets_nothing_that_is_kept(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    config = with_meaning(
        cached(upstream.address, {"scope": "ROUTE"}, service={"policies": ["staff"]}), embedder.address
    )
    rule = {"name": "staff", "authorization": {"allow": [{"groups": ["staff"]}]}}
    await gateway.apply({**config, "policies": [*config["policies"], rule]})
    assert result(await ask(caller, asking(WEATHER, ALICE))) == "miss"
    refused = await ask(caller, asking(SAME_WEATHER, EVE))
    assert refused.failure is not None
    assert len(embedder.requests) == 1


# What else is asked


async def post(gateway: Gateway, session: aiohttp.ClientSession, **fields: Any) -> str:
    """What the cache did."""
    url = f"http://{gateway.addresses.http}/v1/chat/completions"
    async with session.post(url, json={"model": "m", **fields}) as response:
        assert response.status == 200, await response.text()
        await response.read()
        return response.headers["x-janua-cache"]


def said(*turns: tuple[str, Any]) -> list[Mapping[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


PICTURE = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.5},
        {"user": "somebody"},
        {"x_unknown": 1},
        {"x_unknown": SAME_WEATHER},
        {"tools": [TOOL]},
        {"response_format": {"type": "json_object"}},
        {"model": "m2"},
        {"messages": said(("system", "Lie."), ("user", SAME_WEATHER))},
        {"messages": said(("user", "hello"), ("assistant", "hello!"), ("user", SAME_WEATHER))},
        {"messages": said(("user", SAME_WEATHER), ("assistant", "It rains."))},
        {"messages": said(("user", SAME_WEATHER), ("assistant", "hello!"), ("user", SAME_WEATHER))},
        {"messages": said(("user", [{"type": "text", "text": SAME_WEATHER}, PICTURE]))},
        {"messages": [{"role": "user", "content": SAME_WEATHER, "name": "bob"}]},
        {"messages": [{"role": "user", "content": SAME_WEATHER, "x_unknown": 1}]},
        {"messages": said(("user", "weather for Oslo in 3 days?"))},
        {"messages": said(("user", " "))},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
async def test_all_else_counts(
    gateway: Gateway,
    upstream: FaultyUpstream,
    embedder: FaultyUpstream,
    session: aiohttp.ClientSession,
    fields: Mapping[str, Any],
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address, {"scope": "ROUTE"}), embedder.address))
    assert await post(gateway, session, messages=said(("user", WEATHER))) == "miss"
    assert await post(gateway, session, **{"messages": said(("user", SAME_WEATHER)), **fields}) == "miss"
    assert len(upstream.requests) == 2
    assert await post(gateway, session, messages=said(("user", SAME_WEATHER))) == "hit"


async def test_header_that_a_backend_sees_counts(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    await ask(caller, asking(WEATHER, **{"x-tenant": "a"}))
    assert result(await ask(caller, asking(SAME_WEATHER, **{"x-tenant": "b"}))) == "miss"
    assert result(await ask(caller, asking(SAME_WEATHER + "?", **{"x-tenant": "a"}))) == "hit"


async def test_conversation_is_the_same_up_to_its_last_words(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    before = (("system", "Be brief."), ("user", "hello"), ("assistant", "hello!"))
    parts = [{"type": "text", "text": WEATHER}, PICTURE]
    others = [{"type": "text", "text": SAME_WEATHER}, PICTURE]
    assert await post(gateway, session, messages=said(*before, ("user", parts))) == "miss"
    assert await post(gateway, session, messages=said(*before, ("user", others))) == "hit"
    other_picture = {"type": "image_url", "image_url": {"url": "https://pictures.example/2.png"}}
    others[1] = other_picture
    assert await post(gateway, session, messages=said(*before, ("user", others))) == "miss"


async def test_request_that_policies_have_changed_is_compared_as_they_leave_it(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    config = with_meaning(cached(upstream.address), embedder.address)
    masks = {"name": "masks", "guardrail": {"rules": [{"pii": ["EMAIL"], "action": "MASK"}]}}
    config["routes"][0]["policies"].append("masks")
    await gateway.apply({**config, "policies": [*config["policies"], masks]})
    assert result(await ask(caller, asking("weather for alice@example.com"))) == "miss"
    assert result(await ask(caller, asking("weather from bob@example.com"))) == "hit"
    assert [request.json()["input"] for request in embedder.requests] == [
        ["weather for [EMAIL]"],
        ["weather from [EMAIL]"],
    ]


async def test_threshold(gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller) -> None:
    for threshold, expected in ((1.0, "miss"), (0.9, "hit")):
        config = with_meaning(cached(upstream.address), embedder.address, {"threshold": threshold})
        await gateway.apply(config)
        await ask(caller, asking(WEATHER))
        assert result(await ask(caller, asking(SAME_WEATHER))) == expected


async def test_words_that_are_too_long_are_not_looked_for(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address, {"max_text_bytes": 20}))
    await ask(caller, asking(WEATHER))
    assert embedder.requests == []
    await ask(caller, asking("weather?"))
    assert len(embedder.requests) == 1


async def test_only_so_many_can_be_found(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address, {"max_candidates": 2}))
    for text in ("one", "two", "three"):
        assert result(await ask(caller, asking(text))) == "miss"
    assert [result(await ask(caller, asking(f"{text} more"))) for text in ("two", "three")] == ["hit", "hit"]
    assert result(await ask(caller, asking("one"))) == "hit"  # itself it is kept
    assert result(await ask(caller, asking("one more"))) == "miss"


# What the caller wants


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"cache-control": "no-store"}, "bypass"),
        ({"cache-control": "no-cache"}, "bypass"),
        ({"cache-control": "max-age=60"}, "hit"),
        ({"x-janua-cache": "bypass"}, "bypass"),
    ],
)
async def test_caller_can_ask_anew(
    gateway: Gateway,
    upstream: FaultyUpstream,
    embedder: FaultyUpstream,
    caller: Caller,
    sent: Mapping[str, str],
    told: str,
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address, {"bypass_groups": ["staff"]}), embedder.address))
    upstream.script = chat("old")
    await ask(caller, asking(WEATHER, ALICE))
    upstream.script = chat("new")
    anew = await ask(caller, asking(SAME_WEATHER, ALICE, **sent))
    assert (result(anew), anew.text) == (told, "old" if told == "hit" else "new")
    is_kept = sent.get("cache-control") == "no-cache"
    later = await ask(caller, asking(SAME_WEATHER + "!", ALICE))
    assert result(later) == "hit"
    if is_kept:
        assert result(await ask(caller, asking(SAME_WEATHER, ALICE))) == "hit"


async def test_what_is_too_old_for_the_caller_is_not_taken(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    await ask(caller, asking(WEATHER))

    async def is_old() -> bool:
        return int((await ask(caller, asking(WEATHER))).headers["age"]) >= 1

    await eventually(is_old, "the answer is a second old")
    assert result(await ask(caller, asking(SAME_WEATHER, **{"cache-control": "max-age=1"}))) == "miss"


# What is kept


async def test_errors_are_not_kept(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    config = cached(upstream.address, service={"retry_policy": {"num_retries": 0}})
    await gateway.apply(with_meaning(config, embedder.address))
    upstream.next.append(fail(400, "no"))
    assert (await ask(caller, asking(WEATHER), streamed=streamed)).failure is not None
    assert result(await ask(caller, asking(SAME_WEATHER), streamed=streamed)) == "miss"


async def test_stream_that_breaks_off_is_not_kept(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    upstream.next.append(stream_of(sse(ROLE, HELLO, done=False)))
    assert (await ask(caller, asking(WEATHER), streamed=True)).failure is not None
    assert result(await ask(caller, asking(SAME_WEATHER), streamed=True)) == "miss"


async def test_purge_forgets_where_answers_were(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    await ask(caller, asking(WEATHER))
    assert await gateway.metric("janua_cache_bytes") > 64 * 40
    assert json.loads((await gateway.post("/cache/purge?route=chat"))[1]) == {"purged": 1}
    assert await gateway.metric("janua_cache_bytes") == 0
    assert result(await ask(caller, asking(SAME_WEATHER))) == "miss"


# Calls in flight


async def test_requests_that_are_the_same_share_one_search_and_one_answer(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    config = with_meaning(cached(upstream.address, service=PRICES), embedder.address, {"timeout": "10s"})
    await gateway.apply(config)
    first = await ask(caller, asking(WEATHER), streamed=streamed)
    gate = asyncio.Event()
    embedder.script = after(gate, vectors())
    running = [asyncio.create_task(ask(caller, asking(SAME_WEATHER), streamed=streamed)) for _ in range(20)]
    await gateway.wait_for_active_requests(20)
    gate.set()
    told = await asyncio.gather(*running)
    assert [each.pieces for each in told] == [first.pieces] * 20
    assert {result(each) for each in told} == {"hit"}
    assert (len(upstream.requests), len(embedder.requests)) == (1, 2)
    entries = [await gateway.access_log_entry(each.headers["x-request-id"]) for each in told]
    assert {entry["cost_usd"] for entry in entries} == {0}


async def test_search_ends_with_the_last_who_waits(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    embedder.script = stall()
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address, {"timeout": "10s"}))
    running = asyncio.create_task(ask(caller, asking(WEATHER)))
    await embedder.wait_for_requests(1)
    running.cancel()
    await embedder.wait_for_disconnects(1)
    assert upstream.requests == []


async def test_stale_answer_is_fetched_anew_and_found_again(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    cache = {"ttl": "1s", "stale_while_revalidate": "300s"}
    await gateway.apply(with_meaning(cached(upstream.address, cache), embedder.address))
    upstream.script = chat("old")
    await ask(caller, asking(WEATHER))
    upstream.script = chat("new")

    async def is_new() -> bool:
        return (await ask(caller, asking(WEATHER))).text == "new"

    await eventually(is_new, "the new answer is kept")
    assert len(upstream.requests) == 2
    near = await ask(caller, asking(SAME_WEATHER))
    assert (result(near), near.text) == ("hit", "new")


# Embedders that fail


def embedding(*embeddings: Any, index: int = 0) -> Script:
    data = [{"object": "embedding", "index": index, "embedding": each} for each in embeddings]
    return answer(json_response(200, {"object": "list", "data": data, "model": "vectors"}))


@pytest.mark.parametrize(
    "broken",
    [
        fail(500),
        fail(400, "too long"),
        fail(401, "wrong key"),
        fail(429, "slow down"),
        reset(),
        stall(),
        answer(json_response(200, {"object": "list"})),
        answer(json_response(200, {"error": {"message": "no"}})),
        answer(json_response(200, {"data": 1})),
        answer(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope"),
        answer(b'HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n{"data":[{"embedding":[NaN,1]}]}'[:-1]),
        embedding(),
        embedding([]),
        embedding([0.0, 0.0]),
        embedding([0.1], [0.2]),
        embedding(["a"]),
        embedding([1e308] * 4),
        embedding("!!"),
        embedding("YWJj"),
        embedding(as_base64([math.nan, 1.0])),
        embedding(as_base64([math.inf, 1.0])),
    ],
    ids=lambda script: script.__qualname__.split(".")[0],
)
async def test_request_goes_on_without_a_vector(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller, broken: Script
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address, {"timeout": "0.2s"}))
    await ask(caller, asking(WEATHER))
    failed = await searches(gateway, "failed")
    embedder.script = broken
    told = await ask(caller, asking(SAME_WEATHER))
    assert_answered(told)
    assert result(told) == "miss"
    assert await searches(gateway, "failed") == failed + 1
    # It is kept all the same, for those who ask the very same.
    assert result(await ask(caller, asking(SAME_WEATHER))) == "hit"
    embedder.script = vectors()
    assert result(await ask(caller, asking(SAME_WEATHER + "!"))) == "hit"


async def test_request_goes_on_where_the_embedder_is_gone(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    await embedder.stop()
    told = await ask(caller, asking(WEATHER), streamed=streamed)
    assert_answered(told)
    assert result(told) == "miss"


async def test_vectors_of_another_size_are_not_compared(
    gateway: Gateway, upstream: FaultyUpstream, embedder: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    await ask(caller, asking(WEATHER))
    embedder.script = vectors(dimensions=32)
    assert result(await ask(caller, asking(SAME_WEATHER))) == "miss"
    assert result(await ask(caller, asking(SAME_WEATHER + "!"))) == "hit"
    embedder.script = vectors()
    assert result(await ask(caller, asking(WEATHER + "!"))) == "hit"


@pytest.mark.parametrize(
    ("semantic", "service"),
    [
        ({"model": "other"}, {}),
        ({"dimensions": 64}, {}),
        ({}, {"models": [{"name": "vectors", "upstream_name": "vectors-4"}]}),
    ],
    ids=["model", "dimensions", "upstream_name"],
)
async def test_vectors_of_another_configuration_are_not_compared(
    gateway: Gateway,
    upstream: FaultyUpstream,
    embedder: FaultyUpstream,
    caller: Caller,
    semantic: Mapping[str, Any],
    service: Mapping[str, Any],
) -> None:
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address))
    await ask(caller, asking(WEATHER))
    await gateway.apply(with_meaning(cached(upstream.address), embedder.address, semantic, **service))
    assert result(await ask(caller, asking(SAME_WEATHER))) == "miss"
    assert result(await ask(caller, asking(WEATHER + "!"))) == "hit"


async def test_embedder_is_called_as_any_service_is(
    gateway: Gateway, upstream: FaultyUpstream, upstreams: Upstreams, caller: Caller
) -> None:
    """One of its endpoints is dead, and it has a limit of its own."""
    dead, alive = await upstreams(2)
    dead_address = dead.address
    await dead.stop()
    alive.script = vectors()
    name = f"embeds-{caller.wire.value}"  # what is counted outlives the test
    limit = {"limits": [{"unit": "REQUESTS", "limit": 2, "window": "600s", "key": "SERVICE"}]}
    config = with_meaning(cached(upstream.address), alive.address, policies=[name])
    config["upstreams"][1]["endpoints"].insert(0, {"address": dead_address})
    await gateway.apply({**config, "policies": [*config["policies"], {"name": name, "rate_limit": limit}]})
    told = [await ask(caller, asking(text)) for text in (WEATHER, SAME_WEATHER, SAME_WEATHER + "!")]
    for each in told:
        assert_answered(each)
    assert [result(each) for each in told] == ["miss", "hit", "miss"]
    assert len(alive.requests) == 2
