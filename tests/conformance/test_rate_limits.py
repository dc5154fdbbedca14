"""Limits and budgets of one node: on routes, services and consumers, over HTTP and gRPC alike."""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from janua.inference.v1 import chat_pb2, inference_service_pb2_grpc

from tests.conformance.calls import Answer, Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import after, hello_until
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripts import chat, fail

ALICE, BOB = "sk-alice-0123456789", "sk-bob-0123456789"
HELLO_THERE_TOKENS = 3
"""Of `hello there`, whose usage is one token in and two out."""


numbers = itertools.count(1)


def limited(address: str, policy: Mapping[str, Any], *users: str, name: str = "rule", **service: Any) -> dict[str, Any]:
    """One pool with the keys of alice and bob, and a policy that `users` name."""
    config = dict(with_keys(one_pool(address, service=service), api_key(ALICE)))
    config["consumers"].append({"name": "bob", "api_keys": [api_key(BOB)]})
    config["policies"].append({"name": name, **policy})
    named = {"route": config["routes"], "service": config["services"], "consumer": config["consumers"][:1]}
    for user in users:
        for resource in named[user]:
            resource["policies"] = [*resource.get("policies", []), name]
    return config


def requests(limit: int, **fields: Any) -> dict[str, Any]:
    return {"rate_limit": {"limits": [{"unit": "REQUESTS", "limit": limit, "window": "60s", **fields}]}}


def tokens(limit: int, unit: str = "TOTAL_TOKENS", **fields: Any) -> dict[str, Any]:
    return {"rate_limit": {"limits": [{"unit": unit, "limit": limit, "window": "60s", **fields}]}}


def fresh_name() -> str:
    """Of a budget: what was spent of one is not forgotten, and all tests have the same node."""
    return f"budget-{next(numbers)}"


def by(key: str, **headers: str) -> Question:
    return Question(headers={"authorization": f"Bearer {key}", **headers})


def told(answer: Answer, family: str) -> tuple[int, int]:
    """The limit and what remains of it, as the answer's headers say."""
    assert 0 <= int(answer.headers[f"x-ratelimit-reset-{family}"]) <= 61
    return int(answer.headers[f"x-ratelimit-limit-{family}"]), int(answer.headers[f"x-ratelimit-remaining-{family}"])


@pytest.mark.parametrize("user", ["route", "service", "consumer"])
@pytest.mark.parametrize("algorithm", ["SLIDING_WINDOW", "TOKEN_BUCKET"])
async def test_requests_over_the_limit_are_refused_and_every_answer_tells_what_is_left(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, user: str, algorithm: str
) -> None:
    policy = requests(2)
    policy["rate_limit"]["algorithm"] = algorithm
    await gateway.apply(limited(upstream.address, policy, user))

    first, second = [await ask(caller, by(ALICE), streamed=streamed) for _ in range(2)]
    third = await ask(caller, by(ALICE), streamed=streamed)

    assert_answered(first)
    assert_answered(second)
    assert [told(each, "requests") for each in (first, second, third)] == [(2, 1), (2, 0), (2, 0)]
    failure = assert_refused(third, Kind.RATE_LIMITED, "RATE_LIMITED")
    assert failure.retry_after_s is not None
    assert 25 <= failure.retry_after_s <= 61
    assert "'rule' allows 2 requests in 60 s for each consumer" in failure.message
    assert len(upstream.requests) == 2
    assert_answered(await ask(caller, by(BOB), streamed=streamed))


