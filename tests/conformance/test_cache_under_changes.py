"""Kept answers of routes whose policies change what is asked and what is answered: nobody gets what was changed for
another, and nobody pays for a difference that no backend sees."""

from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from tests.conformance.caching import ALICE, BOB, by, cached, result
from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import Configuration
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import embeddings
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripts import chat


@pytest.fixture(autouse=True)
async def _empty(gateway: Gateway) -> None:
    """Nothing is kept of the test before."""
    status, _ = await gateway.post("/cache/purge")
    assert status == 200


def changed(address: str, on: str, policy: dict[str, Any]) -> Configuration:
    """A cache that all callers share, and a policy of the route, of its service or of alice."""
    config = dict(cached(address, {"scope": "ROUTE"}))
    config["policies"] = [*config["policies"], {"name": "change", **policy}]
    named: dict[str, Any] = dict(config[on][0])
    named["policies"] = [*named.get("policies", ()), "change"]
    config[on] = [named, *config[on][1:]]
    return config


async def results(caller: Caller, *questions: Question, streamed: bool = False) -> Sequence[str]:
    told = [await ask(caller, question, streamed=streamed) for question in questions]
    for each in told:
        assert_answered(each)
    return [result(each) for each in told]


@pytest.mark.parametrize("on", ["routes", "services"])
async def test_header_that_a_policy_makes_for_each_caller_keeps_callers_apart(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, on: str
) -> None:
    policy = {"transform": {"request": {"set_headers": {"x-caller": "consumer.name"}}}}
    await gateway.apply(changed(upstream.address, on, policy))
    assert await results(caller, by(ALICE), by(ALICE), by(BOB), by(ALICE), streamed=streamed) == [
        "miss", "hit", "miss", "hit",
    ]  # fmt: skip
    assert [dict(request.headers)["x-caller"] for request in upstream.requests] == ["alice", "bob"]


