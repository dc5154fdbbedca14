"""What a node answers when all is well is the same over HTTP and over gRPC."""

import json
from typing import Any

import aiohttp
import pytest

from tests.conformance.calls import Caller, Question, ask, assert_answered
from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import MODEL, ROLE, STOP, as_asked, embeddings, text_event
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, sse
from tests.support.scripts import answer, chat, chat_completion, cut


async def test_plain_answer(gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = chat("the quick brown fox")

    got = await ask(caller, Question(model="m", text="what?"), streamed=streamed)

    assert_answered(got, "the quick brown fox")
    assert got.models == {"m"}
    assert got.usage == (1, 4)
    (request,) = upstream.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.json()["messages"] == [{"role": "user", "content": "what?"}]
    assert request.json().get("stream", False) is streamed


def _answer_with(message: dict[str, Any], **choice: Any) -> dict[str, Any]:
    """A whole answer whose one choice is this."""
    choices = [{"index": 0, "message": {"role": "assistant", **message}, **choice}]
    return {**chat_completion("", model=MODEL), "choices": choices}


def _chunk(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {**ROLE, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def _tool_call(**function: str) -> dict[str, Any]:
    return {"index": 0, "id": "call-1", "type": "function", "function": function}


async def test_tool_calls_pass_both_ways(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    arguments = '{"city": "Łódź"}'
    call = _tool_call(name="weather", arguments=arguments)
    pieces = [
        _tool_call(name="weather", arguments=""),
        _tool_call(arguments='{"city": '),
        _tool_call(arguments='"Łódź"}'),
    ]
    upstream.script = as_asked(
        _answer_with({"content": None, "tool_calls": [call]}, finish_reason="tool_calls"),
        [ROLE, *(_chunk({"tool_calls": [piece]}) for piece in pieces), _chunk({}, finish_reason="tool_calls")],
    )

    got = await ask(caller, Question(tools=["weather", "time"]), streamed=streamed)

    assert got.tool_calls == (("weather", arguments),)
    assert (got.text, got.finish_reason) == ("", "tool_calls")
    (request,) = upstream.requests
    assert [tool["function"]["name"] for tool in request.json()["tools"]] == ["weather", "time"]


async def test_logprobs_pass_both_ways(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    """Field failure: logprobs dropped."""
    await gateway.apply(one_pool(upstream.address))
    logprobs = {"content": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}]}
    upstream.script = as_asked(
        _answer_with({"content": "Hi"}, finish_reason="stop", logprobs=logprobs),
        [ROLE, _chunk({"content": "Hi"}, logprobs=logprobs), STOP],
    )

    got = await ask(caller, Question(top_logprobs=2), streamed=streamed)

    assert_answered(got, "Hi")
    assert got.logprobs == (("Hi", -0.25),)
    (request,) = upstream.requests
    assert (request.json()["logprobs"], request.json()["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_finish_reason_is_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, reason: str
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = as_asked(
        _answer_with({"content": "Hi"}, finish_reason=reason),
        [ROLE, _chunk({"content": "Hi"}), _chunk({}, finish_reason=reason)],
    )
    assert (await ask(caller, streamed=streamed)).finish_reason == reason


async def test_embeddings(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = embeddings([[0.5, -1.0], [0.25, 2.0]])

    got = await caller.embed("m", ["one", "two"])

    assert (got.model, got.vectors) == ("m", [[0.5, -1.0], [0.25, 2.0]])
    assert got.usage == (5, 0)
    assert got.headers["x-janua-service"] == "llm"
    (request,) = upstream.requests
    assert request.target == "/v1/embeddings"
    assert request.json()["input"] == ["one", "two"]


async def test_model_list_has_exact_and_advertised_names_but_no_patterns(gateway: Gateway, caller: Caller) -> None:
    match = {"models": ["small", "gpt-*"]}
    await gateway.apply(one_pool("127.0.0.1:9", route={"match": match, "advertised_models": ["gpt-large"]}))
    assert (await caller.models()).ids == ["gpt-large", "small"]


async def test_client_sees_its_own_name_of_a_renamed_model(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    models = [{"name": "nice", "upstream_name": "vendor/ugly-v1.gguf"}]
    await gateway.apply(one_pool(upstream.address, service={"models": models}))

    got = await ask(caller, Question(model="nice"), streamed=streamed)

    assert_answered(got)
    assert got.models == {"nice"}
    assert [request.json()["model"] for request in upstream.requests] == ["vendor/ugly-v1.gguf"]


async def test_client_sees_its_own_name_of_an_overridden_model(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    backends = [{"service": "llm", "model_override": "next"}]
    await gateway.apply(one_pool(upstream.address, route={"backends": backends}))

    got = await ask(caller, Question(model="assistant"), streamed=streamed)

    assert_answered(got)
    assert got.models == {"assistant"}
    assert [request.json()["model"] for request in upstream.requests] == ["next"]


async def test_embeddings_of_a_renamed_model(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    models = [{"name": "nice", "upstream_name": "ugly"}]
    await gateway.apply(one_pool(upstream.address, service={"models": models}))
    upstream.script = embeddings([[1.0]])
    assert (await caller.embed("nice", ["one"])).model == "nice"
    assert upstream.requests[0].json()["model"] == "ugly"


@pytest.mark.parametrize("framing", ["chunks", "end of the connection"])
async def test_answer_without_a_length(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, framing: str
) -> None:
    await gateway.apply(one_pool(upstream.address))
    whole = json.dumps(chat_completion("hello there", model="m")).encode()
    pieces = sse(ROLE, text_event("hello"), text_event(" there"), STOP) if streamed else [whole[:50], whole[50:]]
    content_type = "text/event-stream; charset=utf-8" if streamed else "application/json"
    chunked = chunked_response(pieces, content_type=content_type)
    until_closed = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n".encode() + b"".join(pieces)
    data = chunked if framing == "chunks" else until_closed
    upstream.script = answer(data) if framing == "chunks" else cut(data, len(data))
    assert_answered(await ask(caller, streamed=streamed))


async def test_answer_that_was_to_be_streamed_but_comes_whole(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller, session: aiohttp.ClientSession
) -> None:
    """Some servers do not stream everything. Over HTTP the client gets what the backend gave."""
    await gateway.apply(one_pool(upstream.address))
    upstream.script = answer(json_response(200, chat_completion("hello there", model="m")))
    assert_answered(await ask(grpc_caller, streamed=True))
    body = {"model": "m", "stream": True}
    async with session.post(f"http://{gateway.addresses.http}/v1/chat/completions", json=body) as got:
        assert (got.status, got.content_type) == (200, "application/json")
        assert await got.json() == chat_completion("hello there", model="m")
