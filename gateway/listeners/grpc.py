"""The gRPC listener: `janua.inference.v1.InferenceService`, decoded to the pipeline and encoded back."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message
from janua.inference.v1 import chat_pb2, embeddings_pb2, inference_service_pb2_grpc, models_pb2

from gateway.context import RequestContext
from gateway.edits import EditedEvents, edited_events
from gateway.errors import BadGatewayError, GatewayError
from gateway.listeners.cached import CachedCall, KeptInbound
from gateway.listeners.cached_grpc import cached_message, cached_messages
from gateway.listeners.grpc_call import Call, accounted, accounted_answer, answer_metadata, call_context
from gateway.listeners.service import GatewayService
from gateway.operations.inference import TypedChat, TypedEmbeddings
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.schemas import janua_grpc
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.dialect import Dialect
from gateway.schemas.signatures import sealed
from gateway.schemas.whole_dialect import EmbeddingsTarget, read_answer
from gateway.types import AnswerStarted, ChatEvent, Operation, UsageReported
from gateway.upstream.answer import Exchange, StreamAnswer, UnaryAnswer

_SERVICE_PATH = "/janua.inference.v1.InferenceService/"

T = TypeVar("T")
M = TypeVar("M", bound=Message)
D = TypeVar("D", bound=Dialect)


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Serves the typed API. `created` stands in the model list: seconds since 1970 when the node started."""

    def __init__(self, service: GatewayService, *, created: int) -> None:
        self._service = service
        self._created = created

    async def CreateChatCompletion(  # noqa: N802  # the name of the RPC
        self, request: chat_pb2.CreateChatCompletionRequest, call: Call
    ) -> chat_pb2.CreateChatCompletionResponse:
        """A whole answer."""

        async def answer(context: RequestContext) -> chat_pb2.CreateChatCompletionResponse:
            context.body_size = request.ByteSize
            body = TypedChat(janua_grpc.decode_chat(request.request), is_streaming=False)

            async def encode(
                context: RequestContext, exchange: Exchange[ChatDialect]
            ) -> chat_pb2.CreateChatCompletionResponse:
                events = await _whole_answer(exchange.dialect, _unary_body(exchange), context)
                return janua_grpc.encode_chat(events, body.request.model)

            asked = _Asked(call, body.request.model, body)
            return await self._whole(context, asked, encode, chat_pb2.CreateChatCompletionResponse)

        return await self._unary(call, "CreateChatCompletion", Operation.CHAT, answer)

    async def StreamChatCompletion(  # noqa: N802
        self, request: chat_pb2.StreamChatCompletionRequest, call: Call
    ) -> AsyncIterator[chat_pb2.StreamChatCompletionResponse]:
        """An answer piece by piece."""
        context = call_context(call, f"{_SERVICE_PATH}StreamChatCompletion", Operation.CHAT, is_streaming=True)
        with accounted(self._service, context, call) as accounting:
            try:
                context.body_size = request.ByteSize
                body = TypedChat(janua_grpc.decode_chat(request.request), is_streaming=True)
                model = body.request.model
                asked = _Asked(call, model, body)
                pipeline, plan = await self._route(context, model)
                if plan.cache is not None:

                    async def encode(context: RequestContext, exchange: Exchange[ChatDialect]) -> AsyncGenerator[bytes]:
                        async with aclosing(_stream(exchange, context, model)) as messages:
                            async for message in messages:
                                yield message.SerializeToString()

                    cached = self._cached(pipeline, plan, context, asked)
                    async with aclosing(cached_messages(call, context, cached, encode)) as pieces:
                        async for piece in pieces:
                            yield chat_pb2.StreamChatCompletionResponse.FromString(piece)
                else:
                    exchange = await _call(pipeline, plan, context, asked)
                    async for message in _stream(exchange, context, model):
                        yield message
            except GatewayError as error:
                accounting.error = error
        await accounting.abort_if_failed()

    async def CreateEmbeddings(  # noqa: N802
        self, request: embeddings_pb2.CreateEmbeddingsRequest, call: Call
    ) -> embeddings_pb2.CreateEmbeddingsResponse:
        """Vectors."""

        async def answer(context: RequestContext) -> embeddings_pb2.CreateEmbeddingsResponse:
            context.body_size = request.ByteSize
            body = TypedEmbeddings(janua_grpc.decode_embeddings(request))

            async def encode(
                context: RequestContext, exchange: Exchange[EmbeddingsTarget]
            ) -> embeddings_pb2.CreateEmbeddingsResponse:
                decoded = read_answer(exchange.dialect, _unary_body(exchange), exchange.answer.headers)
                context.usage = decoded.usage
                return janua_grpc.encode_embeddings(decoded, request.model)

            asked = _Asked(call, request.model, body)
            return await self._whole(context, asked, encode, embeddings_pb2.CreateEmbeddingsResponse)

        return await self._unary(call, "CreateEmbeddings", Operation.EMBEDDINGS, answer)

    async def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, call: Call
    ) -> models_pb2.ListModelsResponse:
        """The models that the caller may ask for."""

        async def answer(context: RequestContext) -> models_pb2.ListModelsResponse:
            models = await self._service.pin().models(context)
            await call.send_initial_metadata(answer_metadata(context))
            return models_pb2.ListModelsResponse(
                models=[
                    models_pb2.Model(id=model.id, created=self._created, owned_by=model.owned_by) for model in models
                ]
            )

        return await self._unary(call, "ListModels", Operation.CHAT, answer)

    async def _unary(
        self, call: Call, method: str, operation: Operation, answer: Callable[[RequestContext], Awaitable[T]]
    ) -> T:
        context = call_context(call, _SERVICE_PATH + method, operation, is_streaming=False)
        return await accounted_answer(self._service, context, call, answer)

    async def _whole(
        self,
        context: RequestContext,
        asked: "_Asked[D]",
        encode: Callable[[RequestContext, Exchange[D]], Awaitable[M]],
        answer: type[M],
    ) -> M:
        pipeline, plan = await self._route(context, asked.model)
        if plan.cache is None:
            return await encode(context, await _call(pipeline, plan, context, asked))
        cached = self._cached(pipeline, plan, context, asked)

        async def encoded(context: RequestContext, exchange: Exchange[D]) -> bytes:
            return (await encode(context, exchange)).SerializeToString()

        return answer.FromString(await cached_message(asked.call, context, cached, encoded))

    async def _route(self, context: RequestContext, model: str) -> tuple[Pipeline, RoutePlan]:
        context.model = model
        pipeline: Pipeline = self._service.pin()
        return pipeline, await pipeline.route(context)

    def _cached(
        self, pipeline: Pipeline, plan: RoutePlan, context: RequestContext, asked: "_Asked[D]"
    ) -> CachedCall[Exchange[D]]:
        return CachedCall(
            self._service,
            pipeline,
            plan,
            asked.body,
            form=context.path,
        )


