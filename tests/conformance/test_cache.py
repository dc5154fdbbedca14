"""Answers that are kept and given again: over HTTP and gRPC, in every dialect, to those alone whom they are for."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import openai
import pytest

from tests.conformance.caching import ALICE, BOB, EVE, TTL, by, cached, result
from tests.conformance.calls import Caller, Kind, Question, Wire, ask, assert_answered, assert_refused
from tests.conformance.configuration import one_pool
from tests.conformance.dialect_backends import answering
from tests.conformance.dialect_table import BACKENDS, CLIENTS, HTTP_CLIENTS
from tests.conformance.dialects import Ask, Client, Node, Told
from tests.conformance.gateway import Gateway
from tests.conformance.open_inference import ASKED, InferCaller, models_at
from tests.conformance.polling import eventually
from tests.conformance.upstream_scripts import HELLO, ROLE, STOP, after, embeddings, hello_until, stream_of
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import sse
from tests.support.open_inference_backends import Backend
from tests.support.scripts import chat, fail

PRICES = {"models": [{"name": "m", "price": {"input": 2.0, "output": 10.0}}]}


@pytest.fixture(autouse=True)
async def _empty(gateway: Gateway) -> None:
    """Nothing is kept of the test before."""
    status, _ = await gateway.post("/cache/purge")
    assert status == 200


async def test_answer_is_given_again_without_a_call(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(cached(upstream.address, service=PRICES))
    hits = await gateway.metric("janua_cache_total", {"result": "hit"})
    first = await ask(caller, streamed=streamed)
    second = await ask(caller, streamed=streamed)

    for told in (first, second):
        assert_answered(told)
    assert (result(first), result(second)) == ("miss", "hit")
    assert second.pieces == first.pieces
    assert len(upstream.requests) == 1
    assert second.headers["age"] == "0"
    assert "age" not in first.headers
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-janua-service"] == "llm"
    assert "x-janua-service" not in second.headers
    assert await gateway.metric("janua_cache_total", {"result": "hit"}) == hits + 1
    assert await gateway.metric("janua_cache_entries") == 1
    paid, free = [await gateway.access_log_entry(told.headers["x-request-id"]) for told in (first, second)]
    assert (paid["cache"], paid["output_tokens"], paid["service"]) == ("miss", 2, "llm")
    assert paid["cost_usd"] > 0
    assert (free["cache"], free["cost_usd"], free.get("output_tokens", 0)) == ("hit", 0, 0)


async def test_route_without_a_cache_says_nothing_of_one(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    told = await ask(caller)
    assert "x-janua-cache" not in told.headers
    assert "cache" not in await gateway.access_log_entry(told.headers["x-request-id"])


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"from-{client.name}")
@pytest.mark.parametrize("backend", BACKENDS[:2], ids=lambda backend: f"to-{backend.name}")
async def test_every_dialect_gets_its_own_answer_again(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, client: Client, backend: Any, streamed: bool
) -> None:
    told = Told(text="hello there")
    upstream.script = answering(backend, told)
    schema = {"openai": "OPENAI", "anthropic": "ANTHROPIC"}[backend.name]
    service = {"upstream_service": {"upstream": "pool", "schema": schema}}
    await gateway.apply(cached(upstream.address, service=service))
    replies = [await client.ask(inference_node, Ask(), streamed=streamed) for _ in range(2)]
    assert len(upstream.requests) == 1
    if client in HTTP_CLIENTS:
        assert [reply.headers["x-janua-cache"] for reply in replies] == ["miss", "hit"]
    assert [reply.told for reply in replies] == [replies[0].told] * 2
    assert replies[1].told.text == "hello there"
    assert all(reply.is_ended for reply in replies)


async def test_no_dialect_gets_the_answer_of_another(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, streamed: bool
) -> None:
    upstream.script = answering(BACKENDS[0], Told(text="hello there"))
    await gateway.apply(cached(upstream.address, {"scope": "ROUTE"}))
    for client in CLIENTS:
        reply = await client.ask(inference_node, Ask(), streamed=streamed)
        assert reply.told.text == "hello there"
    assert len(upstream.requests) == len(CLIENTS)


async def test_openai_client_unchanged(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(cached(upstream.address))
    messages: Any = [{"role": "user", "content": "hello"}]
    url = f"http://{gateway.addresses.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=ALICE, max_retries=0) as client:
        for expected in ("miss", "hit"):
            raw = await client.chat.completions.with_raw_response.create(model="m", messages=messages)
            assert raw.headers["x-janua-cache"] == expected
            assert raw.parse().choices[0].message.content == "hello there"
        for expected in ("miss", "hit"):
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            assert stream.response.headers["x-janua-cache"] == expected
            said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(said) == "hello there"
    assert len(upstream.requests) == 2


async def test_stream_comes_again_in_the_pieces_that_it_was_sent_in(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = stream_of(sse(ROLE, HELLO, STOP))
    await gateway.apply(cached(upstream.address))
    bodies = [await post(gateway, session, stream=True) for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert bodies[0][1] == b"".join(sse(ROLE, HELLO, STOP))


async def post(
    gateway: Gateway,
    session: aiohttp.ClientSession,
    *,
    headers: Mapping[str, str] | None = None,
    raw: bytes | None = None,
    **fields: Any,
) -> tuple[int, bytes]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}
    url = f"http://{gateway.addresses.http}/v1/chat/completions"
    async with session.post(url, data=raw or json.dumps(body), headers=headers) as response:
        return response.status, await response.read()


async def test_vectors_are_kept(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    upstream.script = embeddings([[0.5, 1.0]])
    await gateway.apply(cached(upstream.address))
    first, second = await caller.embed("m", ["one"]), await caller.embed("m", ["one"])
    assert second.vectors == first.vectors == [[0.5, 1.0]]
    assert (first.headers["x-janua-cache"], second.headers["x-janua-cache"]) == ("miss", "hit")
    assert (await caller.embed("m", ["two"])).headers["x-janua-cache"] == "miss"


async def test_tensors_are_kept(gateway: Gateway, backends: tuple[Backend, ...], infer_caller: InferCaller) -> None:
    config = dict(models_at(backends[0]))
    config["policies"] = [{"name": "cache", "cache": TTL}]
    config["routes"][0]["policies"] = ["cache"]
    await gateway.apply(config)
    told = [await infer_caller.infer(ASKED) for _ in range(2)]
    assert [each.headers["x-janua-cache"] for each in told] == ["miss", "hit"]
    assert told[0].answer == told[1].answer
    assert await infer_caller.metadata("m") == await infer_caller.metadata("m")
    assert await infer_caller.ready("m")


# Whose answers they are


@pytest.mark.parametrize(
    ("scope", "shared"),
    [
        ("CONSUMER", {ALICE: ALICE}),
        ("GROUP", {ALICE: ALICE, BOB: ALICE}),
        ("ROUTE", {ALICE: ALICE, BOB: ALICE, EVE: ALICE, "": ALICE}),
    ],
)
async def test_answers_are_shared_within_their_scope_alone(
    gateway: Gateway,
    upstream: FaultyUpstream,
    caller: Caller,
    streamed: bool,
    scope: str,
    shared: Mapping[str, str],
) -> None:
    await gateway.apply(cached(upstream.address, {"scope": scope}))
    upstream.script = chat("the secret of alice")
    assert_answered(await ask(caller, by(ALICE), streamed=streamed), "the secret of alice")
    for key in (BOB, EVE, ""):
        upstream.script = chat(f"for {key or 'nobody'}")
        question = by(key) if key else Question()
        told = await ask(caller, question, streamed=streamed)
        expected = ("hit", "the secret of alice") if key in shared else ("miss", f"for {key or 'nobody'}")
        assert (result(told), told.text) == expected
        again = await ask(caller, question, streamed=streamed)
        assert (result(again), again.text) == ("hit", expected[1])


async def test_key_of_a_consumer_counts_wherever_it_stands(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = answering(BACKENDS[0], Told(text="for alice"))
    await gateway.apply(cached(upstream.address))
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    url = f"http://{gateway.addresses.http}/v1beta/models/m:generateContent"

    async def asked(query: str, headers: Mapping[str, str]) -> str:
        async with session.post(url + query, json=body, headers=headers) as response:
            assert response.status == 200
            return response.headers["x-janua-cache"]

    assert await asked(f"?key={ALICE}", {}) == "miss"
    assert await asked("", {"x-goog-api-key": ALICE}) == "hit"
    assert await asked(f"?key={BOB}", {}) == "miss"
    assert await asked("", {}) == "miss"


async def test_caller_whom_a_service_refuses_gets_nothing_that_is_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    config = cached(upstream.address, {"scope": "ROUTE"}, service={"policies": ["staff"]})
    rule = {"name": "staff", "authorization": {"allow": [{"groups": ["staff"]}]}}
    await gateway.apply({**config, "policies": [*config["policies"], rule]})
    assert result(await ask(caller, by(ALICE))) == "miss"
    assert result(await ask(caller, by(BOB))) == "hit"
    assert_refused(await ask(caller, by(EVE)), Kind.PERMISSION_DENIED, "PERMISSION_DENIED")


# What makes requests the same


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.5}, "miss"),
        ({"user": "somebody"}, "miss"),
        ({"messages": [{"role": "system", "content": "Lie."}, {"role": "user", "content": "hello"}]}, "miss"),
        ({"model": "m2"}, "miss"),
        ({"x_unknown": 1}, "miss"),
        ({}, "hit"),
    ],
)
async def test_every_field_counts(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, fields: Any, expected: str
) -> None:
    await gateway.apply(cached(upstream.address))
    await post(gateway, session)
    await post(gateway, session, **fields)
    assert len(upstream.requests) == (1 if expected == "hit" else 2)


async def test_white_space_and_order_of_members_do_not_count(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(cached(upstream.address))
    await post(gateway, session)
    raw = b'{"messages" : [ {"content":"hel\\u006co", "role":"user"} ],\n"model":"m"}'
    assert (await post(gateway, session, raw=raw))[0] == 200
    assert len(upstream.requests) == 1


async def test_body_that_means_different_things_to_different_readers_is_not_kept(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(cached(upstream.address, {"scope": "ROUTE"}))
    upstream.script = chat("poison")
    raw = b'{"model":"m","messages":[{"role":"user","content":"evil","content":"hello"}]}'
    await post(gateway, session, raw=raw)
    upstream.script = chat("good")
    assert b"good" in (await post(gateway, session))[1]


async def test_header_that_a_backend_sees_counts_and_others_do_not_reach_it(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(cached(upstream.address, {"scope": "ROUTE"}))
    poison = {"user-agent": "evil", "x-forwarded-host": "evil", "baggage": "evil=1", "x-stainless-lang": "evil"}
    await post(gateway, session, headers={**poison, "openai-beta": "a", "traceparent": "00-1-2-01"})
    sent = dict(upstream.requests[0].headers)
    assert not [value for value in sent.values() if "evil" in value]
    assert (sent["openai-beta"], sent["traceparent"]) == ("a", "00-1-2-01")
    await post(gateway, session, headers={"openai-beta": "a"})
    assert len(upstream.requests) == 1
    await post(gateway, session, headers={"openai-beta": "b"})
    await post(gateway, session)
    assert len(upstream.requests) == 3


async def test_change_of_the_route_gives_up_its_answers(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(cached(upstream.address))
    assert result(await ask(caller)) == "miss"
    await gateway.apply(cached(upstream.address))
    assert result(await ask(caller)) == "hit"
    await gateway.apply(cached(upstream.address, service={"models": [{"name": "m", "upstream_name": "other"}]}))
    assert result(await ask(caller)) == "miss"


# What the caller wants


@pytest.mark.parametrize(
    ("sent", "told", "after"),
    [
        ({"cache-control": "no-store"}, "bypass", "hit"),
        ({"cache-control": "no-cache"}, "bypass", "hit"),
        ({"cache-control": "max-age=0"}, "bypass", "hit"),
        ({"cache-control": "max-age=60"}, "hit", "hit"),
        ({"x-janua-cache": "bypass"}, "bypass", "hit"),
    ],
)
async def test_caller_can_ask_anew(
    gateway: Gateway,
    upstream: FaultyUpstream,
    caller: Caller,
    sent: Mapping[str, str],
    told: str,
    after: str,
) -> None:
    await gateway.apply(cached(upstream.address, {"bypass_groups": ["staff"]}))
    upstream.script = chat("old")
    await ask(caller, by(ALICE))
    upstream.script = chat("new")
    assert result(await ask(caller, by(ALICE, **sent))) == told
    last = await ask(caller, by(ALICE))
    is_kept = sent.get("cache-control") in ("no-cache", "max-age=0")
    assert (result(last), last.text) == (after, "new" if is_kept else "old")


async def test_nothing_is_kept_that_must_not_be(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(cached(upstream.address))
    await ask(caller, by(ALICE, **{"cache-control": "no-store"}))
    assert result(await ask(caller, by(ALICE))) == "miss"


async def test_what_the_caller_wants_does_not_count_where_the_policy_says_so(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(cached(upstream.address, {"respect_cache_control": False, "bypass_groups": ["staff"]}))
    await ask(caller, by(EVE))
    assert result(await ask(caller, by(EVE, **{"cache-control": "no-store", "x-janua-cache": "bypass"}))) == "hit"


# What is kept


@pytest.mark.parametrize("cache", [{}, {"single_flight": False}], ids=["shared", "alone"])
async def test_errors_are_not_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, cache: Mapping[str, Any]
) -> None:
    await gateway.apply(cached(upstream.address, cache, service={"retry_policy": {"num_retries": 0}}))
    upstream.next.append(fail(400, "no"))
    failed = await ask(caller, streamed=streamed)
    assert failed.failure is not None
    assert result(failed) == "miss"
    assert result(await ask(caller, streamed=streamed)) == "miss"
    assert result(await ask(caller, streamed=streamed)) == "hit"


async def test_stream_that_breaks_off_is_not_kept(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(cached(upstream.address))
    whole = stream_of(sse(ROLE, HELLO, STOP, done=False)[:2])
    upstream.next.append(whole)
    broken = await ask(caller, streamed=True)
    assert broken.failure is not None
    assert broken.text != ""
    upstream.script = stream_of(sse(ROLE, HELLO, STOP))
    assert result(await ask(caller, streamed=True)) == "miss"
    assert result(await ask(caller, streamed=True)) == "hit"


async def test_answer_over_the_limit_is_given_but_not_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(cached(upstream.address, {"max_entry_bytes": 2000}))
    text = "many words " * 300
    upstream.script = chat(text)
    for _ in range(2):
        told = await ask(caller, streamed=streamed)
        assert (result(told), told.text) == ("miss", text)


async def test_answer_is_forgotten_when_its_time_is_over(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(cached(upstream.address, {"ttl": "0.05s"}))
    await ask(caller)

    async def is_asked_anew() -> bool:
        await ask(caller)
        return len(upstream.requests) > 1

    await eventually(is_asked_anew, "the answer is too old")


async def test_old_answer_is_given_while_a_new_one_is_fetched(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(cached(upstream.address, {"ttl": "0.001s", "stale_while_revalidate": "300s"}))
    upstream.script = chat("old")
    await ask(caller, streamed=streamed)
    gate = asyncio.Event()
    upstream.script = after(gate, chat("new"))
    stale = await asyncio.gather(*(ask(caller, streamed=streamed) for _ in range(5)))
    assert {(result(told), told.text) for told in stale} == {("hit", "old")}
    await upstream.wait_for_requests(2)
    gate.set()

    async def is_new() -> bool:
        return (await ask(caller, streamed=streamed)).text == "new"

    await eventually(is_new, "the new answer is kept")


async def test_who_joins_the_call_that_fetches_a_new_one_does_not_pay_for_it_again(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    cache = {"ttl": "0.001s", "stale_while_revalidate": "300s"}
    await gateway.apply(cached(upstream.address, cache, service=PRICES))
    await ask(caller, streamed=streamed)
    paid = await gateway.metric("janua_tokens_total", {"service": "llm", "kind": "output"})
    gate = asyncio.Event()
    upstream.script = after(gate, chat())
    assert result(await ask(caller, streamed=streamed)) == "hit"
    await upstream.wait_for_requests(2)

    async def is_old() -> bool:
        return int((await ask(caller, streamed=streamed)).headers["age"]) >= 1

    await eventually(is_old, "the answer is a second old")
    demanding = Question(headers={"cache-control": "max-age=1"})
    joining = asyncio.create_task(ask(caller, demanding, streamed=streamed))
    await gateway.wait_for_active_requests(1)
    gate.set()
    assert result(await joining) == "coalesced"
    assert len(upstream.requests) == 2
    assert await gateway.metric("janua_tokens_total", {"service": "llm", "kind": "output"}) == paid + 2


async def test_purge_forgets_the_answers_of_a_route(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(cached(upstream.address))
    await ask(caller)
    assert json.loads((await gateway.post("/cache/purge?route=other"))[1]) == {"purged": 0}
    assert result(await ask(caller)) == "hit"
    assert json.loads((await gateway.post("/cache/purge?route=chat"))[1]) == {"purged": 1}
    assert result(await ask(caller)) == "miss"
    assert (await gateway.get("/cache/purge"))[0] == 405


# Calls in flight


async def test_requests_that_are_the_same_share_one_call(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    gate = asyncio.Event()
    upstream.script = after(gate, chat())
    await gateway.apply(cached(upstream.address, service=PRICES))
    running = [asyncio.create_task(ask(caller, streamed=streamed)) for _ in range(50)]
    await gateway.wait_for_active_requests(50)
    gate.set()
    told = await asyncio.gather(*running)
    for each in told:
        assert_answered(each)
    assert len(upstream.requests) == 1
    assert sorted(map(result, told)) == ["coalesced"] * 49 + ["miss"]
    entries = [await gateway.access_log_entry(each.headers["x-request-id"]) for each in told]
    assert len([entry for entry in entries if entry["cost_usd"]]) == 1
    assert sum(entry.get("output_tokens", 0) for entry in entries) == 2


async def test_who_comes_late_gets_what_has_come_before_and_then_the_rest(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    gate = asyncio.Event()
    upstream.script = hello_until(gate)
    await gateway.apply(cached(upstream.address))
    begun = asyncio.Event()
    first = asyncio.create_task(ask(caller, streamed=True, on_piece=begun.set))
    await begun.wait()
    late_begun = asyncio.Event()
    late = asyncio.create_task(ask(caller, streamed=True, on_piece=late_begun.set))
    await late_begun.wait()
    gate.set()
    told = await asyncio.gather(first, late)
    assert [(result(each), each.text, each.finish_reason) for each in told] == [
        ("miss", "hello", "stop"),
        ("coalesced", "hello", "stop"),
    ]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("leaving", [0, 1], ids=["first", "second"])
async def test_who_leaves_disturbs_nobody(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, leaving: int
) -> None:
    gate = asyncio.Event()
    upstream.script = after(gate, chat())
    await gateway.apply(cached(upstream.address))
    running = []
    for count in (1, 2):
        running.append(asyncio.create_task(ask(caller, streamed=streamed)))
        await gateway.wait_for_active_requests(count)
    running[leaving].cancel()
    await gateway.wait_for_active_requests(1)
    gate.set()
    assert_answered(await running[1 - leaving])
    assert (len(upstream.requests), upstream.disconnects) == (1, 0)


async def test_call_ends_with_the_last_who_waits(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    upstream.script = after(asyncio.Event(), chat())
    await gateway.apply(cached(upstream.address))
    running = [asyncio.create_task(ask(caller, streamed=streamed)) for _ in range(2)]
    await gateway.wait_for_active_requests(2)
    await upstream.wait_for_requests(1)
    for task in running:
        task.cancel()
    await upstream.wait_for_disconnects(1)
    upstream.script = chat()
    assert result(await ask(caller, streamed=streamed)) == "miss"


async def test_all_learn_of_an_error_and_nobody_later(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    gate = asyncio.Event()
    upstream.script = after(gate, fail(400, "no"))
    await gateway.apply(cached(upstream.address))
    running = [asyncio.create_task(ask(caller, streamed=streamed)) for _ in range(3)]
    await gateway.wait_for_active_requests(3)
    gate.set()
    told = await asyncio.gather(*running)
    assert {each.failure.status for each in told if each.failure} == {Kind.INVALID_REQUEST.on(caller.wire)}
    assert sorted(map(result, told)) == ["coalesced", "coalesced", "miss"]
    upstream.script = chat()
    assert_answered(await ask(caller, streamed=streamed))


async def test_time_limit_of_one_caller_is_no_concern_of_others(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    gate = asyncio.Event()
    upstream.script = after(gate, chat())
    await gateway.apply(cached(upstream.address))
    await caller.models()  # connected, so that all of the time is for the request
    if caller.wire is Wire.HTTP:
        hurried = Question(headers={"x-janua-timeout-ms": "2000"})
    else:
        hurried = Question(deadline_s=2.0)
    first = asyncio.create_task(ask(caller, hurried))
    await upstream.wait_for_requests(1)
    second = asyncio.create_task(ask(caller))
    failed = await first
    assert failed.failure is not None
    assert failed.failure.status == Kind.TIMEOUT.on(caller.wire)
    gate.set()
    assert_answered(await second)
    assert len(upstream.requests) == 1


async def test_kept_answers_count_as_requests_and_take_no_tokens(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    limits = [
        {"unit": "REQUESTS", "limit": 3, "window": "600s", "key": "CONSUMER"},
        {"unit": "TOTAL_TOKENS", "limit": 1_000_000, "window": "600s", "key": "CONSUMER"},
    ]
    config = dict(cached(upstream.address))
    name = f"limit-{caller.wire.value}-{int(streamed)}"  # what is counted outlives the test
    config["policies"] = [*config["policies"], {"name": name, "rate_limit": {"limits": limits}}]
    config["routes"] = [{**route, "policies": [*route["policies"], name]} for route in config["routes"]]
    await gateway.apply(config)

    left = []
    for expected in ("miss", "hit", "hit"):
        answered = await ask(caller, by(ALICE), streamed=streamed)
        assert_answered(answered)
        assert result(answered) == expected
        left.append(answered.headers)
    refused = await ask(caller, by(ALICE), streamed=streamed)

    assert_refused(refused, Kind.RATE_LIMITED, "RATE_LIMITED")
    assert [each["x-ratelimit-remaining-requests"] for each in left] == ["2", "1", "0"]
    assert left[1]["x-ratelimit-remaining-tokens"] == left[2]["x-ratelimit-remaining-tokens"]
    assert len(upstream.requests) == 1
