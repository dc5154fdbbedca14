"""Texts that a service elsewhere judges: over HTTP and gRPC alike, whole and streamed, whatever becomes of it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_broken, assert_refused
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.conftest import Upstreams
from tests.conformance.dialect_table import HTTP_CLIENTS
from tests.conformance.dialects import Ask, Client, Node
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import ROLE, STOP, open_stream, stream_of, text_event
from tests.support.egress_proxy import egress_proxy
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, response, sse
from tests.support.scripts import Exchange, Script, answer, chat, fail, huge, reset, stall

BOTH = ["REQUEST", "RESPONSE"]
Judge = Callable[[Any], dict[str, Any]]


def judging(judge: Judge) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(json_response(200, judge(exchange.request.json())))

    return script


def allow(_: Any) -> dict[str, Any]:
    return {"action": "ALLOW"}


def shout(question: Any) -> dict[str, Any]:
    return {"action": "MASK", "texts": [text.replace("ann", "***") for text in question["texts"]]}


def deny(word: str) -> Judge:
    return lambda question: {"action": "DENY" if word in "".join(question["before"] + question["texts"]) else "ALLOW"}


@pytest.fixture
async def judge(upstreams: Upstreams) -> FaultyUpstream:
    """The service that judges. It allows all."""
    (judge,) = await upstreams(1)
    judge.script = judging(allow)
    return judge


def judged(address: str, judge: FaultyUpstream, on: list[str], user: str = "route", **webhook: Any) -> Any:
    spec = {"webhook": {"url": f"{judge.url}/judge", **webhook}, "on": on}
    named = {user: {"policies": ["guard"]}}
    return one_pool(address, policies=[{"name": "guard", "guardrail": spec}], **named)


def questions(judge: FaultyUpstream) -> list[Any]:
    return [request.json() for request in judge.requests]


@pytest.mark.parametrize("user", ["route", "service"])
async def test_texts_of_requests_and_answers_are_judged(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller, streamed: bool, user: str
) -> None:
    judge.script = judging(shout)
    upstream.script = chat("ann is here, and so is ann")
    await gateway.apply(judged(upstream.address, judge, BOTH, user))

    told = await ask(caller, Question(text="where is ann?"), streamed=streamed)

    assert_answered(told, "*** is here, and so is ***")
    assert upstream.requests[0].json()["messages"] == [{"role": "user", "content": "where is ***?"}]
    first, last = questions(judge)
    assert first == {
        "policy": "guard", "side": "REQUEST", "texts": ["where is ann?"], "before": [], "is_last": True,
        "request_id": told.headers["x-request-id"], "route": "chat", "model": "m", "consumer": "", "groups": [],
    }  # fmt: skip
    assert (last["side"], last["texts"], last["is_last"]) == ("RESPONSE", ["ann is here, and so is ann"], True)
    assert {request.target for request in judge.requests} == {"/judge"}


async def test_callers_are_told_to_who_judges(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller
) -> None:
    config = dict(with_keys(judged(upstream.address, judge, ["REQUEST"]), api_key("sk-alice-0123456789")))
    config["policies"] = [*config["policies"], *judged(upstream.address, judge, ["REQUEST"])["policies"]]
    config["routes"] = [{**config["routes"][0], "policies": ["keys", "guard"]}]
    config["consumers"] = [{**config["consumers"][0], "groups": ["staff"]}]
    await gateway.apply(config)
    assert_answered(await ask(caller, Question(headers={"authorization": "Bearer sk-alice-0123456789"})))
    assert (questions(judge)[0]["consumer"], questions(judge)[0]["groups"]) == ("alice", ["staff"])
    assert b"sk-alice" not in judge.requests[0].body


async def test_what_is_denied_of_a_request_reaches_no_backend(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    judge.script = judging(deny("bomb"))
    await gateway.apply(judged(upstream.address, judge, BOTH))
    before = await gateway.metric("janua_guardrail_total", {"rule": "WEBHOOK", "action": "DENY"})
    told = await ask(caller, Question(text="a bomb"), streamed=streamed)
    failure = assert_refused(told, Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")
    assert "bomb" not in failure.message
    assert upstream.requests == []
    assert await gateway.metric("janua_guardrail_total", {"rule": "WEBHOOK", "action": "DENY"}) == before + 1


async def test_what_is_denied_of_a_whole_answer_is_not_given(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller
) -> None:
    judge.script = judging(deny("bomb"))
    upstream.script = chat("a bomb is made so")
    await gateway.apply(judged(upstream.address, judge, ["RESPONSE"]))
    assert_refused(await ask(caller), Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")


def paced(judge: FaultyUpstream, *texts: str) -> Script:
    """A stream of these pieces, each sent when that before it is being judged."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(open_stream(*sse(ROLE, done=False)))
        for number, text in enumerate(texts):
            await judge.wait_for_requests(number)
            await exchange.send(open_stream(*sse(text_event(text), done=False)).removeprefix(open_stream()))
        await exchange.send(chunked_response(sse(STOP)).removeprefix(open_stream()))

    return script


