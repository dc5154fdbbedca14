"""The real model, really answering. Shapes only: what a model of this size says is nobody's promise."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from janua_client.processes import Child

pytestmark = [
    pytest.mark.component("llama"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),  # the first use puts the weights together
]

MODEL = "gemma-3-270m"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


async def start(*args: str) -> Child:
    return await Child.start("llama", [sys.executable, "-m", "janua_client.demo.llama_server", *args])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    child = await start()
    try:
        ready = await child.ready(240)
        assert ready["component"] == "model-server"
        yield str(ready["url"])
    finally:
        assert await child.stop() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    # It closes connections that were idle for some seconds, which a client may notice too late: retries stay on.
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        yield client


async def test_unary_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 8


async def test_streamed_answer(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}


async def test_two_conversations_at_once(client: openai.AsyncOpenAI) -> None:
    ask = client.chat.completions.create
    answers = await asyncio.gather(*(ask(model=MODEL, messages=QUESTION, max_tokens=4) for _ in range(2)))
    assert all(answer.choices[0].message.content for answer in answers)


async def test_system_prompt_earlier_turns_and_parts_are_taken(client: openai.AsyncOpenAI) -> None:
    conversation: Any = [
        {"role": "system", "content": "Answers are short."},
        {"role": "user", "content": "What is the capital of Italy?"},
        {"role": "assistant", "content": "Rome"},
        {"role": "user", "content": [{"type": "text", "text": "And of France?"}]},
    ]
    short = await client.chat.completions.create(model=MODEL, messages=conversation[-1:], max_tokens=1)
    whole = await client.chat.completions.create(model=MODEL, messages=conversation, max_tokens=1)
    assert short.usage is not None
    assert whole.usage is not None
    assert whole.usage.prompt_tokens > short.usage.prompt_tokens + 10


async def test_health_and_models(client: openai.AsyncOpenAI, url: str) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]
    health = await client.get(f"{url}/health", cast_to=dict[str, str])
    assert health == {"status": "ok"}


async def test_embeddings() -> None:
    child = await start("--embeddings")
    try:
        url = (await child.ready(240))["url"]
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            answer = await client.embeddings.create(model=MODEL, input=["a door", "a gate"])
        lengths = {len(item.embedding) for item in answer.data}
        assert len(answer.data) == 2
        assert lengths.pop() > 100
        assert not lengths
    finally:
        await child.stop()


async def test_port_in_use_ends_with_the_port(url: str) -> None:
    port = url.rpartition(":")[2]
    second = await start("--port", port)
    assert await second.wait() == 1
    assert f"cannot serve the model on port {port}" in "\n".join(second.log_tail())
    await second.stop()