@dataclass(frozen=True, slots=True)
class _Asked(Generic[D]):
    """A call, and what it asks for."""

    call: Call
    model: str
    body: KeptInbound[Exchange[D]]


async def _call(pipeline: Pipeline, plan: RoutePlan, context: RequestContext, asked: _Asked[D]) -> Exchange[D]:
    """Runs the pipeline and tells the caller at once who answers."""
    exchange = await pipeline.call(context, plan, asked.body)
    context.first_content_at = time.perf_counter()
    try:
        await asked.call.send_initial_metadata(answer_metadata(context))
    except BaseException:
        # The caller has gone, so nobody will come to close the answer.
        if isinstance(exchange.answer, StreamAnswer):
            exchange.answer.rest.close()
        raise
    return exchange


async def _stream(
    exchange: Exchange[ChatDialect], context: RequestContext, model: str
) -> AsyncGenerator[chat_pb2.StreamChatCompletionResponse]:
    """The messages of a streamed answer. A backend that does not stream has its whole answer sent as one message."""
    writer = janua_grpc.ChatStreamWriter(model)
    if isinstance(exchange.answer, UnaryAnswer):
        for message in writer.messages(await _whole_answer(exchange.dialect, exchange.answer.body, context)):
            yield message
        return
    try:
        edits = context.answer_edits
        edited = EditedEvents(edits) if edits is not None and edits.events else None
        async for events in _chunk_events(exchange.dialect, exchange.answer):
            _note_usage(context, events)
            for message in writer.messages(events if edited is None else edited.edit_all(events)):
                yield message
            if edited is not None and (settled := await edited.settle()):
                for message in writer.messages(settled):
                    yield message
        if edited is not None and (held := await edited.end()):
            for message in writer.messages(held):
                yield message
    finally:
        exchange.answer.rest.close()


async def _chunk_events(dialect: ChatDialect, answer: StreamAnswer) -> AsyncIterator[Sequence[ChatEvent]]:
    """The events of each chunk of a stream. A chunk becomes one message: joining several would hold content back."""
    parser = dialect.framing.parser()
    decoder = dialect.event_decoder()
    data = answer.first
    while data:
        for event in parser.feed(data):
            yield sealed(decoder.decode(event), dialect.name)
        data = await answer.rest.read()
    if parser.pending:  # the backend left out the end of its last event
        for event in parser.feed(b"\n\n"):
            yield sealed(decoder.decode(event), dialect.name)


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