async def test_limits_are_counted_apart_for_what_their_key_says(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(limited(upstream.address, requests(1, key="HEADER", header="X-Team"), "route"))
    answers = [await ask(caller, by(ALICE, **{"x-team": team})) for team in ("red", "blue", "red")]
    assert [each.failure is None for each in answers] == [True, True, False]

    expression = 'request.model + "/" + consumer.name'
    await gateway.apply(limited(upstream.address, requests(1, key="EXPRESSION", expression=expression), "route"))
    answers = [await ask(caller, by(key)) for key in (ALICE, BOB, ALICE)]
    assert [each.failure is None for each in answers] == [True, True, False]


async def test_nothing_is_taken_where_one_of_several_limits_is_reached(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    config = limited(upstream.address, requests(1, key="MODEL"), "route")
    config["policies"].append({"name": "wide", **requests(10)})
    config["routes"][0]["policies"].insert(0, "wide")
    await gateway.apply(config)

    for number in range(5):
        assert (await ask(caller, by(ALICE))).failure is None or number > 0
    assert told(await ask(caller, Question(model="other", headers=by(ALICE).headers)), "requests") == (1, 0)
    config["routes"][0]["policies"].remove("rule")
    await gateway.apply(config)
    assert told(await ask(caller, by(ALICE)), "requests") == (10, 7)  # two were answered before


async def test_tokens_are_set_aside_by_estimate_and_counted_as_used(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    """Also of a stream whose caller does not ask for its usage."""
    upstream.script = chat()
    await gateway.apply(limited(upstream.address, tokens(5000), "route"))

    first = await ask(caller, by(ALICE), streamed=streamed)
    await gateway.wait_until_idle()
    second = await ask(caller, by(ALICE), streamed=streamed)

    assert_answered(first)
    assert_answered(second)
    limit, left = told(first, "tokens")
    assert limit == 5000
    assert 3800 < left < 5000 - 1024
    assert told(second, "tokens") == (5000, left - HELLO_THERE_TOKENS)


async def test_what_a_request_sets_as_its_maximum_is_set_aside_and_refused_if_it_can_never_be_there(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = chat()
    await gateway.apply(limited(upstream.address, tokens(500, "OUTPUT_TOKENS"), "route"))

    async def post(maximum: int) -> tuple[int, Mapping[str, str], Any]:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": maximum}
        url = f"http://{gateway.addresses.http}/v1/chat/completions"
        async with session.post(url, json=body, headers=by(ALICE).headers) as reply:
            return reply.status, reply.headers, await reply.json()

    status, headers, _ = await post(200)
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, "300")
    status, headers, error = await post(501)
    assert (status, error["error"]["code"]) == (429, "request_over_limit")
    assert "retry-after" not in headers


async def test_nothing_stays_set_aside_of_requests_that_fail_or_whose_callers_leave(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(limited(upstream.address, tokens(100_000), "route"))
    upstream.script = fail(400)
    assert (await ask(caller, by(ALICE))).failure is not None

    gate = asyncio.Event()
    upstream.script = hello_until(gate)
    async with AsyncExitStack() as streams:
        for _ in range(20):
            stream = await streams.enter_async_context(caller.stream(by(ALICE)))
            await anext(aiter(stream))
        assert told_by(stream.headers) < 100_000 - 20 * 1024
    await gateway.wait_until_idle()

    upstream.script = chat()
    left = told(await ask(caller, by(ALICE)), "tokens")[1]
    assert left > 100_000 - 2 * 1100


def told_by(headers: Mapping[str, str]) -> int:
    return int(headers["x-ratelimit-remaining-tokens"])


async def test_so_many_requests_run_at_a_time(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    policy = {"rate_limit": {"limits": [{"unit": "CONCURRENCY", "limit": 2}]}}
    await gateway.apply(limited(upstream.address, policy, "route"))
    gate = asyncio.Event()
    upstream.script = after(gate, chat())
    running = [asyncio.create_task(ask(caller, by(ALICE))) for _ in range(2)]
    await upstream.wait_for_requests(2)

    failure = assert_refused(await ask(caller, by(ALICE)), Kind.RATE_LIMITED, "RATE_LIMITED")
    assert failure.retry_after_s == 1
    gate.set()
    for answered in await asyncio.gather(*running):
        assert_answered(answered)
    await gateway.wait_until_idle()
    assert_answered(await ask(caller, by(ALICE)))


async def test_a_service_whose_limit_is_reached_is_passed_over_and_charged_for_nothing(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    """Field failure: failover charged to the wrong model."""
    small, big = await upstreams(2)
    config = limited(small.address, requests(1, key="SERVICE"), "service")
    config["upstreams"].append({"name": "other", "endpoints": [{"address": big.address}]})
    config["services"].append({"name": "big", "upstream_service": {"upstream": "other", "schema": "OPENAI"}})
    config["routes"][0]["backends"] = [{"service": "llm"}, {"service": "big", "priority": 1}]
    await gateway.apply(config)

    for _ in range(3):
        assert_answered(await ask(caller, by(ALICE)))

    assert (len(small.requests), len(big.requests)) == (1, 2)


async def test_tokens_of_an_answer_are_charged_to_the_service_that_gave_it(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    """Field failure: failover charged to the wrong model."""
    broken, working = await upstreams(2)
    broken.script = fail(503)
    config = limited(broken.address, tokens(5000, key="SERVICE"), "service")
    config["services"][0]["retry_policy"] = {"num_retries": 0}
    config["upstreams"].append({"name": "other", "endpoints": [{"address": working.address}]})
    config["services"].append({"name": "big", "upstream_service": {"upstream": "other", "schema": "OPENAI"}})
    config["routes"][0]["backends"] = [{"service": "llm"}, {"service": "big", "priority": 1}]
    await gateway.apply(config)
    first = told(await ask(caller, by(ALICE)), "tokens")
    await gateway.wait_until_idle()
    assert told(await ask(caller, by(ALICE)), "tokens") == first


async def test_what_was_counted_outlives_a_new_configuration(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    """Field failure: a reload drops limits of what did not change."""
    await gateway.apply(limited(upstream.address, requests(3), "route"))
    assert_answered(await ask(caller, by(ALICE)))
    await gateway.apply(limited(upstream.address, requests(3), "route", timeouts={"request": "9s"}))
    assert told(await ask(caller, by(ALICE)), "requests") == (3, 1)
    await gateway.apply(limited(upstream.address, requests(10), "route"))
    assert told(await ask(caller, by(ALICE)), "requests") == (10, 7)


PRICE = {"models": [{"name": "m", "price": {"input": 100.0, "output": 1000.0}}]}
HELLO_THERE_USD = (1 * 100.0 + 2 * 1000.0) / 1e6


async def test_a_hard_budget_ends_and_tells_when_it_begins_again(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    budget = {"budget": {"tokens": HELLO_THERE_TOKENS, "period": "DAY"}}
    await gateway.apply(limited(upstream.address, budget, "route", name=fresh_name()))

    assert_answered(await ask(caller, by(ALICE), streamed=streamed))
    await gateway.wait_until_idle()
    failure = assert_refused(await ask(caller, by(ALICE), streamed=streamed), Kind.RATE_LIMITED, "BUDGET_EXCEEDED")

    assert failure.retry_after_s is not None
    assert 0 < failure.retry_after_s <= 86_400
    assert "allows 3 tokens a day for each consumer" in failure.message
    assert_answered(await ask(caller, by(BOB), streamed=streamed))


async def test_a_budget_in_dollars_counts_what_requests_have_cost(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    budget = {"budget": {"amount_usd": HELLO_THERE_USD * 1.5}}
    await gateway.apply(limited(upstream.address, budget, "route", name=fresh_name(), **PRICE))
    assert_answered(await ask(caller, by(ALICE)))
    await gateway.wait_until_idle()
    assert_refused(await ask(caller, by(ALICE)), Kind.RATE_LIMITED, "BUDGET_EXCEEDED")


async def test_a_budget_that_warns_lets_requests_pass(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    name = fresh_name()
    budget = {"budget": {"tokens": HELLO_THERE_TOKENS, "mode": "WARN"}}
    await gateway.apply(limited(upstream.address, budget, "route", name=name))
    warned = {"policy": name, "result": "warned"}
    before = await gateway.metric("janua_budget_total", warned)
    first = await ask(caller, by(ALICE), streamed=streamed)
    await gateway.wait_until_idle()
    second = await ask(caller, by(ALICE), streamed=streamed)
    assert_answered(second)
    assert "x-janua-budget-exceeded" not in first.headers
    assert second.headers["x-janua-budget-exceeded"] == name
    assert await gateway.metric("janua_budget_total", warned) == before + 1


async def test_metrics_count_what_limits_said(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(limited(upstream.address, requests(1), "route"))

    async def counted() -> list[float]:
        return [
            await gateway.metric("janua_ratelimit_total", {"policy": "rule", "result": result})
            for result in ("allowed", "limited")
        ]

    before = await counted()
    for _ in range(3):
        await ask(caller, by(ALICE))
    assert [now - then for now, then in zip(await counted(), before, strict=True)] == [1, 2]


@pytest.mark.parametrize("family", ["openai", "anthropic"])
async def test_over_http_the_error_is_of_the_dialect_that_was_asked_in(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, family: str
) -> None:
    await gateway.apply(limited(upstream.address, requests(1), "route"))
    path = "/v1/messages" if family == "anthropic" else "/v1/chat/completions"
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    for status in (200, 429):
        async with session.post(
            f"http://{gateway.addresses.http}{path}", json=body, headers=by(ALICE).headers
        ) as reply:
            error = await reply.json()
            assert reply.status == status
    assert int(reply.headers["retry-after"]) > 0
    assert error["error"]["type"] == "rate_limit_error"
    assert error.get("type") == ("error" if family == "anthropic" else None)


async def test_over_grpc_the_status_has_the_quota_and_when_to_try_again(
    gateway: Gateway, upstream: FaultyUpstream, channel: grpc.aio.Channel
) -> None:
    await gateway.apply(limited(upstream.address, requests(1), "route"))
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    message = chat_pb2.Message(role=chat_pb2.Message.ROLE_USER, content=[chat_pb2.ContentPart(text="hi")])
    asked = chat_pb2.ChatCompletionRequest(model="m", messages=[message])
    request = chat_pb2.CreateChatCompletionRequest(request=asked)
    metadata = (("authorization", f"Bearer {ALICE}"),)
    await stub.CreateChatCompletion(request, metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CreateChatCompletion(request, metadata=metadata)
    status = rpc_status.from_call(cast("grpc.Call", refused.value))
    assert status is not None
    quota, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    assert [any(detail.Unpack(each) for detail in status.details) for each in (quota, retry)] == [True, True]
    (violation,) = quota.violations
    assert violation.subject == "policy:rule"
    assert violation.description == "policy 'rule' allows 1 requests in 60 s for each consumer"
    assert retry.retry_delay.seconds > 20


async def test_what_a_backend_says_of_limits_of_its_own_is_not_told_beside_ours(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = chat(headers=[("X-RateLimit-Limit-Requests", "7"), ("x-ratelimit-limit-tokens", "9")])
    await gateway.apply(limited(upstream.address, requests(3), "route"))
    url = f"http://{gateway.addresses.http}/v1/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with session.post(url, json=body, headers=by(ALICE).headers) as reply:
        assert reply.status == 200
        assert reply.headers.getall("x-ratelimit-limit-requests") == ["3"]
        assert reply.headers.getall("x-ratelimit-limit-tokens") == ["9"]


@pytest.mark.parametrize("user", ["route", "service"])
async def test_what_a_transform_will_allow_is_reserved_and_no_more(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, user: str
) -> None:
    """Without a bound of its own a request would reserve all there is."""
    config = limited(upstream.address, tokens(1000, "OUTPUT_TOKENS", key="ROUTE"), user, name=fresh_name())
    edits = {"set_defaults": {"max_tokens": 5000}, "clamp": {"max_tokens": {"max": 300}}}
    config["policies"].append({"name": "cap", "transform": {"request": edits}})
    config[f"{user}s"][0]["policies"].append("cap")
    gate = asyncio.Event()
    upstream.script = after(gate, chat())
    await gateway.apply(config)
    asking = [asyncio.create_task(ask(caller, by(ALICE), streamed=streamed)) for _ in range(3)]
    await upstream.wait_for_requests(3)
    refused = await ask(caller, by(ALICE), streamed=streamed)
    assert_refused(refused, Kind.RATE_LIMITED, "RATE_LIMITED")
    gate.set()
    for told in await asyncio.gather(*asking):
        assert_answered(told)
    assert [request.json()["max_tokens"] for request in upstream.requests] == [300] * 3