async def test_stream_is_judged_window_by_window_and_ended_where_it_must_not_go_on(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller
) -> None:
    judge.script = judging(deny("a bomb"))
    texts = ["this goes on and on. ", "and so it will be a", " bomb that they want", "and no more of it now"]
    upstream.script = paced(judge, *texts)
    await gateway.apply(judged(upstream.address, judge, ["RESPONSE"], window_characters=16))
    told = await ask(caller, streamed=True)
    assert_broken(told, Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")
    assert told.text == "".join(texts[:2])
    asked = questions(judge)
    assert [question["texts"] for question in asked] == [[text] for text in texts[:3]]
    # What went on before comes along, so that nothing hides between two windows.
    assert [question["before"] for question in asked] == [[""], [texts[0][-16:]], [texts[1][-16:]]]
    assert not any(question["is_last"] for question in asked)


async def test_pieces_go_on_as_soon_as_they_are_judged(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller
) -> None:
    gate = asyncio.Event()

    async def slow_end(exchange: Exchange) -> None:
        if exchange.request.json()["is_last"]:
            await gate.wait()
        await exchange.send(json_response(200, {"action": "ALLOW"}))

    judge.script = slow_end
    upstream.script = paced(judge, "one two three four", " five")
    await gateway.apply(judged(upstream.address, judge, ["RESPONSE"], window_characters=16, timeout="30s"))
    told = ""
    async with caller.stream(Question()) as pieces:
        async for piece in pieces:
            told += piece.text
            if told == "one two three four":
                gate.set()
    assert told == "one two three four five"


@pytest.mark.parametrize("client", HTTP_CLIENTS, ids=lambda client: client.name)
async def test_every_dialect_is_judged(
    gateway: Gateway,
    upstream: FaultyUpstream,
    judge: FaultyUpstream,
    inference_node: Node,
    client: Client,
    streamed: bool,
) -> None:
    judge.script = judging(shout)
    upstream.script = chat("ann is here")
    await gateway.apply(judged(upstream.address, judge, BOTH))
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert reply.told.text == "*** is here"
    assert reply.is_ended


FAILURES: dict[str, Script] = {
    "no success": fail(500),
    "redirect": answer(response(302, headers=[("location", "/elsewhere")])),
    "not JSON": answer(response(200, b"<html>")),
    "unknown action": answer(json_response(200, {"action": "PERHAPS"})),
    "mask without texts": answer(json_response(200, {"action": "MASK"})),
    "mask of another number": answer(json_response(200, {"action": "MASK", "texts": ["a", "b"]})),
    "too large": huge(300 * 1024),
    "cut": reset(),
    "late": stall(),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("side", BOTH)
async def test_what_is_not_judged_goes_on_or_not_as_configured(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller, name: str, side: str
) -> None:
    """Field failure: a broken guard lets everything pass."""
    judge.script = FAILURES[name]
    failed = await gateway.metric("janua_guardrail_total", {"rule": "WEBHOOK", "action": "FAILED"})
    await gateway.apply(judged(upstream.address, judge, [side], timeout="0.2s"))
    told = await ask(caller)
    assert_refused(told, Kind.UNAVAILABLE, "GUARDRAIL_UNAVAILABLE")
    assert len(upstream.requests) == (0 if side == "REQUEST" else 1)
    assert await gateway.metric("janua_guardrail_total", {"rule": "WEBHOOK", "action": "FAILED"}) == failed + 1

    await gateway.apply(judged(upstream.address, judge, [side], timeout="0.2s", on_failure="ALLOW"))
    assert_answered(await ask(caller))


async def test_service_that_is_not_there(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(judged(upstream.address, judge, BOTH))
    await judge.stop()
    assert_refused(await ask(caller, streamed=streamed), Kind.UNAVAILABLE, "GUARDRAIL_UNAVAILABLE")


async def test_rules_come_before_it(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    config = judged(upstream.address, judge, BOTH)
    config["policies"][0]["guardrail"]["rules"] = [{"pii": ["EMAIL"], "action": "MASK"}]
    upstream.script = chat("write to bob@example.org")
    await gateway.apply(config)
    assert_answered(await ask(caller, Question(text="I am ann@example.org"), streamed=streamed), "write to [EMAIL]")
    assert [question["texts"] for question in questions(judge)] == [["I am [EMAIL]"], ["write to [EMAIL]"]]


async def test_it_is_reached_through_a_proxy(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller
) -> None:
    async with egress_proxy() as proxy:
        await gateway.apply(judged(upstream.address, judge, ["REQUEST"], egress_proxy=proxy.url))
        assert_answered(await ask(caller))
        assert proxy.asked == [f"POST {judge.url}/judge"]


async def test_kept_answers_are_those_that_were_judged(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    judge.script = judging(shout)
    upstream.script = chat("ann is here")
    config = judged(upstream.address, judge, BOTH)
    config["policies"].append({"name": "kept", "cache": {"ttl": "300s"}})
    config["routes"][0]["policies"].append("kept")
    await gateway.apply(config)
    await gateway.post("/cache/purge")
    for result, asked in (("miss", 2), ("hit", 3)):
        told = await ask(caller, streamed=streamed)
        assert_answered(told, "*** is here")
        assert (told.headers["x-janua-cache"], len(judge.requests)) == (result, asked)


async def test_arguments_of_calls_are_judged(
    gateway: Gateway, upstream: FaultyUpstream, judge: FaultyUpstream, caller: Caller
) -> None:
    judge.script = judging(shout)
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": ""}}
    part = {"index": 0, "function": {"arguments": '{"who":"an'}}
    rest = {"index": 0, "function": {"arguments": 'n"}'}}
    deltas = [{"tool_calls": [each]} for each in (call, part, rest)]
    chunks = [
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]  # fmt: skip
    end = {**chunks[0], "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    upstream.script = stream_of(sse(*chunks, end))
    await gateway.apply(judged(upstream.address, judge, ["RESPONSE"]))
    told = await ask(caller, Question(tools=["find"]), streamed=True)
    assert told.tool_calls == (("find", json.dumps({"who": "***"}, separators=(",", ":"))),)
