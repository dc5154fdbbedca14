"""`ModelStreamInfer`: the first request chooses the route, the answers come as the backend gives them, and what is
wrong with one request alone is told within the stream, which goes on."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.listeners.grpc_call import Call, answer_metadata, cancelled_without_caller, sent_metadata
from gateway.listeners.grpc_proxy import CallerMessages
from gateway.listeners.service import GatewayService
from gateway.operations.open_inference import OpenInferenceInbound, read_head
from gateway.operations.open_inference_infer import StreamedInfer
from gateway.operations.open_inference_stream import StreamInbound, StreamStart
from gateway.operations.relayed_stream import RelayedStream
from gateway.operations.replay import ReplayableParts
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.schemas.open_inference.dialect import MalformedTensorError, StreamError
from gateway.schemas.open_inference.grpc import encode_stream_answer, read_request_head


class _Answers:
    """The caller's side of a stream. Two may write: who reads from the backend, and who reads from the caller."""

    def __init__(self, call: Call, context: RequestContext) -> None:
        self._call = call
        self._context = context
        self._is_begun = False
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Says who answers, once."""
        async with self._turn:
            await self._begin()

    async def write(self, message: bytes) -> None:
        """Sends an answer. Returns once there is room for the next."""
        async with self._turn:
            await self._begin()
            with cancelled_without_caller():
                await self._call.write(message)

    async def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._context.first_content_at = time.perf_counter()
            with cancelled_without_caller():
                await self._call.send_initial_metadata(answer_metadata(self._context))


class _Requests:
    """The caller's requests, but for those that cannot be one of this stream: they are answered at once."""

    def __init__(self, messages: CallerMessages, answers: _Answers) -> None:
        self._messages = messages
        self._answers = answers
        self._first: StreamedInfer | None = None
        self._first_is_taken = False

    async def first(self) -> StreamedInfer | None:
        """The request that says which model the stream is for; None if there is none. Raises `InvalidRequestError`."""
        data = await self._messages.read()
        self._first = None if data is None else StreamedInfer(head=read_head(data), data=data)
        return self._first

    async def read(self) -> bytes | None:
        """The next request, or None after the last."""
        assert self._first is not None, "the first request says for which model the others are"
        if not self._first_is_taken:
            self._first_is_taken = True
            return self._first.data
        while (data := await self._messages.read()) is not None:
            if (fault := _find_fault(data, self._first.model)) is None:
                return data
            # Whoever reads may be cancelled, and another attempt read on, but a message must be sent whole.
            await asyncio.shield(self._answers.write(encode_stream_answer(fault)))
        return None


async def relay_stream(service: GatewayService, context: RequestContext, call: Call) -> None:
    """One stream, up to its end. Raises the error that it ends with."""
    async with CallerMessages(call) as messages:
        answers = _Answers(call, context)
        requests = _Requests(messages, answers)
        first = await requests.first()
        if first is None:
            await answers.begin()
            return
        context.model = first.model
        context.body_size = first.data.__len__
        pipeline = service.pin()
        plan = await pipeline.route(context)
        messages.max_bytes = plan.filters_for(context.consumer).max_body_bytes
        inbound = StreamInbound(first, ReplayableParts(requests.read), tuple(sent_metadata(call)))
        start = await _start(pipeline, plan, context, inbound)
        if isinstance(start, RelayedStream):
            await _relay(start, answers)
            return
        await answers.write(start)
        async with aclosing(_one_by_one(pipeline, plan, context, inbound, call)) as others:
            async for answer in others:
                await answers.write(answer)


async def _start(pipeline: Pipeline, plan: RoutePlan, context: RequestContext, inbound: StreamInbound) -> StreamStart:
    try:
        return await pipeline.call(context, plan, inbound)
    except GatewayError as error:
        if not inbound.is_one_by_one or _is_over(context):
            raise
        return _error_answer(error, inbound.first)


async def _relay(stream: RelayedStream, answers: _Answers) -> None:
    """Hands each answer on before the next is read."""
    try:
        await answers.begin()
        answer = stream.first
        while answer is not None:
            await answers.write(answer)
            answer = await stream.read()
    finally:
        stream.close()


async def _one_by_one(
    pipeline: Pipeline, plan: RoutePlan, context: RequestContext, inbound: StreamInbound, call: Call
) -> AsyncGenerator[bytes, None]:
    """The answers to all requests but the first, each of which is a call of its own."""
    sent = tuple(sent_metadata(call))
    async with aclosing(inbound.requests.parts()) as requests:
        await anext(requests)
        async for data in requests:
            request = StreamedInfer(head=read_head(data), data=data)
            one: OpenInferenceInbound[bytes] = OpenInferenceInbound(request, sent)
            try:
                answer = await pipeline.call(context, plan, one)
            except GatewayError as error:
                if _is_over(context):
                    raise
                answer = _error_answer(error, request)
            yield answer


def _is_over(context: RequestContext) -> bool:
    """Whether the caller's time limit has passed, so that no further request can be answered."""
    return context.deadline is not None and asyncio.get_running_loop().time() >= context.deadline


def _find_fault(data: bytes, model: str) -> StreamError | None:
    """Why a later message is no request of a stream for this model."""
    try:
        head = read_request_head(data)
    except MalformedTensorError as error:
        return StreamError(message=str(error))
    if head.model != model:
        text = f"this stream is for the model {model!r}; open another for {head.model!r}"
        return StreamError(message=text, id=head.id)
    return None


def _error_answer(error: GatewayError, request: StreamedInfer) -> bytes:
    return encode_stream_answer(StreamError(message=error.message, id=request.head.id))
