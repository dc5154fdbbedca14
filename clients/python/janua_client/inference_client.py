"""The typed client of a gateway: chat, embeddings and the list of models over gRPC."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
from janua.inference.v1.chat_pb2 import (
    ChatCompletionRequest,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from janua.inference.v1.embeddings_pb2 import CreateEmbeddingsRequest, CreateEmbeddingsResponse
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from janua.inference.v1.models_pb2 import ListModelsRequest, Model

from janua_client.channel import open_channel
from janua_client.errors import from_rpc_error
from janua_client.tls import Tls

StreamCall = grpc.aio.UnaryStreamCall[StreamChatCompletionRequest, StreamChatCompletionResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A whole answer."""

    response: CreateChatCompletionResponse
    headers: Mapping[str, str]
    """What the gateway says about it: `x-request-id`, `x-janua-route`, `x-janua-service`, `x-janua-endpoint` …"""

    @property
    def text(self) -> str:
        """The text of the first alternative; empty if there is none, as with a call of a function."""
        parts = (part.text for choice in self.response.choices[:1] for part in choice.message.content)
        return "".join(parts)


class ChatStream:
    """An answer as it is written: an async iterator of its pieces, and a context manager that cancels what is left."""

    def __init__(self, call: StreamCall) -> None:
        self._call = call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    async def headers(self) -> Mapping[str, str]:
        """Waits for the gateway's headers, the same as `ChatReply.headers`; none if the call failed."""
        return _texts(await self._call.initial_metadata())

    async def __aiter__(self) -> AsyncGenerator[StreamChatCompletionResponse]:
        try:
            async for piece in self._call:
                yield piece
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            self.cancel()

    async def texts(self) -> AsyncGenerator[str]:
        """Yields the pieces of the first alternative's text."""
        async for piece in self:
            for choice in piece.choices:
                if choice.index == 0 and choice.content:
                    yield choice.content

    def cancel(self) -> None:
        """Ends the answer; the model stops writing."""
        self._call.cancel()


class InferenceClient:
    """Talks to one gateway node over gRPC. An async context manager, to be made in a running event loop.

    Every call has a deadline, which reaches the model: `timeout` seconds unless the call is given another. Nothing is
    repeated here: the gateway retries where that is safe. All methods raise `JanuaError`, with one subclass per code.
    `tls` None: in clear; else making one raises as `Tls.ssl_context` does.

        async with InferenceClient("127.0.0.1:8081", api_key="…") as client:
            reply = await client.chat(ChatCompletionRequest(model="gemma-3", messages=[user("Hello")]))
    """

    def __init__(
        self,
        address: str = "127.0.0.1:8081",
        *,
        api_key: str = "",
        timeout: float = 600.0,
        tls: Tls | None = None,
    ) -> None:
        self._channel = open_channel(address, tls=tls)
        self._stub = InferenceServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and the connection. May be called again."""
        await self._channel.close()

    async def chat(self, request: ChatCompletionRequest, *, timeout: float | None = None) -> ChatReply:
        """Answers a conversation as a whole."""
        call = self._stub.CreateChatCompletion(
            CreateChatCompletionRequest(request=request), timeout=timeout or self._timeout, metadata=self._metadata
        )
        try:
            return ChatReply(response=await call, headers=_texts(await call.initial_metadata()))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    def stream_chat(self, request: ChatCompletionRequest, *, timeout: float | None = None) -> ChatStream:
        """Answers a conversation piece by piece. Errors come while reading; the last piece carries the usage."""
        return ChatStream(
            self._stub.StreamChatCompletion(
                StreamChatCompletionRequest(request=request), timeout=timeout or self._timeout, metadata=self._metadata
            )
        )

    async def embeddings(
        self, model: str, texts: Iterable[str], *, dimensions: int | None = None, timeout: float | None = None
    ) -> CreateEmbeddingsResponse:
        """Turns texts into vectors, one per text, in order."""
        request = CreateEmbeddingsRequest(model=model, input=texts, dimensions=dimensions)
        try:
            return await self._stub.CreateEmbeddings(request, timeout=timeout or self._timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        """Lists the models that can be asked for, by name."""
        try:
            answer = await self._stub.ListModels(
                ListModelsRequest(), timeout=timeout or self._timeout, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return tuple(answer.models)


def _texts(metadata: grpc.aio.Metadata) -> Mapping[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}
