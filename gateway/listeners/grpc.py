"""The gRPC listener: `janua.inference.v1.InferenceService`, decoded to the pipeline and encoded back."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from janua.inference.v1 import chat_pb2, embeddings_pb2, inference_service_pb2, models_pb2

from gateway.context import RequestContext
from gateway.edits import EditedEvents, edited_events
from gateway.errors import BadGatewayError, GatewayError, InvalidRequestError
from gateway.listeners.cached import CachedCall, KeptInbound
from gateway.listeners.cached_grpc import cached_message, cached_messages
from gateway.listeners.grpc_call import (
    Accounting,
    Call,
    accounted_answer,
    answer_metadata,
    call_context,
    cancelled_without_caller,
)
from gateway.listeners.service import GatewayService
from gateway.operations.inference import TypedChat, TypedEmbeddings
from gateway.schemas import janua_grpc
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.dialect import Dialect
from gateway.schemas.signatures import sealed
from gateway.schemas.whole_dialect import EmbeddingsTarget, read_answer
from gateway.types import AnswerStarted, ChatEvent, Operation, UsageReported
from gateway.upstream.answer import Exchange, UnaryAnswer

SERVICE: Final[str] = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

M = TypeVar("M", bound=Message)
D = TypeVar("D", bound=Dialect)


class InferenceServicer:
    """Serves the typed API. `created` stands in the model list: seconds since 1970 when the node started."""

    def __init__(self, service: GatewayService, *, created: int) -> None:
        self._service = service
        self._created = created

    @property
    def handlers(self) -> dict[str, Handler]:
        """The methods, for a server. They get and give bytes: what a cache keeps need not be decoded."""
        return {
            "CreateChatCompletion": self._unary("CreateChatCompletion", Operation.CHAT, self._chat),
            "StreamChatCompletion": grpc.unary_stream_rpc_method_handler(self._stream_chat),
            "CreateEmbeddings": self._unary("CreateEmbeddings", Operation.EMBEDDINGS, self._embeddings),
            "ListModels": self._unary("ListModels", Operation.CHAT, self._models),
        }

    def _unary(
        self,
        method: str,
        operation: Operation,
        answer: Callable[[RequestContext, Call, bytes], Awaitable[bytes]],
    ) -> Handler:
        path = f"/{SERVICE}/{method}"

        async def handle(data: bytes, call: Call) -> bytes:
            context = call_context(call, path, operation, is_streaming=False)
            context.body_size = data.__len__
            return await accounted_answer(self._service, context, call, answer(context, call, data))

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _chat(self, context: RequestContext, call: Call, data: bytes) -> bytes:
        request = janua_grpc.decode_chat(_read(chat_pb2.CreateChatCompletionRequest, data).request)
        return await self._whole(context, call, request.model, TypedChat(request, is_streaming=False), _encoded_chat)

    async def _embeddings(self, context: RequestContext, call: Call, data: bytes) -> bytes:
        request = janua_grpc.decode_embeddings(_read(embeddings_pb2.CreateEmbeddingsRequest, data))
        return await self._whole(context, call, request.model, TypedEmbeddings(request), _encoded_embeddings)

    async def _models(self, context: RequestContext, call: Call, data: bytes) -> bytes:
        _read(models_pb2.ListModelsRequest, data)
        models = await self._service.pin().models(context)
        await call.send_initial_metadata(answer_metadata(context))
        return models_pb2.ListModelsResponse(
            models=[models_pb2.Model(id=model.id, created=self._created, owned_by=model.owned_by) for model in models]
        ).SerializeToString()

    async def _whole(
        self,
        context: RequestContext,
        call: Call,
        model: str,
        inbound: KeptInbound[Exchange[D]],
        encode: Callable[[RequestContext, Exchange[D]], Awaitable[bytes]],
    ) -> bytes:
        context.model = model
        pipeline = self._service.pin()
        plan = await pipeline.route(context)
        if plan.cache is not None:
            cached = CachedCall(self._service, pipeline, plan, inbound, form=context.path)
            return await cached_message(call, context, cached, encode)
        exchange = await pipeline.call(context, plan, inbound)
        context.first_content_at = time.perf_counter()
        message = await encode(context, exchange)
        await call.send_initial_metadata(answer_metadata(context))
        return message

    async def _stream_chat(self, data: bytes, call: Call) -> None:
        context = call_context(call, f"/{SERVICE}/StreamChatCompletion", Operation.CHAT, is_streaming=True)
        context.body_size = data.__len__
        with Accounting(self._service, context, call) as accounting:
            try:
                with cancelled_without_caller():
                    await self._stream(context, call, data)
            except GatewayError as error:
                accounting.error = error
        await accounting.abort_if_failed()

    async def _stream(self, context: RequestContext, call: Call, data: bytes) -> None:
        request = janua_grpc.decode_chat(_read(chat_pb2.StreamChatCompletionRequest, data).request)
        inbound = TypedChat(request, is_streaming=True)
        context.model = request.model
        pipeline = self._service.pin()
        plan = await pipeline.route(context)
        if plan.cache is not None:
            cached = CachedCall(self._service, pipeline, plan, inbound, form=context.path)
            async with aclosing(cached_messages(call, context, cached, _encoded_stream)) as messages:
                async for message in messages:
                    await call.write(message)
            return
        exchange = await pipeline.call(context, plan, inbound)
        context.first_content_at = time.perf_counter()
        async with aclosing(_encoded_stream(context, exchange)) as messages:
            # Only what has begun can be closed, so the first message comes before what might fail.
            first = await anext(messages, None)
            await call.send_initial_metadata(answer_metadata(context))
            if first is not None:
                await call.write(first)
            async for message in messages:
                await call.write(message)


def _read(kind: type[M], data: bytes) -> M:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidRequestError(f"the message is no {kind.DESCRIPTOR.full_name}") from None


async def _encoded_chat(context: RequestContext, exchange: Exchange[ChatDialect]) -> bytes:
    """The message for a whole answer."""
    events = await _whole_answer(exchange.dialect, _unary_body(exchange), context)
    return janua_grpc.encode_chat(events, context.model).SerializeToString()


async def _encoded_embeddings(context: RequestContext, exchange: Exchange[EmbeddingsTarget]) -> bytes:
    """The message for vectors."""
    decoded = read_answer(exchange.dialect, _unary_body(exchange), exchange.answer.headers)
    context.usage = decoded.usage
    return janua_grpc.encode_embeddings(decoded, context.model).SerializeToString()


async def _encoded_stream(context: RequestContext, exchange: Exchange[ChatDialect]) -> AsyncGenerator[bytes]:
    """The messages of a streamed answer, one for each event: joining several would hold content back. A backend that
    does not stream has its whole answer sent as one."""
    answer, dialect = exchange.answer, exchange.dialect
    writer = janua_grpc.ChatStreamWriter(context.model)
    if isinstance(answer, UnaryAnswer):
        if message := writer.write(await _whole_answer(dialect, answer.body, context)):
            yield message
        return
    edits = context.answer_edits
    edited = EditedEvents(edits) if edits is not None and edits.events else None
    parser, decoder = dialect.framing.parser(), dialect.event_decoder()
    try:
        data, is_ended = answer.first, False
        while data:
            for event in parser.feed(data):
                events = sealed(decoder.decode(event), dialect.name)
                _note_usage(context, events)
                if message := writer.write(events if edited is None else edited.edit_all(events)):
                    yield message
                if edited is not None and (message := writer.write(await edited.settle())):
                    yield message
            if is_ended:
                break
            data = await answer.rest.read()
            if not data and parser.pending:
                data, is_ended = b"\n\n", True  # the backend left out the end of its last event
        if edited is not None and (message := writer.write(await edited.end())):
            yield message
    finally:
        answer.rest.close()


async def _whole_answer(dialect: ChatDialect, body: bytes, context: RequestContext) -> Sequence[ChatEvent]:
    """The events of an answer that came whole. JSON without alternatives is some other message, such as an error."""
    events = sealed(dialect.decode_answer(body), dialect.name)
    _note_usage(context, events)
    if all(isinstance(event, AnswerStarted | UsageReported) for event in events):
        raise BadGatewayError("the upstream's answer has nothing in it", reason="UPSTREAM_MALFORMED")
    return await edited_events(context.answer_edits, events)


def _unary_body(exchange: Exchange[D]) -> bytes:
    if isinstance(exchange.answer, UnaryAnswer):
        return exchange.answer.body
    exchange.answer.rest.close()
    raise BadGatewayError("the upstream streamed an answer that was asked for whole", reason="UPSTREAM_MALFORMED")


def _note_usage(context: RequestContext, events: Sequence[ChatEvent]) -> None:
    for event in events:
        if isinstance(event, UsageReported):
            context.usage = event.usage
