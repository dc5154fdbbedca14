"""The official OpenAI client's other APIs, responses and completions, where the backend has neither."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.dialect_anthropic import AnthropicBackend
from tests.conformance.dialect_backends import answering, configuration
from tests.conformance.dialects import Told
from tests.conformance.gateway import Gateway
from tests.conformance.obliging_model import FILLED_IN, Report, oblige
from tests.conformance.upstream_scripts import ERROR, FIRST_EVENTS, HELLO, MODEL, ROLE, open_stream, stream_of
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, sse
from tests.support.scripts import answer, cut, fail

KEY = "sk-alice"
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": None}]


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client with a key, of a node that serves `m`."""
    route = {"match": {"models": ["m"]}}
    service = {"models": [{"name": "m", "upstream_name": MODEL}], "retry_policy": {"num_retries": 0}}
    await gateway.apply(with_keys(one_pool(upstream.address, route=route, service=service), api_key(KEY)))
    url = f"http://{gateway.addresses.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


async def test_answer(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    got = await client.responses.create(model="m", instructions="Be short.", input="hello", store=False)
    assert (got.model, got.output_text, got.status) == ("m", "hello there", "completed")
    assert got.usage is not None
    assert (got.usage.input_tokens, got.usage.output_tokens) == (1, 2)
    assert upstream.requests[0].target == "/v1/chat/completions"
    system, user = upstream.requests[0].json()["messages"]
    assert (system["content"], user["content"]) == ("Be short.", "hello")


async def test_stream(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(model="m", input="hello") as stream:
        texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        got = await stream.get_final_response()
    assert "".join(texts) == "hello there"
    assert (got.model, got.output_text, got.status) == ("m", "hello there", "completed")


async def test_tool_call_over_a_stream(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    def calls(**function: str) -> dict[str, Any]:
        call = {"index": 0, "id": "call-1", "type": "function", "function": function}
        return {**ROLE, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}

    end = {**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    upstream.script = stream_of(sse(ROLE, calls(name="weather", arguments=""), calls(arguments='{"city": 1}'), end))
    async with client.responses.stream(model="m", input="hello", tools=TOOLS) as stream:
        got = await stream.get_final_response()
    (call,) = got.output
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call-1", "weather", '{"city": 1}')


async def test_structured_output_parsed_by_the_client(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = oblige
    parsed = await client.responses.parse(model="m", input="hello", text_format=Report)
    assert parsed.output_parsed == FILLED_IN
    async with client.responses.stream(model="m", input="hello", text_format=Report) as stream:
        assert (await stream.get_final_response()).output_parsed == FILLED_IN
    for request in upstream.requests:
        assert request.json()["response_format"]["json_schema"]["schema"]["required"] == ["city", "degrees"]


async def test_result_of_a_tool_goes_back_to_its_call(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    items: Any = [
        {"role": "user", "content": "hello"},
        {"type": "function_call", "call_id": "call-1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call-1", "output": "12 °C"},
    ]
    await client.responses.create(model="m", input=items, tools=TOOLS)
    _, called, told = upstream.requests[0].json()["messages"]
    assert called["tool_calls"][0]["id"] == told["tool_call_id"] == "call-1"
    assert told["content"] == "12 °C"


RESPONSE: Mapping[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": MODEL,
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello there", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
}


@pytest.mark.parametrize("provider", ["perplexity", "xai"])
async def test_provider_that_has_responses_gets_them_as_they_are(
    client: openai.AsyncOpenAI, gateway: Gateway, upstream: FaultyUpstream, provider: str
) -> None:
    """What only a provider of responses can do, such as going on from an earlier one, is not lost on the way."""
    proxy = {"provider": provider, "base_url": upstream.url}
    service = {"name": "llm", "proxy_service": proxy, "models": [{"name": "m", "upstream_name": MODEL}]}
    await gateway.apply(with_keys({**one_pool(upstream.address), "services": [service]}, api_key(KEY)))
    upstream.script = answer(json_response(200, RESPONSE))
    got = await client.responses.create(model="m", input="hello", previous_response_id="resp_0")
    assert (got.model, got.output_text) == ("m", "hello there")
    (request,) = upstream.requests
    assert request.target == "/v1/responses"
    assert request.json() == {"model": MODEL, "input": "hello", "previous_response_id": "resp_0"}


async def test_chat_before_a_provider_that_has_responses_alone(
    client: openai.AsyncOpenAI, gateway: Gateway, upstream: FaultyUpstream
) -> None:
    service = {"name": "llm", "proxy_service": {"provider": "perplexity", "base_url": upstream.url}}
    await gateway.apply(with_keys({**one_pool(upstream.address), "services": [service]}, api_key(KEY)))
    upstream.script = answer(json_response(200, RESPONSE))
    messages: Any = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]
    got = await client.chat.completions.create(model="m", messages=messages, prompt_cache_key="k", verbosity="low")
    assert got.choices[0].message.content == "hello there"
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (1, 2)
    (request,) = upstream.requests
    body = request.json()
    assert (request.target, body["instructions"]) == ("/v1/responses", "Be short.")
    assert (body["prompt_cache_key"], body["text"]) == ("k", {"verbosity": "low"})


async def test_completions_of_old(
    client: openai.AsyncOpenAI, gateway: Gateway, upstream: FaultyUpstream, tmp_path: Path
) -> None:
    backend, key = AnthropicBackend(), tmp_path / "key"
    key.write_bytes(b"sk-of-the-provider")
    await gateway.apply(configuration(backend, upstream.address, key))
    upstream.script = answering(backend, Told(text="hello there"))
    got = await client.completions.create(model="m", prompt="hello", max_tokens=9)
    assert (got.model, got.choices[0].text, got.choices[0].finish_reason) == ("m", "hello there", "stop")
    stream = await client.completions.create(model="m", prompt="hello", max_tokens=9, stream=True)
    pieces = [piece async for piece in stream]
    assert "".join(choice.text for piece in pieces for choice in piece.choices) == "hello there"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_error_of_the_backend(
    client: openai.AsyncOpenAI,
    upstream: FaultyUpstream,
    status: int,
    kind: type[openai.APIStatusError],
    is_stream: bool,
) -> None:
    upstream.script = fail(status, "the model says no")
    with pytest.raises(kind, match="the model says no"):
        await client.responses.create(model="m", input="hello", stream=is_stream)


@pytest.mark.parametrize("is_error_event", [False, True], ids=["cut", "error event"])
async def test_stream_that_breaks_is_an_error_to_the_client(
    client: openai.AsyncOpenAI, upstream: FaultyUpstream, is_error_event: bool
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stream_of(sse(ROLE, HELLO, ERROR)) if is_error_event else cut(begun, len(begun))
    kinds: list[str] = []

    async def read() -> None:
        async for event in await client.responses.create(model="m", input="hello", stream=True):
            kinds.append(event.type)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(openai.APIError, match="crashed" if is_error_event else "cut off"):
        await read()
    assert "response.output_text.delta" in kinds
    assert "response.completed" not in kinds
