"""The official Anthropic client for Python, unchanged, against a node whose backend speaks OpenAI's API."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.obliging_model import FILLED_IN, Report, oblige
from tests.conformance.upstream_scripts import ERROR, FIRST_EVENTS, HELLO, MODEL, ROLE, open_stream, stream_of
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, sse
from tests.support.scripts import answer, cut, fail, stall

KEY = "sk-alice"
MESSAGES: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [{"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}]


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """A client with a key, of a node that serves `m` from a backend that speaks OpenAI's API."""
    route = {"match": {"models": ["m"]}}
    service = {"models": [{"name": "m", "upstream_name": MODEL}], "retry_policy": {"num_retries": 0}}
    await gateway.apply(with_keys(one_pool(upstream.address, route=route, service=service), api_key(KEY)))
    url = f"http://{gateway.addresses.http}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def calls(**function: str) -> dict[str, Any]:
    call = {"index": 0, "id": "call-1", "type": "function", "function": function}
    return {**ROLE, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}


TOOL_CALL = sse(
    ROLE,
    HELLO,
    calls(name="weather", arguments=""),
    calls(arguments='{"city": '),
    calls(arguments='"Oslo"}'),
    {**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {**ROLE, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}},
)


async def test_answer(client: anthropic.AsyncAnthropic, upstream: FaultyUpstream) -> None:
    message = await client.messages.create(
        model="m",
        max_tokens=100,
        system="Be short.",
        messages=MESSAGES,
        stop_sequences=["END"],
        extra_body={"temperature": 0},
    )
    assert (message.type, message.role, message.model) == ("message", "assistant", "m")
    (block,) = message.content
    assert (block.type, getattr(block, "text", None)) == ("text", "hello there")
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 2)
    assert upstream.requests[0].target == "/v1/chat/completions"
    sent = upstream.requests[0].json()
    assert sent["model"] == MODEL
    assert sent["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]
    assert (sent["stop"], sent["temperature"]) == (["END"], 0)


async def test_nothing_of_the_caller_reaches_a_backend_of_another_dialect(
    client: anthropic.AsyncAnthropic, upstream: FaultyUpstream
) -> None:
    headers = {"anthropic-beta": "files-api-2025-04-14"}
    await client.messages.create(model="m", max_tokens=9, messages=MESSAGES, extra_headers=headers)
    for name in ("x-api-key", "authorization", "anthropic-version", "anthropic-beta", "x-stainless-lang"):
        assert upstream.requests[0].header(name) is None
    assert KEY not in str(upstream.requests[0])


async def test_answer_with_its_headers(client: anthropic.AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(model="m", max_tokens=9, messages=MESSAGES)
    assert raw.headers["x-janua-service"] == "llm"
    assert raw.headers["x-request-id"]


async def test_stream_of_text(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(model="m", max_tokens=100, messages=MESSAGES) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert texts == ["hello", " there"]
    assert message.model == "m"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 2)


async def test_stream_of_a_tool_call(client: anthropic.AsyncAnthropic, upstream: FaultyUpstream) -> None:
    upstream.script = stream_of(TOOL_CALL)
    async with client.messages.stream(model="m", max_tokens=100, messages=MESSAGES, tools=TOOLS) as stream:
        pieces = [event.partial_json async for event in stream if event.type == "input_json"]
        message = await stream.get_final_message()
    assert "".join(pieces) == '{"city": "Oslo"}'
    assert len([piece for piece in pieces if piece]) == 2, "arguments are passed on as they come"
    text, call = message.content
    assert (text.type, call.type) == ("text", "tool_use")
    assert (getattr(call, "id", None), getattr(call, "name", None)) == ("call-1", "weather")
    assert getattr(call, "input", None) == {"city": "Oslo"}
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 4)
    assert upstream.requests[0].json()["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}},
        }
    ]


