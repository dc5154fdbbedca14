"""The official OpenAI client for Python, unchanged, against a node."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.obliging_model import FILLED_IN, Report, oblige
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
from tests.support.scripts import Exchange, answer, chat, cut, fail, stall

KEY = "sk-alice"
MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client with a key, of a node that serves `m` and `gpt-…`."""
    route = {"match": {"models": ["m", "gpt-*"]}, "advertised_models": ["gpt-5"]}
    service = {"models": [{"name": "m", "upstream_name": MODEL}], "retry_policy": {"num_retries": 0}}
    await gateway.apply(with_keys(one_pool(upstream.address, route=route, service=service), api_key(KEY)))
    url = f"http://{gateway.addresses.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


async def test_answer(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    completion = await client.chat.completions.create(model="m", messages=MESSAGES, temperature=0, seed=7)
    assert (completion.model, completion.choices[0].message.content) == ("m", "hello there")
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 3
    sent = upstream.requests[0].json()
    assert sent == {"model": MODEL, "messages": MESSAGES, "temperature": 0, "seed": 7}


async def test_answer_with_its_headers(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    assert raw.headers["x-janua-service"] == "llm"
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == "hello there"


async def test_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello there"
    assert {chunk.model for chunk in chunks} == {"m"}
    assert [chunk.usage for chunk in chunks if chunk.usage] == []
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (1, 2)


async def test_tools_over_a_stream(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    def calls(**function: str) -> dict[str, Any]:
        call = {"index": 0, "id": "call-1", "type": "function", "function": function}
        return {**ROLE, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}

    end = {**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    upstream.script = stream_of(sse(ROLE, calls(name="weather", arguments=""), calls(arguments='{"city": 1}'), end))
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with client.chat.completions.stream(model="m", messages=MESSAGES, tools=tools) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.tool_calls is not None
    (call,) = completion.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": 1}')


async def test_structured_output_parsed_by_the_client(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = oblige
    parsed = await client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Report)
    assert parsed.choices[0].message.parsed == FILLED_IN
    async with client.chat.completions.stream(model="m", messages=MESSAGES, response_format=Report) as stream:
        streamed = await stream.get_final_completion()
    assert streamed.choices[0].message.parsed == FILLED_IN
    for request in upstream.requests:
        assert request.json()["response_format"]["json_schema"]["schema"]["required"] == ["city", "degrees"]


async def test_tools_parsed_by_the_client(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = oblige
    tools = [openai.pydantic_function_tool(Report)]
    parsed = await client.chat.completions.parse(model="m", messages=MESSAGES, tools=tools)
    called = parsed.choices[0].message
    assert parsed.choices[0].finish_reason == "tool_calls"
    assert called.tool_calls is not None
    (call,) = called.tool_calls
    assert (call.id, call.function.parsed_arguments) == ("call-1", FILLED_IN)
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "12"}
    turns: Any = [*MESSAGES, called.model_dump(exclude_none=True), result]
    last = await client.chat.completions.create(model="m", messages=turns, tools=tools)
    assert last.choices[0].message.content == "hello there"


async def test_embeddings_as_numbers(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = embeddings([[0.5, -1.0]])
    answer = await client.embeddings.create(model="m", input="one", encoding_format="float")
    assert (answer.model, answer.data[0].embedding, answer.usage.total_tokens) == ("m", [0.5, -1.0], 5)


async def test_embeddings_as_base64_which_the_client_asks_for_by_itself(
    client: openai.AsyncOpenAI, upstream: FaultyUpstream
) -> None:
    vector = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    upstream.script = answer(json_response(200, {"object": "list", "data": data, "model": MODEL, "usage": usage}))
    got = await client.embeddings.create(model="m", input=["one"])
    assert (got.model, got.data[0].embedding) == ("m", [0.5, -1.0])
    assert upstream.requests[0].json()["encoding_format"] == "base64"


async def test_models(client: openai.AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [(model.id, model.object, model.owned_by) for model in models] == [
        ("gpt-5", "model", "llm"),
        ("m", "model", "llm"),
    ]
    assert (await client.models.retrieve("gpt-5")).id == "gpt-5"


async def test_unknown_model_to_retrieve(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        await client.models.retrieve("other/model")
    assert error.value.code == "model_not_found"


async def test_wrong_key(client: openai.AsyncOpenAI) -> None:
    stranger = client.with_options(api_key="sk-wrong")
    with pytest.raises(openai.AuthenticationError) as error:
        await stranger.chat.completions.create(model="m", messages=MESSAGES)
    assert (error.value.code, error.value.type) == ("invalid_api_key", "authentication_error")
    assert error.value.request_id
    with pytest.raises(openai.AuthenticationError):
        await stranger.models.retrieve("m")


async def test_unknown_model(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        await client.chat.completions.create(model="other", messages=MESSAGES)
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


async def test_bad_request(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        await client.chat.completions.create(model="m", messages=MESSAGES, extra_body={"stream": "maybe"})
    assert (error.value.code, error.value.param) == ("invalid_request", "stream")


async def test_request_over_the_limit(client: openai.AsyncOpenAI) -> None:
    too_long: Any = [{"role": "user", "content": "x" * (8 * MAX_BODY_BYTES)}]
    for _ in range(5):  # a race it would be between the answer and the end of the connection
        with pytest.raises(openai.APIStatusError) as error:
            await client.chat.completions.create(model="m", messages=too_long)
        assert (error.value.status_code, error.value.code) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),
        (403, openai.InternalServerError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
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
    upstream.script = fail(status, "the model says no", headers=[("retry-after", "3")])
    with pytest.raises(kind) as error:
        await client.chat.completions.create(model="m", messages=MESSAGES, stream=is_stream)
    if status == 429:
        assert error.value.response.headers["retry-after"] == "3"
    if status not in (401, 403):
        assert "the model says no" in error.value.message


@pytest.mark.parametrize("is_error_event", [False, True], ids=["cut", "error event"])
async def test_stream_that_breaks_is_an_error_to_the_client(
    client: openai.AsyncOpenAI, upstream: FaultyUpstream, is_error_event: bool
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stream_of(sse(ROLE, HELLO, ERROR)) if is_error_event else cut(begun, len(begun))
    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    texts: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")  # noqa: PERF401  # what came before the error counts

    with pytest.raises(openai.APIError, match="crashed" if is_error_event else "cut off"):
        await read()
    assert "".join(texts) == "hello"


async def test_client_that_gives_up_frees_the_backend(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = stall()
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.2).chat.completions.create(model="m", messages=MESSAGES)
    async with asyncio.timeout(2):
        await upstream.wait_for_disconnects(1)


async def test_stream_that_is_closed_early_frees_the_backend(
    client: openai.AsyncOpenAI, upstream: FaultyUpstream
) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stall(begun, len(begun))
    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert (await anext(aiter(stream))).model == "m"
    await stream.close()
    async with asyncio.timeout(2):
        await upstream.wait_for_disconnects(1)


async def test_many_at_once(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    async def echo(exchange: Exchange) -> None:
        await chat(exchange.request.json()["messages"][0]["content"])(exchange)

    upstream.script = echo
    questions: list[Any] = [[{"role": "user", "content": f"question {number}"}] for number in range(50)]
    answers = await asyncio.gather(
        *(client.chat.completions.create(model="m", messages=question) for question in questions)
    )
    assert [got.choices[0].message.content for got in answers] == [question[0]["content"] for question in questions]


# Mistral refuses every field that it does not know.


async def configure_mistral(gateway: Gateway, upstream: FaultyUpstream, **service: Any) -> None:
    price = {"input": 1.0, "output": 1.0}
    models = [{"name": "m", "upstream_name": MODEL, "price": price}]
    proxy = {"provider": "mistral", "base_url": upstream.url}
    services = [{"name": "llm", "proxy_service": proxy, "models": models, **service}]
    await gateway.apply(with_keys({**one_pool(upstream.address), "services": services}, api_key(KEY)))


async def test_stream_of_mistrals_is_not_asked_for_the_usage_that_it_tells(
    client: openai.AsyncOpenAI, gateway: Gateway, upstream: FaultyUpstream
) -> None:
    await configure_mistral(gateway, upstream)
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    last = {**ROLE, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], "usage": usage}
    upstream.script = stream_of(sse(ROLE, HELLO, last))
    options: Any
    for options in ({}, {"stream_options": {"include_usage": True}, "seed": 7}):
        stream = await client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, extra_body={"safe_prompt": True}, **options
        )
        assert [chunk.usage.prompt_tokens async for chunk in stream if chunk.usage] == [9]
        entry = await gateway.access_log_entry(stream.response.headers["x-request-id"])
        assert entry["cost_usd"] == pytest.approx(13e-6)
    asked = {"model": MODEL, "messages": MESSAGES, "stream": True, "safe_prompt": True}
    assert [request.json() for request in upstream.requests] == [asked, {**asked, "random_seed": 7}]


async def test_what_is_written_for_mistral_is_what_it_knows(
    client: openai.AsyncOpenAI, gateway: Gateway, upstream: FaultyUpstream
) -> None:
    """Here because the service lacks what was asked for, elsewhere because the client speaks another dialect."""
    await configure_mistral(gateway, upstream, unsupported_features=["LOGPROBS"], unsupported_fields="DROP")
    upstream.script = chat()
    thought: Any = {"role": "assistant", "content": "hi", "reasoning_content": "They greet me."}
    turns: Any = [{**MESSAGES[0], "name": "alice"}, thought, *MESSAGES]
    stream = await client.chat.completions.create(
        model="m", messages=turns, stream=True, seed=7, user="alice", logprobs=True, max_tokens=9
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == "hello there"
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "They greet me."}]}
    assert upstream.requests[0].json() == {
        "model": MODEL,
        "messages": [
            MESSAGES[0],
            {"role": "assistant", "content": [thinking, {"type": "text", "text": "hi"}]},
            MESSAGES[0],
        ],
        "random_seed": 7,
        "max_tokens": 9,
        "stream": True,
    }
