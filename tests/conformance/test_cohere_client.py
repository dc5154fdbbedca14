"""The official Cohere client for Python, unchanged, against a node before backends of Cohere's API and of OpenAI's."""

from collections.abc import AsyncIterator
from typing import Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.dialect_backends import Backend, answering, breaking, failing, stopping_short
from tests.conformance.dialect_table import BACKENDS
from tests.conformance.dialects import MODEL, TOOL_PARAMETERS, UPSTREAM_MODEL, Call, Told
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import embeddings
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer

KEY = "sk-alice"
MESSAGES: Any = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": TOOL_PARAMETERS}}]
HELLO = Told(text="hello there")
CALLS = Told(calls=(Call(), Call(id="call_2", arguments={"city": "Rome"})), finish="tool_calls")


@pytest.fixture(params=["cohere", "openai"], ids=lambda name: f"to-{name}")
def backend(request: pytest.FixtureRequest) -> Backend:
    """A backend of the client's own dialect, and in another run one of another."""
    return next(each for each in BACKENDS if each.name == request.param)


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream, backend: Backend) -> AsyncIterator[cohere.AsyncClientV2]:
    """A client with a key, of a node that serves `m` from that backend.

    What that has no place for is left out: the client always tells what vectors are for.
    """
    service = {
        "upstream_service": {"upstream": "pool", "schema": backend.name.upper()},
        "models": [{"name": MODEL, "upstream_name": UPSTREAM_MODEL}],
        "retry_policy": {"num_retries": 0},
        "unsupported_fields": "DROP",
    }
    route = {"match": {"models": [MODEL]}}
    await gateway.apply(with_keys(one_pool(upstream.address, route=route, service=service), api_key(KEY)))
    async with client_of(gateway, KEY) as client:
        yield client


def client_of(gateway: Gateway, key: str) -> cohere.AsyncClientV2:
    """Its own HTTP client would be left open."""
    return cohere.AsyncClientV2(
        key,
        base_url=f"http://{gateway.addresses.http}",
        max_retries=0,
        httpx_client=httpx.AsyncClient(timeout=20),
    )