async def test_result_of_a_tool_goes_back_to_its_call(
    client: anthropic.AsyncAnthropic, upstream: FaultyUpstream
) -> None:
    use = {"type": "tool_use", "id": "call-1", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "call-1", "content": "12 °C"}
    turns: Any = [*MESSAGES, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    await client.messages.create(model="m", max_tokens=100, messages=turns, tools=TOOLS)
    _, called, told = upstream.requests[0].json()["messages"]
    (call,) = called["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("call-1", "weather")
    assert told == {"role": "tool", "tool_call_id": "call-1", "content": "12 °C"}


async def test_structured_output_parsed_by_the_client(
    client: anthropic.AsyncAnthropic, upstream: FaultyUpstream
) -> None:
    upstream.script = oblige
    message = await client.messages.parse(model="m", max_tokens=100, messages=MESSAGES, output_format=Report)
    assert message.parsed_output == FILLED_IN
    wanted = upstream.requests[0].json()["response_format"]
    assert (wanted["type"], wanted["json_schema"]["schema"]["required"]) == ("json_schema", ["city", "degrees"])


async def test_thoughts(client: anthropic.AsyncAnthropic, upstream: FaultyUpstream) -> None:
    """Of a backend that writes them beside its answer and does not sign them, whole and streamed."""

    def event(finish: str | None = None, **delta: str) -> dict[str, Any]:
        return {**ROLE, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    choice = {
        "index": 0,
        "message": {"role": "assistant", "reasoning_content": "They greet me.", "content": "hello there"},
        "finish_reason": "stop",
    }
    envelope = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    upstream.script = answer(json_response(200, {**envelope, "choices": [choice], "usage": usage}))
    whole = await client.messages.create(model="m", max_tokens=2048, messages=MESSAGES, thinking=thinking)
    events = [event(reasoning_content="They "), event(reasoning_content="greet me."), event(content="hello there")]
    upstream.script = stream_of(sse(ROLE, *events, event("stop")))
    async with client.messages.stream(model="m", max_tokens=2048, messages=MESSAGES, thinking=thinking) as stream:
        thoughts = [event.thinking async for event in stream if event.type == "thinking"]
        streamed = await stream.get_final_message()
    assert "".join(thoughts) == "They greet me."
    for message in (whole, streamed):
        thought, text = message.content
        assert (thought.type, getattr(thought, "thinking", None)) == ("thinking", "They greet me.")
        assert (text.type, getattr(text, "text", None)) == ("text", "hello there")
    assert [request.json()["reasoning_effort"] for request in upstream.requests] == ["low", "low"]


async def test_cached_tokens_are_told_apart(client: anthropic.AsyncAnthropic, upstream: FaultyUpstream) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 105,
        "prompt_tokens_details": {"cached_tokens": 80},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "length"}
    completion = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
    upstream.script = answer(json_response(200, {**completion, "usage": usage}))
    message = await client.messages.create(model="m", max_tokens=100, messages=MESSAGES)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (20, 80)
    assert message.stop_reason == "max_tokens"


async def test_wrong_key(client: anthropic.AsyncAnthropic) -> None:
    stranger = client.with_options(api_key="sk-wrong")
    with pytest.raises(anthropic.AuthenticationError) as error:
        await stranger.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    assert error.value.type == "authentication_error"


async def test_key_as_a_bearer_token(gateway: Gateway, client: anthropic.AsyncAnthropic) -> None:
    url = f"http://{gateway.addresses.http}"
    async with anthropic.AsyncAnthropic(base_url=url, auth_token=KEY, max_retries=0, timeout=20) as other:
        message = await other.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    assert message.stop_reason == "end_turn"


async def test_unknown_model(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as error:
        await client.messages.create(model="other", max_tokens=9, messages=MESSAGES)
    assert error.value.type == "not_found_error"


async def test_bad_request(client: anthropic.AsyncAnthropic) -> None:
    messages: Any = [{"role": "wizard", "content": "x"}]
    with pytest.raises(anthropic.BadRequestError) as error:
        await client.messages.create(model="m", max_tokens=9, messages=messages)
    assert error.value.type == "invalid_request_error"
    assert "wizard" in error.value.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.InternalServerError),
        (404, anthropic.NotFoundError),
        (422, anthropic.BadRequestError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (503, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_error_of_the_backend(
    client: anthropic.AsyncAnthropic,
    upstream: FaultyUpstream,
    status: int,
    kind: type[anthropic.APIStatusError],
    is_stream: bool,
) -> None:
    upstream.script = fail(status, "the model says no", headers=[("retry-after", "3")])
    with pytest.raises(kind) as error:
        await client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=is_stream)
    if status == 429:
        assert error.value.response.headers["retry-after"] == "3"
    if status != 401:
        assert "the model says no" in error.value.message


@pytest.mark.parametrize("is_error_event", [False, True], ids=["cut", "error event"])
async def test_stream_that_breaks_is_an_error_to_the_client(
    client: anthropic.AsyncAnthropic, upstream: FaultyUpstream, is_error_event: bool
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stream_of(sse(ROLE, HELLO, ERROR)) if is_error_event else cut(begun, len(begun))
    texts: list[str] = []

    async def read() -> None:
        async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
            async for text in stream.text_stream:
                texts.append(text)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(anthropic.APIStatusError, match="crashed" if is_error_event else "cut off"):
        await read()
    assert "".join(texts) == "hello"


async def test_stream_that_is_closed_early_frees_the_backend(
    client: anthropic.AsyncAnthropic, upstream: FaultyUpstream
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stall(begun, len(begun))
    async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
        assert await anext(aiter(stream.text_stream)) == "hello"
    async with asyncio.timeout(2):
        await upstream.wait_for_disconnects(1)
