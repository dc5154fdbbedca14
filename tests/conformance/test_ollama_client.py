"""The official Ollama client for Python, unchanged, against a node whose backend speaks OpenAI's API."""

from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest

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
from tests.support.http_wire import sse
from tests.support.scripts import cut, fail

KEY = "sk-alice"
MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[ollama.AsyncClient]:
    """A client with a key, of a node that serves `m` from a backend that speaks OpenAI's API."""
    route = {"match": {"models": ["m"]}}
    service = {"models": [{"name": "m", "upstream_name": MODEL}], "retry_policy": {"num_retries": 0}}
    await gateway.apply(with_keys(one_pool(upstream.address, route=route, service=service), api_key(KEY)))
    async with client_of(gateway, KEY) as client:
        yield client


def client_of(gateway: Gateway, key: str) -> ollama.AsyncClient:
    headers = {"authorization": f"Bearer {key}"}
    return ollama.AsyncClient(host=f"http://{gateway.addresses.http}", headers=headers, timeout=20)


def calls(**function: str) -> dict[str, Any]:
    call = {"index": 0, "id": "call-1", "type": "function", "function": function}
    return {**ROLE, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}


async def test_answer(client: ollama.AsyncClient, upstream: FaultyUpstream) -> None:
    options: Any = {"temperature": 0.5, "num_predict": 10, "stop": ["END"]}
    answer = await client.chat("m", MESSAGES, options=options)
    assert (answer.model, answer.message.content) == ("m", "hello there")
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (1, 2)
    sent = upstream.requests[0].json()
    assert (sent["model"], sent["messages"]) == (MODEL, MESSAGES)
    assert (sent["temperature"], sent["stop"]) == (0.5, ["END"])
    assert not sent.get("stream")


async def test_stream(client: ollama.AsyncClient) -> None:
    lines = [line async for line in await client.chat("m", MESSAGES, stream=True)]
    assert "".join(line.message.content or "" for line in lines) == "hello there"
    assert {line.model for line in lines} == {"m"}
    assert [line.done for line in lines].count(True) == 1
    assert lines[-1].done
    assert (lines[-1].prompt_eval_count, lines[-1].eval_count) == (1, 2)


async def test_thoughts_and_pictures(client: ollama.AsyncClient, upstream: FaultyUpstream) -> None:
    def event(**delta: str) -> dict[str, Any]:
        return {**ROLE, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    end = {**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [event(reasoning_content="They "), event(reasoning_content="greet me."), event(content="hello there"), end]
    upstream.script = stream_of(sse(ROLE, *events))
    picture = {"role": "user", "content": "hello", "images": [b"\x89PNG\r\n\x1a\n"]}
    lines = [line async for line in await client.chat("m", [picture], think="low", stream=True)]
    assert "".join(line.message.thinking or "" for line in lines) == "They greet me."
    assert "".join(line.message.content or "" for line in lines) == "hello there"
    sent = upstream.requests[0].json()
    assert sent["reasoning_effort"] == "low"
    assert sent["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="


async def test_tool_call_over_a_stream(client: ollama.AsyncClient, upstream: FaultyUpstream) -> None:
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: where
        """
        return city

    end = {**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    begin = calls(name="weather", arguments="")
    upstream.script = stream_of(sse(ROLE, begin, calls(arguments='{"city": '), calls(arguments='"Oslo"}'), end))
    lines = [line async for line in await client.chat("m", MESSAGES, tools=[weather], stream=True)]
    (call,) = [call for line in lines for call in line.message.tool_calls or ()]
    assert (call.function.name, dict(call.function.arguments)) == ("weather", {"city": "Oslo"})
    (tool,) = upstream.requests[0].json()["tools"]
    assert tool["function"]["name"] == "weather"


async def test_result_of_a_tool_goes_back_to_its_call(client: ollama.AsyncClient, upstream: FaultyUpstream) -> None:
    called: Any = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
    }
    await client.chat("m", [*MESSAGES, called, {"role": "tool", "content": "12 °C", "tool_name": "weather"}])
    _, asked, told = upstream.requests[0].json()["messages"]
    assert told["content"] == "12 °C"
    assert told["tool_call_id"] == asked["tool_calls"][0]["id"]


async def test_schema_of_the_answer(client: ollama.AsyncClient, upstream: FaultyUpstream) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    await client.chat("m", MESSAGES, format=schema)
    wanted = upstream.requests[0].json()["response_format"]
    assert (wanted["type"], wanted["json_schema"]["schema"]) == ("json_schema", schema)


async def test_embeddings(client: ollama.AsyncClient, upstream: FaultyUpstream) -> None:
    upstream.script = embeddings([[0.5, -1.0], [1.0, 2.0]])
    answer = await client.embed("m", ["one", "two"])
    assert answer.model == "m"
    assert [list(vector) for vector in answer.embeddings] == [[0.5, -1.0], [1.0, 2.0]]
    assert answer.prompt_eval_count == 5
    assert upstream.requests[0].target == "/v1/embeddings"
    assert upstream.requests[0].json()["input"] == ["one", "two"]


async def test_wrong_key(gateway: Gateway, client: ollama.AsyncClient) -> None:
    async with client_of(gateway, "sk-wrong") as stranger:
        with pytest.raises(ollama.ResponseError, match="key is not known") as error:
            await stranger.chat("m", MESSAGES)
    assert error.value.status_code == 401


async def test_unknown_model(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="other") as error:
        await client.chat("other", MESSAGES)
    assert error.value.status_code == 404


async def test_bad_request(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="wizard") as error:
        await client.chat("m", [{"role": "wizard", "content": "x"}])
    assert error.value.status_code == 400


@pytest.mark.parametrize(
    ("status", "shown"), [(400, 400), (401, 502), (404, 404), (429, 429), (500, 502), (503, 503), (504, 504)]
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_error_of_the_backend(
    client: ollama.AsyncClient, upstream: FaultyUpstream, status: int, shown: int, is_stream: bool
) -> None:
    upstream.script = fail(status, "the model says no")

    async def ask() -> None:
        if is_stream:
            async for _ in await client.chat("m", MESSAGES, stream=True):
                pass
        else:
            await client.chat("m", MESSAGES)

    with pytest.raises(ollama.ResponseError) as error:
        await ask()
    assert error.value.status_code == shown
    if status != 401:
        assert "the model says no" in error.value.error


@pytest.mark.parametrize("is_error_event", [False, True], ids=["cut", "error event"])
async def test_stream_that_breaks_is_an_error_to_the_client(
    client: ollama.AsyncClient, upstream: FaultyUpstream, is_error_event: bool
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stream_of(sse(ROLE, HELLO, ERROR)) if is_error_event else cut(begun, len(begun))
    texts: list[str] = []

    async def read() -> None:
        async for line in await client.chat("m", MESSAGES, stream=True):
            texts.append(line.message.content or "")  # noqa: PERF401  # what came before the error counts

    with pytest.raises(ollama.ResponseError, match="crashed" if is_error_event else "cut off"):
        await read()
    assert "".join(texts) == "hello"
