"""The client of a gateway over gRPC: requests, answers, streams, and their ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from janua.inference.v1.chat_pb2 import (
    ChatCompletionRequest,
    Choice,
    ChoiceDelta,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from janua.inference.v1.embeddings_pb2 import CreateEmbeddingsRequest, CreateEmbeddingsResponse, Embedding
from janua.inference.v1.models_pb2 import ListModelsRequest, ListModelsResponse, Model
from janua.inference.v1.usage_pb2 import Usage
from janua_client import InferenceClient, assistant, system, user
from janua_client.errors import NotFoundError, UnauthenticatedError, UnavailableError

from tests.clients.janua_client.scripted_server import serving

Context = grpc.aio.ServicerContext[Any, Any]
QUESTION = ChatCompletionRequest(model="m", messages=[system("Be brief."), assistant("Yes?"), user("Hello")])


def piece(*texts: str) -> StreamChatCompletionResponse:
    return StreamChatCompletionResponse(
        choices=[ChoiceDelta(index=index, content=text) for index, text in enumerate(texts)]
    )


async def test_chat_gives_text_and_headers() -> None:
    async def create(request: CreateChatCompletionRequest, context: Context) -> CreateChatCompletionResponse:
        assert request.request == QUESTION
        assert dict(context.invocation_metadata() or ())["authorization"] == "Bearer k"
        await context.send_initial_metadata((("x-janua-endpoint", "127.0.0.1:9001"), ("odd-bin", b"\xff")))
        return CreateChatCompletionResponse(
            choices=[Choice(message=assistant("Hi.")), Choice(message=assistant("Yo."))]
        )

    async with serving(CreateChatCompletion=create) as address, InferenceClient(address, api_key="k") as client:
        reply = await client.chat(QUESTION)
    assert reply.text == "Hi."
    assert reply.headers["x-janua-endpoint"] == "127.0.0.1:9001"
    assert "odd-bin" not in reply.headers


async def test_an_answer_without_text_is_empty() -> None:
    async def create(request: CreateChatCompletionRequest, context: Context) -> CreateChatCompletionResponse:
        assert "authorization" not in dict(context.invocation_metadata() or ())
        return CreateChatCompletionResponse()

    async with serving(CreateChatCompletion=create) as address, InferenceClient(address) as client:
        assert (await client.chat(QUESTION)).text == ""


async def test_stream_gives_pieces_as_they_come() -> None:
    go_on = asyncio.Event()

    async def stream(
        request: StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        assert request.request == QUESTION
        await context.send_initial_metadata((("x-janua-route", "chat"),))
        yield piece("He", "X")
        await go_on.wait()
        yield piece("")
        yield piece("llo")
        yield StreamChatCompletionResponse(usage=Usage(total_tokens=5))

    texts = []
    async with serving(StreamChatCompletion=stream) as address, InferenceClient(address) as client:
        async with client.stream_chat(QUESTION) as answer:
            assert (await answer.headers())["x-janua-route"] == "chat"
            async for text in answer.texts():
                texts.append(text)
                go_on.set()
        async with client.stream_chat(QUESTION) as answer:
            pieces = [each async for each in answer]
    assert texts == ["He", "llo"]
    assert pieces[-1].usage.total_tokens == 5


async def test_leaving_a_stream_cancels_it() -> None:
    ended = asyncio.Event()

    async def stream(
        request: StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        context.add_done_callback(lambda _: ended.set())  # type: ignore[arg-type]  # the stub's type fits nothing
        while True:
            yield piece("more")

    async with serving(StreamChatCompletion=stream) as address, InferenceClient(address) as client:
        async with client.stream_chat(QUESTION) as answer:
            async for _ in answer:
                break
        await ended.wait()


async def test_errors_of_a_stream_come_while_reading() -> None:
    async def stream(
        request: StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        yield piece("He")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the model went away")

    async with serving(StreamChatCompletion=stream) as address, InferenceClient(address) as client:
        texts = client.stream_chat(QUESTION).texts()
        assert await anext(texts) == "He"
        with pytest.raises(UnavailableError, match="went away"):
            await anext(texts)
    async with InferenceClient("127.0.0.1:1") as client, client.stream_chat(QUESTION) as answer:
        assert await answer.headers() == {}
        with pytest.raises(UnavailableError, match="connect"):
            await anext(aiter(answer))


async def test_deadline_and_errors_of_unary_calls() -> None:
    async def create(request: CreateChatCompletionRequest, context: Context) -> CreateChatCompletionResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"{context.time_remaining():.0f}")
        raise AssertionError("the call was aborted")

    async with serving(CreateChatCompletion=create) as address, InferenceClient(address, timeout=50) as client:
        with pytest.raises(NotFoundError, match="50"):
            await client.chat(QUESTION)
        with pytest.raises(NotFoundError, match="70"):
            await client.chat(QUESTION, timeout=70)


async def test_embeddings() -> None:
    async def create(request: CreateEmbeddingsRequest, context: Context) -> CreateEmbeddingsResponse:
        if request.HasField("dimensions"):
            await context.abort(grpc.StatusCode.NOT_FOUND, "cannot shorten")
        embeddings = [Embedding(index=index, values=[len(text)]) for index, text in enumerate(request.input)]
        return CreateEmbeddingsResponse(model=request.model, embeddings=embeddings)

    async with serving(CreateEmbeddings=create) as address, InferenceClient(address) as client:
        answer = await client.embeddings("m", ["a", "bcd"])
        assert [list(each.values) for each in answer.embeddings] == [[1], [3]]
        with pytest.raises(NotFoundError, match="cannot shorten"):
            await client.embeddings("m", ["a"], dimensions=2)


async def test_models() -> None:
    async def list_(request: ListModelsRequest, context: Context) -> ListModelsResponse:
        if "authorization" not in dict(context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no key")
        return ListModelsResponse(models=[Model(id="gemma-3", owned_by="local")])

    async with serving(ListModels=list_) as address:
        async with InferenceClient(address, api_key="k") as client:
            assert [model.id for model in await client.models()] == ["gemma-3"]
        async with InferenceClient(address) as client:
            with pytest.raises(UnauthenticatedError, match="no key"):
                await client.models()
