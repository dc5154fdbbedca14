"""Questions over gRPC, with the generated stubs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2
from janua.inference.v1 import chat_pb2, embeddings_pb2, models_pb2, usage_pb2
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

from tests.conformance.calls import Answer, CallFailedError, Failure, Models, Piece, Question, Vectors, Wire

StreamCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[chat_pb2.StreamChatCompletionRequest, chat_pb2.StreamChatCompletionResponse]"
)
Metadata: TypeAlias = tuple[tuple[str, str], ...]


class GrpcCaller:
    """Calls a node's gRPC listener."""

    wire = Wire.GRPC

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = InferenceServiceStub(channel)

    async def ask_whole(self, question: Question) -> Answer:
        """A unary call."""
        request = chat_pb2.CreateChatCompletionRequest(request=_chat_request(question))
        call = self._stub.CreateChatCompletion(
            request, metadata=_metadata(question.headers), timeout=question.deadline_s
        )
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error
        headers = _headers(await call.initial_metadata())
        return Answer(wire=self.wire, headers=headers, pieces=[_whole(answer)])

    @asynccontextmanager
    async def stream(self, question: Question) -> AsyncIterator["GrpcStream"]:
        """A streamed call. Leaving it early cancels it."""
        request = chat_pb2.StreamChatCompletionRequest(request=_chat_request(question))
        call = self._stub.StreamChatCompletion(
            request, metadata=_metadata(question.headers), timeout=question.deadline_s
        )
        try:
            yield GrpcStream(call, _headers(await call.initial_metadata()))
        finally:
            call.cancel()

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Embeddings."""
        call = self._stub.CreateEmbeddings(embeddings_pb2.CreateEmbeddingsRequest(model=model, input=texts))
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error
        return Vectors(
            model=answer.model,
            vectors=[list(item.values) for item in answer.embeddings],
            usage=(answer.usage.input_tokens, answer.usage.output_tokens),
            headers=_headers(await call.initial_metadata()),
        )

    async def models(self, headers: Mapping[str, str] | None = None) -> Models:
        """The models that are served."""
        call = self._stub.ListModels(models_pb2.ListModelsRequest(), metadata=_metadata(headers or {}))
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error
        return Models(ids=[model.id for model in answer.models], headers=_headers(await call.initial_metadata()))


class GrpcStream:
    """Messages as pieces."""

    def __init__(self, call: StreamCall, headers: Mapping[str, str]) -> None:
        self._call = call
        self.headers = headers

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """The pieces, until the status OK."""
        try:
            async for message in self._call:
                yield _delta(message)
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error


def _chat_request(question: Question) -> chat_pb2.ChatCompletionRequest:
    content = chat_pb2.ContentPart(text=question.text)
    return chat_pb2.ChatCompletionRequest(
        model=question.model,
        messages=[chat_pb2.Message(role=chat_pb2.Message.ROLE_USER, content=[content])],
        tools=[chat_pb2.Tool(name=name) for name in question.tools],
        top_logprobs=question.top_logprobs,
    )


def _whole(answer: chat_pb2.CreateChatCompletionResponse) -> Piece:
    choice = answer.choices[0]
    return Piece(
        model=answer.model,
        text="".join(part.text for part in choice.message.content),
        finish_reason=_finish_reason(choice.finish_reason),
        tool_calls=tuple((call.name, call.arguments) for call in choice.message.tool_calls),
        logprobs=tuple((token.token, token.logprob) for token in choice.logprobs),
        usage=_usage(answer.usage),
    )


def _delta(message: chat_pb2.StreamChatCompletionResponse) -> Piece:
    delta = message.choices[0] if message.choices else chat_pb2.ChoiceDelta()
    return Piece(
        model=message.model,
        text=delta.content,
        finish_reason=_finish_reason(delta.finish_reason),
        tool_calls=tuple((call.name, call.arguments) for call in delta.tool_calls),
        logprobs=tuple((token.token, token.logprob) for token in delta.logprobs),
        usage=_usage(message.usage) if message.HasField("usage") else None,
    )


def _usage(usage: usage_pb2.Usage) -> tuple[int, int]:
    return usage.input_tokens, usage.output_tokens


def _finish_reason(reason: chat_pb2.FinishReason.ValueType) -> str:
    name = chat_pb2.FinishReason.Name(reason).removeprefix("FINISH_REASON_").lower()
    return "" if name == "unspecified" else name


def _metadata(headers: Mapping[str, str]) -> Metadata:
    return tuple(headers.items())


def _headers(metadata: grpc.aio.Metadata) -> Mapping[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}


def _failed(error: grpc.aio.AioRpcError) -> CallFailedError:
    """The failure, with the metadata from both ends of the call."""
    headers = {**_headers(error.initial_metadata()), **_headers(error.trailing_metadata())}
    return CallFailedError(failure_of(error), headers)


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """The status with its details."""
    status = status_pb2.Status()
    info = error_details_pb2.ErrorInfo()
    retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    for detail in status.details:
        for message in (info, retry, bad):
            detail.Unpack(message)
    return Failure(
        status=error.code().name,
        reason=info.reason,
        message=error.details() or "",
        param=bad.field_violations[0].field if bad.field_violations else None,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
    )