async def test_header_that_a_policy_takes_away_makes_no_difference(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(
        changed(upstream.address, "routes", {"transform": {"request": {"remove_headers": ["x-trial"]}}})
    )
    tried = [Question(headers={"x-trial": number}) for number in "12"]
    assert await results(caller, *tried) == ["miss", "hit"]


@pytest.mark.parametrize("on", ["routes", "services"])
async def test_field_that_the_route_takes_away_makes_no_difference(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, on: str
) -> None:
    """What a service takes away does, for which service will be called is not known yet."""
    policy = {"transform": {"request": {"remove_body_fields": ["top_logprobs", "logprobs"]}}}
    await gateway.apply(changed(upstream.address, on, policy))
    asked = [Question(top_logprobs=number) for number in (2, 3)]
    expected = ["miss", "hit" if on == "routes" else "miss"]
    assert await results(caller, *asked, streamed=streamed) == expected
    assert "top_logprobs" not in upstream.requests[0].json()


async def test_policy_of_a_consumer_keeps_its_answers_apart(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    policy = {"transform": {"request": {"prepend_messages": [{"role": "system", "content": "Be brief."}]}}}
    await gateway.apply(changed(upstream.address, "consumers", policy))
    assert await results(caller, by(BOB), by(ALICE), by(BOB), by(ALICE), streamed=streamed) == [
        "miss", "miss", "hit", "hit",
    ]  # fmt: skip
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("on", ["routes", "services"])
async def test_changes_of_headers_of_answers_are_on_kept_answers_too(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, on: str
) -> None:
    upstream.script = chat(headers=[("x-internal", "1")])
    response = {"set_headers": {"x-caller": "consumer.name"}, "remove_headers": ["x-internal"]}
    await gateway.apply(changed(upstream.address, on, {"transform": {"response": response}}))
    for key, name in ((ALICE, "alice"), (BOB, "bob")):
        for expected in ("miss", "hit"):
            told = await ask(caller, by(key), streamed=streamed)
            assert_answered(told)
            assert (result(told), told.headers["x-caller"]) == (expected, name)
            assert "x-internal" not in told.headers


@pytest.mark.parametrize("on", ["routes", "services", "consumers"])
async def test_guarded_answers_are_kept_as_they_were_given(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, on: str
) -> None:
    upstream.script = chat("write to ann@example.org today")
    rules = [{"pii": ["EMAIL"], "action": "MASK"}]
    await gateway.apply(changed(upstream.address, on, {"guardrail": {"rules": rules, "on": ["REQUEST", "RESPONSE"]}}))
    for expected in ("miss", "hit"):
        told = await ask(caller, by(ALICE), streamed=streamed)
        assert (result(told), told.text) == (expected, "write to [EMAIL] today")


async def test_what_a_guardrail_masks_makes_no_difference(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    rules = [{"pii": ["EMAIL"], "action": "MASK"}]
    await gateway.apply(changed(upstream.address, "routes", {"guardrail": {"rules": rules}}))
    asked = [Question(text=f"to {name}@example.org") for name in ("ann", "bob")]
    assert await results(caller, *asked, streamed=streamed) == ["miss", "hit"]


async def test_what_a_guardrail_denies_is_denied_whatever_is_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    deny = {"guardrail": {"rules": [{"pii": ["EMAIL"], "action": "DENY"}]}}
    config = changed(upstream.address, "consumers", deny)
    await gateway.apply(config)
    asked = [Question(text="to ann@example.org", headers=by(key).headers) for key in (BOB, ALICE, BOB)]
    told = [await ask(caller, each, streamed=streamed) for each in asked]
    assert (result(told[0]), result(told[2])) == ("miss", "hit")
    assert_refused(told[1], Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")


async def test_answer_that_a_guardrail_ends_is_not_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    upstream.script = chat("write to ann@example.org today")
    deny = {"guardrail": {"rules": [{"pii": ["EMAIL"], "action": "DENY"}], "on": ["RESPONSE"]}}
    await gateway.apply(changed(upstream.address, "routes", deny))
    for number in (1, 2):
        told = await ask(caller, streamed=streamed)
        assert told.failure is not None
        assert len(upstream.requests) == number
    assert await gateway.metric("janua_cache_entries") == 0


async def test_expression_without_a_value_goes_past_the_cache(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    """The service that is called may be another, whose policy has no such expression."""
    policy = {"transform": {"request": {"set_headers": {"x-team": "consumer.labels.team"}}}}
    await gateway.apply(changed(upstream.address, "services", policy))
    told = await ask(caller, by(ALICE))
    assert_refused(told, Kind.INVALID_REQUEST, "TRANSFORM_FAILED")
    assert not upstream.requests


async def post(gateway: Gateway, path: str, **fields: Any) -> bytes:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.addresses.http}{path}", json={"model": "m", **fields}) as response,
    ):
        assert response.status == 200
        return await response.read()


async def test_who_wants_usage_gets_no_answer_of_one_who_does_not(gateway: Gateway, upstream: FaultyUpstream) -> None:
    rules = [{"pii": ["EMAIL"], "action": "MASK"}]
    await gateway.apply(changed(upstream.address, "routes", {"guardrail": {"rules": rules}}))
    for wanted in (False, True, False, True):
        messages = [{"role": "user", "content": "hi"}]
        options = {"include_usage": wanted}
        body = await post(gateway, "/v1/chat/completions", messages=messages, stream=True, stream_options=options)
        assert (b"total_tokens" in body) == wanted
    assert len(upstream.requests) == 2


async def test_vectors_are_written_as_each_caller_wants_them(gateway: Gateway, upstream: FaultyUpstream) -> None:
    upstream.script = embeddings([[0.5, 0.25]])
    policy = {"transform": {"request": {"set_body": {"encoding_format": "'float'"}}}}
    await gateway.apply(changed(upstream.address, "routes", policy))
    for wanted in ("float", "base64", "float"):
        await post(gateway, "/v1/embeddings", input="hi", encoding_format=wanted)
    assert len(upstream.requests) == 2
