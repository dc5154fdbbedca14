"""Google's official Gen AI client for Python, unchanged, against a node whose backend speaks OpenAI's API."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import errors, types

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import (
    ERROR,
    FIRST_EVENTS,
    HELLO,
    MODEL,
    ROLE,
    embeddings,
    open_stream,
    stream_of,
)
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, sse
from tests.support.scripts import answer, cut, fail

# The client subclasses what aiohttp would rather not have subclassed.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

KEY = "sk-alice"
WEATHER = types.FunctionDeclaration(
    name="weather",
    description="Tells it.",
    parameters=types.Schema(
        type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]
    ),
)
TOOLS: Any = [types.Tool(function_declarations=[WEATHER])]


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[genai.client.AsyncClient]:
    """A client with a key, of a node that serves `m` from a backend that speaks OpenAI's API.

    What that has no place for is left out: of a Python function the client tells what it returns, too.
    """
    route = {"match": {"models": ["m"]}}
    service = {
        "models": [{"name": "m", "upstream_name": MODEL}],
        "retry_policy": {"num_retries": 0},
        "unsupported_fields": "DROP",
    }
    await gateway.apply(with_keys(one_pool(upstream.address, route=route, service=service), api_key(KEY)))
    async with client_of(gateway, KEY) as client:
        yield client


def client_of(gateway: Gateway, key: str) -> genai.client.AsyncClient:
    url = f"http://{gateway.addresses.http}"
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, timeout=20_000)).aio


def calls(**function: str) -> dict[str, Any]:
    call = {"index": 0, "id": "call-1", "type": "function", "function": function}
    return {**ROLE, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}


def completion(message: dict[str, Any], finish_reason: str = "stop", **usage: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish_reason}
    counts = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, **usage}
    envelope = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL}
    return json_response(200, {**envelope, "choices": [choice], "usage": counts})


async def test_answer(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be short.", temperature=0.5, max_output_tokens=10, stop_sequences=["END"]
    )
    got = await client.models.generate_content(model="m", contents="hello", config=config)
    assert (got.text, got.model_version) == ("hello there", "m")
    assert got.candidates is not None
    assert got.candidates[0].finish_reason is types.FinishReason.STOP
    assert got.usage_metadata is not None
    assert (got.usage_metadata.prompt_token_count, got.usage_metadata.candidates_token_count) == (1, 2)
    assert upstream.requests[0].target == "/v1/chat/completions"
    sent = upstream.requests[0].json()
    assert sent["model"] == MODEL
    assert sent["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]
    assert (sent["temperature"], sent["stop"]) == (0.5, ["END"])


async def test_nothing_of_the_caller_reaches_a_backend_of_another_dialect(
    client: genai.client.AsyncClient, upstream: FaultyUpstream
) -> None:
    await client.models.generate_content(model="m", contents="hello")
    for name in ("x-goog-api-key", "x-goog-api-client", "authorization"):
        assert upstream.requests[0].header(name) is None
    assert KEY not in str(upstream.requests[0])


async def test_stream(client: genai.client.AsyncClient) -> None:
    pieces = [piece async for piece in await client.models.generate_content_stream(model="m", contents="hello")]
    assert "".join(piece.text or "" for piece in pieces) == "hello there"
    assert {piece.model_version for piece in pieces} == {"m"}
    reasons = [candidate.finish_reason for piece in pieces for candidate in piece.candidates or ()]
    assert [reason for reason in reasons if reason] == [types.FinishReason.STOP]
    usage = [piece.usage_metadata for piece in pieces if piece.usage_metadata]
    assert [each.prompt_token_count for each in usage] == [1]


async def test_chat_of_several_turns(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    chat = client.chats.create(model="m")
    await chat.send_message("hello")
    async for _ in await chat.send_message_stream("and now?"):
        pass
    assert upstream.requests[1].json()["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hello there"},
        {"role": "user", "content": "and now?"},
    ]


async def test_function_call_and_its_result(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    call = {"id": "call-1", "type": "function", "function": function}
    upstream.next.append(answer(completion({"tool_calls": [call]}, "tool_calls")))
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    got = await client.models.generate_content(model="m", contents="hello", config=config)
    assert got.function_calls is not None
    (asked,) = got.function_calls
    assert (asked.name, asked.args) == ("weather", {"city": "Oslo"})

    assert got.candidates is not None
    told = types.Part.from_function_response(name="weather", response={"output": "12 °C"})
    contents: Any = [
        types.Content(role="user", parts=[types.Part(text="hello")]),
        got.candidates[0].content,
        types.Content(role="user", parts=[told]),
    ]
    assert (await client.models.generate_content(model="m", contents=contents, config=config)).text == "hello there"

    first, second = (request.json() for request in upstream.requests)
    assert first["tools"][0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    _, called, result = second["messages"]
    assert called["tool_calls"][0]["function"]["name"] == "weather"
    assert (result["tool_call_id"], result["content"]) == (called["tool_calls"][0]["id"], "12 °C")


async def test_function_call_over_a_stream(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    end = {**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    begin = calls(name="weather", arguments="")
    upstream.script = stream_of(sse(ROLE, begin, calls(arguments='{"city": '), calls(arguments='"Oslo"}'), end))
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    stream = await client.models.generate_content_stream(model="m", contents="hello", config=config)
    (call,) = [call async for piece in stream for call in piece.function_calls or ()]
    assert (call.name, call.args) == ("weather", {"city": "Oslo"})


async def test_function_that_the_client_calls_by_itself(
    client: genai.client.AsyncClient, upstream: FaultyUpstream
) -> None:
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    call = {"id": "call-1", "type": "function", "function": function}
    upstream.next.append(answer(completion({"tool_calls": [call]}, "tool_calls")))

    async def weather(city: str) -> str:
        """Tells the weather of a city."""
        return f"12 °C in {city}"

    config = types.GenerateContentConfig(tools=[weather])
    got = await client.models.generate_content(model="m", contents="hello", config=config)
    assert got.text == "hello there"
    assert upstream.requests[1].json()["messages"][-1]["content"] == "12 °C in Oslo"


async def test_schema_of_the_answer(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    upstream.script = answer(completion({"content": '{"city": "Oslo"}'}))
    schema = types.Schema(type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)})
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
    got = await client.models.generate_content(model="m", contents="hello", config=config)
    assert got.parsed == {"city": "Oslo"}
    wanted = upstream.requests[0].json()["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["schema"]["properties"] == {"city": {"type": "string"}}


async def test_embeddings(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    upstream.script = embeddings([[0.5, -1.0], [1.0, 2.0]])
    got = await client.models.embed_content(model="m", contents=["one", "two"])
    assert [each.values for each in got.embeddings or ()] == [[0.5, -1.0], [1.0, 2.0]]
    (request,) = upstream.requests
    assert (request.target, request.json()["input"]) == ("/v1/embeddings", ["one", "two"])


async def test_cached_and_thinking_tokens(client: genai.client.AsyncClient, upstream: FaultyUpstream) -> None:
    usage = {
        "prompt_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 80},
        "completion_tokens": 30,
        "completion_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 130,
    }
    upstream.script = answer(completion({"content": "hi"}, "length", **usage))
    got = await client.models.generate_content(model="m", contents="hello")
    assert got.candidates is not None
    assert got.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    counts = got.usage_metadata
    assert counts is not None
    assert (counts.prompt_token_count, counts.cached_content_token_count) == (100, 80)
    assert (counts.candidates_token_count, counts.thoughts_token_count) == (10, 20)
    assert counts.total_token_count == 130


async def test_wrong_key(gateway: Gateway, client: genai.client.AsyncClient) -> None:
    async with client_of(gateway, "sk-wrong") as stranger:
        with pytest.raises(errors.ClientError) as error:
            await stranger.models.generate_content(model="m", contents="hello")
    assert (error.value.code, error.value.status) == (401, "UNAUTHENTICATED")


async def test_unknown_model(client: genai.client.AsyncClient) -> None:
    with pytest.raises(errors.ClientError) as error:
        await client.models.generate_content(model="other", contents="hello")
    assert (error.value.code, error.value.status) == (404, "NOT_FOUND")


async def test_bad_request(client: genai.client.AsyncClient) -> None:
    contents: Any = [types.Content(role="wizard", parts=[types.Part(text="x")])]
    with pytest.raises(errors.ClientError, match="wizard") as error:
        await client.models.generate_content(model="m", contents=contents)
    assert (error.value.code, error.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("status", "shown", "name"),
    [
        (400, 400, "INVALID_ARGUMENT"),
        (401, 502, "UNAVAILABLE"),
        (404, 404, "NOT_FOUND"),
        (429, 429, "RESOURCE_EXHAUSTED"),
        (500, 502, "UNAVAILABLE"),
        (503, 503, "UNAVAILABLE"),
        (504, 504, "DEADLINE_EXCEEDED"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_error_of_the_backend(
    client: genai.client.AsyncClient, upstream: FaultyUpstream, status: int, shown: int, name: str, is_stream: bool
) -> None:
    upstream.script = fail(status, "the model says no", headers=[("retry-after", "3")])

    async def ask() -> None:
        if is_stream:
            async for _ in await client.models.generate_content_stream(model="m", contents="hello"):
                pass
        else:
            await client.models.generate_content(model="m", contents="hello")

    with pytest.raises(errors.APIError) as error:
        await ask()
    assert (error.value.code, error.value.status) == (shown, name)
    if status != 401:
        assert "the model says no" in str(error.value.message)


@pytest.mark.parametrize("is_error_event", [False, True], ids=["cut", "error event"])
async def test_stream_that_breaks_is_an_error_to_the_client(
    client: genai.client.AsyncClient, upstream: FaultyUpstream, is_error_event: bool
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stream_of(sse(ROLE, HELLO, ERROR)) if is_error_event else cut(begun, len(begun))
    texts: list[str] = []

    async def read() -> None:
        async for piece in await client.models.generate_content_stream(model="m", contents="hello"):
            texts.append(piece.text or "")  # noqa: PERF401  # what came before the error counts

    with pytest.raises(errors.APIError, match="crashed" if is_error_event else "cut off"):
        await read()
    assert "".join(texts) == "hello"


async def test_key_in_the_query_stays_at_the_node(
    gateway: Gateway, client: genai.client.AsyncClient, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    url = f"http://{gateway.addresses.http}/v1beta/models/m:generateContent"
    body = {"contents": [{"parts": [{"text": "hello"}]}]}
    async with session.post(url, params={"key": KEY}, json=body) as response:
        assert response.status == 200
    assert KEY not in str(upstream.requests[0])
    async with session.post(url, params={"key": "sk-wrong"}, json=body) as response:
        assert response.status == 401
    assert KEY not in gateway.process.written