async def test_answer(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    upstream.script = answering(backend, HELLO)
    got = await client.chat(model=MODEL, messages=MESSAGES, temperature=0.5, max_tokens=10, stop_sequences=["END"])
    assert [block.text for block in got.message.content or () if block.type == "text"] == ["hello there"]
    assert got.finish_reason == "COMPLETE"
    assert got.usage is not None
    assert got.usage.tokens is not None
    assert (got.usage.tokens.input_tokens, got.usage.tokens.output_tokens) == (9, 4)
    seen = backend.read(upstream.requests[0])
    assert (seen.model, seen.system, seen.texts) == (UPSTREAM_MODEL, "Be short.", ("hello",))
    sent = upstream.requests[0].json()
    assert sent["temperature"] == 0.5
    assert KEY not in str(upstream.requests[0])


async def test_stream(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    upstream.script = answering(backend, HELLO)
    events = [event async for event in client.chat_stream(model=MODEL, messages=MESSAGES)]
    assert [event.type for event in events] == [
        "message-start",
        "content-start",
        "content-delta",
        "content-delta",
        "content-end",
        "message-end",
    ]
    texts = [event.delta.message.content.text for event in events if event.type == "content-delta"]  # type: ignore[union-attr]
    assert texts == ["hello", " there"]
    end = events[-1]
    assert end.type == "message-end"
    assert end.delta is not None
    assert end.delta.finish_reason == "COMPLETE"
    assert end.delta.usage is not None
    assert end.delta.usage.tokens is not None
    assert (end.delta.usage.tokens.input_tokens, end.delta.usage.tokens.output_tokens) == (9, 4)


async def test_schema_of_the_answer(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    upstream.script = answering(backend, Told(text='{"city": "Oslo"}'))
    wanted: Any = {"type": "json_object", "json_schema": TOOL_PARAMETERS}
    got = await client.chat(model=MODEL, messages=MESSAGES, response_format=wanted)
    assert [block.text for block in got.message.content or () if block.type == "text"] == ['{"city": "Oslo"}']
    assert backend.read(upstream.requests[0]).schema == TOOL_PARAMETERS


async def test_thoughts(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    upstream.script = answering(backend, Told(thinking="They greet me.", text="hello there"))
    got = await client.chat(model=MODEL, messages=MESSAGES, thinking=cohere.Thinking(type="enabled", token_budget=100))
    assert [block.model_dump(exclude_none=True) for block in got.message.content or ()] == [
        {"type": "thinking", "thinking": "They greet me."},
        {"type": "text", "text": "hello there"},
    ]


async def test_calls_and_their_results(
    client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend
) -> None:
    upstream.script = answering(backend, CALLS)
    got = await client.chat(model=MODEL, messages=MESSAGES, tools=TOOLS)
    calls = got.message.tool_calls or []
    assert got.finish_reason == "TOOL_CALL"
    assert [call.function.arguments for call in calls if call.function] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    assert backend.read(upstream.requests[0]).tools == {"weather": TOOL_PARAMETERS}

    upstream.script = answering(backend, HELLO)
    results = [
        cohere.ToolChatMessageV2(tool_call_id=call.id, content=text)
        for call, text in zip(calls, ("12 °C", "20 °C"), strict=True)
    ]
    asked = cohere.AssistantChatMessageV2(tool_calls=calls)
    await client.chat(model=MODEL, messages=[*MESSAGES, asked, *results], tools=TOOLS)
    seen = backend.read(upstream.requests[1])
    assert seen.results == (("call_1", "12 °C"), ("call_2", "20 °C"))
    assert [call.arguments for call in seen.said.calls] == [{"city": "Oslo"}, {"city": "Rome"}]


async def test_stream_of_calls(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    upstream.script = answering(backend, CALLS)
    arguments: dict[int, str] = {}
    names: list[str] = []
    async for event in client.chat_stream(model=MODEL, messages=MESSAGES, tools=TOOLS):
        match event:
            case cohere.ToolCallStartV2ChatStreamResponse():
                names.append(event.delta.message.tool_calls.function.name)  # type: ignore[union-attr,arg-type]
            case cohere.ToolCallDeltaV2ChatStreamResponse():
                more = event.delta.message.tool_calls.function.arguments  # type: ignore[union-attr]
                arguments[event.index or 0] = arguments.get(event.index or 0, "") + (more or "")
    assert names == ["weather", "weather"]
    assert arguments == {0: '{"city": "Oslo"}', 1: '{"city": "Rome"}'}


async def test_embeddings(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    vectors = [[0.5, -1.0], [1.0, 2.0]]
    own = {"id": "e1", "embeddings": {"float": vectors}, "texts": ["one", "two"], "meta": {"billed_units": {}}}
    upstream.script = answer(json_response(200, own)) if backend.name == "cohere" else embeddings(vectors)
    got = await client.embed(model=MODEL, texts=["one", "two"], input_type="search_query", embedding_types=["float"])
    assert got.embeddings.float_ == vectors
    sent = upstream.requests[0].json()
    assert sent["model"] == UPSTREAM_MODEL
    assert sent.get("texts", sent.get("input")) == ["one", "two"]


async def test_rerank(client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.5}]
    rest: dict[str, Any] = {"usage": {"total_tokens": 7}}
    if backend.name == "cohere":
        rest = {"id": "r1", "meta": {"billed_units": {"search_units": 1}}}
    upstream.script = answer(json_response(200, {"results": results, **rest}))
    got = await client.rerank(model=MODEL, query="capital?", documents=["fish", "Oslo"], top_n=2)
    assert [(each.index, each.relevance_score) for each in got.results] == [(1, 0.9), (0, 0.5)]
    assert got.meta is not None
    if backend.name == "cohere":
        assert got.meta.billed_units is not None
        assert got.meta.billed_units.search_units == 1
    else:
        assert got.meta.tokens is not None
        assert got.meta.tokens.input_tokens == 7
    assert upstream.requests[0].target == ("/v2/rerank" if backend.name == "cohere" else "/v1/rerank")


async def test_rerank_of_the_older_client(
    client: cohere.AsyncClientV2, gateway: Gateway, upstream: FaultyUpstream, backend: Backend
) -> None:
    upstream.script = answer(json_response(200, {"results": [{"index": 1, "relevance_score": 0.9}]}))
    async with cohere.AsyncClient(
        KEY, base_url=f"http://{gateway.addresses.http}", httpx_client=httpx.AsyncClient(timeout=20)
    ) as older:
        got = await older.rerank(model=MODEL, query="capital?", documents=["fish", "Oslo"], top_n=1)
    assert [(each.index, each.relevance_score) for each in got.results] == [(1, 0.9)]


async def test_wrong_key(client: cohere.AsyncClientV2, gateway: Gateway) -> None:
    async with client_of(gateway, "sk-wrong") as stranger:
        with pytest.raises(cohere.UnauthorizedError) as error:
            await stranger.chat(model=MODEL, messages=MESSAGES)
    assert error.value.body == {"message": "the API key is not known"}


async def test_unknown_model(client: cohere.AsyncClientV2) -> None:
    with pytest.raises(cohere.NotFoundError, match="other"):
        await client.chat(model="other", messages=MESSAGES)


@pytest.mark.parametrize(
    ("status", "shown"), [(400, 400), (401, 502), (404, 404), (429, 429), (500, 502), (503, 503), (504, 504)]
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
async def test_error_of_the_backend(
    client: cohere.AsyncClientV2,
    upstream: FaultyUpstream,
    backend: Backend,
    status: int,
    shown: int,
    is_stream: bool,
) -> None:
    upstream.script = failing(backend, status, "the model says no")

    async def ask() -> None:
        if is_stream:
            async for _ in client.chat_stream(model=MODEL, messages=MESSAGES):
                pass
        else:
            await client.chat(model=MODEL, messages=MESSAGES)

    with pytest.raises(ApiError) as error:
        await ask()
    assert error.value.status_code == shown
    assert ("the model says no" in error.value.body["message"]) is (status != 401)


@pytest.mark.parametrize("is_error_event", [False, True], ids=["cut", "error event"])
async def test_stream_that_breaks_ends_with_an_error(
    client: cohere.AsyncClientV2, upstream: FaultyUpstream, backend: Backend, is_error_event: bool
) -> None:
    upstream.script = breaking(backend, HELLO, "it crashed") if is_error_event else stopping_short(backend, HELLO)
    events = [event async for event in client.chat_stream(model=MODEL, messages=MESSAGES)]
    ends = [event.delta for event in events if event.type == "message-end"]
    assert [end.finish_reason for end in ends if end] == ["ERROR"]
    assert ends[0] is not None
    assert ("it crashed" if is_error_event else "cut off") in (ends[0].error or "")
