"""What is said to models and by them, under guardrails: over HTTP and gRPC alike, whole and streamed."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_broken, assert_refused
from tests.conformance.configuration import one_pool
from tests.conformance.dialect_backends import answering
from tests.conformance.dialect_openai import OpenAIBackend
from tests.conformance.dialect_table import HTTP_CLIENTS
from tests.conformance.dialects import Ask, HttpClient, Node, Told
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import ROLE, STOP, embeddings, open_stream, text_event
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, sse
from tests.support.scripts import Exchange, chat

MASKING = {"rules": [{"pii": ["EMAIL"], "action": "MASK"}], "on": ["REQUEST", "RESPONSE"]}
DENYING = {
    "rules": [{"regex": "(?i)secret project", "action": "DENY", "name": "project"}],
    "on": ["REQUEST", "RESPONSE"],
}


def guarded(address: str, rule: dict[str, Any], user: str = "route", **fields: Any) -> Any:
    """One pool whose route or service names the guardrail."""
    named = {user: {"policies": ["guard"], **fields.pop(user, {})}}
    return one_pool(address, policies=[{"name": "guard", "guardrail": rule}], **named, **fields)


def said(upstream: FaultyUpstream) -> list[Any]:
    return [message["content"] for message in upstream.requests[-1].json()["messages"]]


@pytest.mark.parametrize("user", ["route", "service"])
async def test_what_is_found_in_requests_and_answers_is_masked(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, user: str
) -> None:
    upstream.script = chat("write to bob@example.com now")
    await gateway.apply(guarded(upstream.address, MASKING, user))

    answer = await ask(caller, Question(text="I am ann@example.com"), streamed=streamed)

    assert_answered(answer, "write to [EMAIL] now")
    assert said(upstream) == ["I am [EMAIL]"]


async def test_what_must_not_be_said_is_refused_before_any_backend(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(guarded(upstream.address, DENYING))
    before = await gateway.metric("janua_guardrail_total", {"rule": "project", "action": "DENY"})

    answer = await ask(caller, Question(text="about the Secret Project"), streamed=streamed)

    failure = assert_refused(answer, Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")
    assert failure.message == "the guardrail guard does not let this pass: project"
    assert upstream.requests == []
    assert await gateway.metric("janua_guardrail_total", {"rule": "project", "action": "DENY"}) == before + 1
    assert "Secret Project" not in gateway.process.log


async def test_answer_that_must_not_be_said_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    upstream.script = chat("the secret project is done")
    await gateway.apply(guarded(upstream.address, DENYING))
    assert_refused(await ask(caller), Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")


async def test_stream_that_must_not_go_on_ends_with_an_error(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    upstream.script = chat("nothing to see here, " * 20 + "but the secret project is done")
    await gateway.apply(guarded(upstream.address, DENYING))

    answer = await ask(caller, streamed=True)

    assert_broken(answer, Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")
    assert answer.text.startswith("nothing to see here")
    assert "secret" not in answer.text


async def test_what_streams_cut_in_pieces_is_found_and_the_rest_is_not_held(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    text = "write to bob@example.com or to eve@example.com. " + "That is all. " * 30
    events = sse(ROLE, *(text_event(character) for character in text), STOP)
    seen = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(open_stream(*events[:300]))
        await seen.wait()
        await exchange.send(chunked_response(events[300:]).removeprefix(open_stream()))

    upstream.script = script
    await gateway.apply(guarded(upstream.address, MASKING))

    answer = await ask(caller, streamed=True, on_piece=seen.set)

    assert_answered(answer, text.replace("bob@example.com", "[EMAIL]").replace("eve@example.com", "[EMAIL]"))


@pytest.mark.parametrize("client", HTTP_CLIENTS, ids=lambda client: client.name)
async def test_nothing_else_is_lost_in_any_dialect(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, client: HttpClient, streamed: bool
) -> None:
    told = Told(thinking="let me see", text="ask bob@example.com", finish="stop", usage=(9, 3, 4))
    upstream.script = answering(OpenAIBackend(), told)
    await gateway.apply(guarded(upstream.address, MASKING))

    reply = await client.ask(
        inference_node, Ask(text="I am ann@example.com", system="be@brief.example"), streamed=streamed
    )

    assert (reply.error, reply.is_ended) == (None, True)
    assert reply.told.text == "ask [EMAIL]"
    assert reply.told.thinking == "let me see"
    assert (reply.told.finish, reply.told.usage[0], reply.told.usage[2]) == ("stop", 9, 4)
    assert said(upstream)[-2:] == ["[EMAIL]", "I am [EMAIL]"]


@pytest.mark.parametrize("client", HTTP_CLIENTS, ids=lambda client: client.name)
async def test_refusal_is_an_error_of_the_dialect(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, client: HttpClient, streamed: bool
) -> None:
    await gateway.apply(guarded(upstream.address, DENYING))
    reply = await client.ask(inference_node, Ask(text="the secret project"), streamed=streamed)
    assert (reply.status, reply.kind) == ("400", client.kinds[400])
    assert reply.error == "the guardrail guard does not let this pass: project"


async def test_fields_twice_in_a_body_hide_nothing(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(guarded(upstream.address, MASKING))
    first, second = (json.dumps([{"role": "user", "content": text}]) for text in ("ann@example.com", "hello"))
    body = f'{{"model": "m", "messages": {first}, "messages": {second}}}'
    status, _ = await post(gateway, "/v1/chat/completions", body)
    assert status == 200
    assert upstream.requests[-1].body.count(b"messages") == 1
    assert b"ann@" not in upstream.requests[-1].body


async def test_size_of_requests_is_bounded(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    rules = [{"max_input_bytes": 10, "action": "DENY"}, {"max_messages": 1, "action": "REPORT"}]
    await gateway.apply(guarded(upstream.address, {"rules": rules}))
    assert_answered(await ask(caller, Question(text="0123456789")))
    failure = assert_refused(await ask(caller, Question(text="ä" * 6)), Kind.INVALID_REQUEST, "GUARDRAIL_DENIED")
    assert failure.message.endswith(": MAX_INPUT_BYTES")


async def test_texts_for_vectors_are_masked(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    upstream.script = embeddings([[0.5], [0.25]])
    await gateway.apply(guarded(upstream.address, MASKING))
    await caller.embed("m", ["ann@example.com", "hello"])
    assert upstream.requests[-1].json()["input"] == ["[EMAIL]", "hello"]


@pytest.mark.parametrize("on", [["REQUEST"], ["RESPONSE"]])
async def test_what_cannot_be_looked_into_does_not_pass(
    gateway: Gateway, upstream: FaultyUpstream, on: list[str]
) -> None:
    rule = {**MASKING, "on": on}
    await gateway.apply(guarded(upstream.address, rule, route={"match": {"path": {"prefix": "/"}}}))
    status, text = await post(gateway, "/files", "ann@example.com")
    assert status == 400
    assert "GUARDRAIL_UNSUPPORTED" in text
    assert upstream.requests == []


async def test_usage_that_only_the_node_asked_for_stays_hidden(gateway: Gateway, upstream: FaultyUpstream) -> None:
    upstream.script = chat("ask bob@example.com")
    await gateway.apply(guarded(upstream.address, MASKING))
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    _, text = await post(gateway, "/v1/chat/completions", json.dumps(body))
    assert "[EMAIL]" in text
    assert "usage" not in text
    assert upstream.requests[-1].json()["stream_options"] == {"include_usage": True}


async def post(gateway: Gateway, path: str, body: str) -> tuple[int, str]:
    """What the data plane answers to a body."""
    url = f"http://{gateway.addresses.http}{path}"
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return response.status, await response.text()


async def test_fields_of_messages_that_are_not_known_are_searched_and_go_on(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    await gateway.apply(guarded(upstream.address, MASKING))
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "hi", "from": {"mail": "ann@example.com", "rank": 1}},
        {"role": "assistant", "content": None, "prefix": True, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c", "content": "done", "took_ms": 3},
    ]  # fmt: skip
    url = f"http://{gateway.addresses.http}/v1/chat/completions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"model": "m", "messages": messages}) as response,
    ):
        assert response.status == 200
    sent = upstream.requests[0].json()["messages"]
    assert sent == [{**messages[0], "from": {"mail": "[EMAIL]", "rank": 1}}, *messages[1:]]
