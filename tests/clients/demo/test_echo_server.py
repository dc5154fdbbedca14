"""The echo server as a real process, asked by the official OpenAI client and by bare HTTP."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from janua_client.processes import Child

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all tests

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "good morning to you"}]


async def start(*args: str) -> Child:
    return await Child.start("echo", [sys.executable, "-m", "janua_client.demo.echo_server", *args])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    child = await start("--name", "echo-1", "--models", "echo,parrot")
    try:
        ready = await child.ready(30)
        assert ready["component"] == "model-server"
        yield str(ready["url"])
    finally:
        assert await child.stop() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_unary_answer_says_who_heard_what(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="parrot", messages=MESSAGES)
    assert answer.model == "parrot"
    assert answer.choices[0].message.content == "echo-1 heard: good morning to you"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (6, 6, 12)


async def test_stream_is_role_words_finish_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="echo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    role, *words, finish, usage = [chunk async for chunk in stream]
    assert role.choices[0].delta.role == "assistant"
    assert [word.choices[0].delta.content for word in words] == [
        "echo-1",
        " heard:",
        " good",
        " morning",
        " to",
        " you",
    ]
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.total_tokens == 12
    assert len({chunk.id for chunk in (role, *words, finish, usage)}) == 1


async def test_stream_ends_with_done_and_has_usage_only_on_request(url: str) -> None:
    body = {"model": "echo", "messages": MESSAGES, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body) as response:
        text = await response.text()
        assert response.content_type == "text/event-stream"
    assert text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in text


async def test_token_limit_ends_with_length(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="echo", messages=MESSAGES, max_tokens=3)
    assert answer.choices[0].message.content == "echo-1 heard: good"
    assert answer.choices[0].finish_reason == "length"


async def test_several_alternatives_and_parts(client: openai.AsyncOpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    answer = await client.chat.completions.create(model="echo", messages=parts, n=2)
    assert [choice.message.content for choice in answer.choices] == ["echo-1 heard: a b"] * 2
    assert [choice.index for choice in answer.choices] == [0, 1]


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_depend_on_the_text_alone(client: openai.AsyncOpenAI, encoding: Any) -> None:
    answer = await client.embeddings.create(model="echo", input=["a", "b", "a"], dimensions=8, encoding_format=encoding)
    a, b, again = (item.embedding for item in answer.data)
    if encoding == "base64":
        assert a == again != b
    else:
        assert a == again != b
        assert len(a) == 8
        assert sum(value * value for value in a) == pytest.approx(1.0)
    assert answer.usage.total_tokens == 3


async def test_base64_embeddings_are_the_same_numbers(client: openai.AsyncOpenAI) -> None:
    """The client asks for base64 by itself and decodes it."""
    decoded = await client.embeddings.create(model="echo", input="a")
    plain = await client.embeddings.create(model="echo", input="a", encoding_format="float")
    assert decoded.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [(model.id, model.owned_by) async for model in client.models.list()] == [
        ("echo", "echo-1"),
        ("parrot", "echo-1"),
    ]


async def test_unknown_model_is_404(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", "{", None),
        ("chat/completions", "", None),
        ("chat/completions", "[]", None),
        ("chat/completions", '{"model": "\\ud800"}', None),
        ("chat/completions", '{"messages": [{"role": "user"}]}', "model"),
        ("chat/completions", '{"model": "echo"}', "messages"),
        ("chat/completions", '{"model": "echo", "messages": []}', "messages"),
        ("chat/completions", '{"model": 1, "messages": [{"role": "user"}]}', "model"),
        ("chat/completions", '{"model": "echo", "messages": [{"role": "owl"}]}', "messages[0].role"),
        ("chat/completions", '{"model": "echo", "messages": [{"content": "a"}]}', "messages[0].role"),
        ("chat/completions", '{"model": "echo", "messages": [{"role": "user"}], "max_tokens": 0}', "max_tokens"),
        ("chat/completions", '{"model": "echo", "messages": [{"role": "user"}], "n": 9}', "n"),
        ("embeddings", '{"model": "echo"}', "input"),
        ("embeddings", '{"model": "echo", "input": []}', "input"),
        ("embeddings", '{"model": "echo", "input": "a", "encoding_format": "hex"}', "encoding_format"),
        ("embeddings", '{"model": "echo", "input": "a", "dimensions": 0}', "dimensions"),
    ],
)
async def test_bad_bodies_are_400_with_the_field(url: str, path: str, body: str, param: str | None) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/{path}", data=body) as response:
        error = (await response.json())["error"]
    assert response.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


async def test_errors_of_the_framework_have_the_same_shape(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/v1/nothing") as missing:
            assert missing.status == 404
            assert "error" in await missing.json()
        async with session.get(f"{url}/v1/embeddings") as wrong_method:
            assert wrong_method.status == 405
            assert wrong_method.headers["allow"] == "POST"
        async with session.post(f"{url}/v1/embeddings", data=io.BytesIO(b"x" * (17 << 20))) as huge:
            assert huge.status == 413


async def test_health(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok"}


async def test_client_may_leave_in_the_middle(url: str) -> None:
    body = json.dumps({"model": "echo", "messages": MESSAGES, "stream": True})
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    await reader.readuntil(b"data: ")
    writer.transport.abort()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
        assert response.status == 200


async def test_port_in_use_is_said_in_one_line(url: str) -> None:
    second = await start("--port", url.rpartition(":")[2])
    assert await second.wait() == 1
    (line,) = second.log_tail()
    assert "ddress already in use" in line
    await second.stop()
