"""gRPC methods that the node does not serve itself: passed through to where a route sends them."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import grpc

from gateway.context import RequestContext
from gateway.errors import ErrorCode, GatewayError
from gateway.filters.size_limits import check_body_size
from gateway.listeners.grpc_call import (
    Accounting,
    Call,
    call_context,
    cancelled_without_caller,
    relayed_metadata,
    sent_metadata,
)
from gateway.listeners.service import GatewayService
from gateway.operations.grpc_proxy import GrpcProxyInbound, checked_method
from gateway.operations.replay import ReplayableParts
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.types import Operation
from gateway.upstream.relayed_call import RelayedCall

# How long a call that may be copied is held until all of it is there. One that goes on is not copied.
_WHOLE_CALL_S = 0.1

# A caller that cancels, or sends what is too large, reads the same as one that has sent all, until its call is
# cancelled, which takes so long at most unless the node is very busy.
_CANCELLATION_S = 0.02

# Of a call of one message the end comes with the message. It is passed on at once, for most calls are such.
_AT_ONCE_S = 0.005


class UnservedMethodError(GatewayError):
    """Nobody serves the method: neither the node itself nor a backend that a route names."""

    code = ErrorCode.METHOD_NOT_ALLOWED
    default_reason = "METHOD_NOT_FOUND"


class GrpcProxyHandler(grpc.GenericRpcHandler):
    """Takes every method; to be asked after all others. Of what kind a call is makes no difference on the wire."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The handler of one call."""
        path = handler_call_details.method

        async def handle(_: object, call: Call) -> None:
            await self._handle(path, call)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _handle(self, path: str, call: Call) -> None:
        context = call_context(call, path, Operation.PROXY, is_streaming=False)
        with Accounting(self._service, context, call) as accounting:
            try:
                await self._pass_through(context, call)
            except GatewayError as error:
                accounting.error = error
        await accounting.abort_if_failed()

    async def _pass_through(self, context: RequestContext, call: Call) -> None:
        checked_method(context.path)
        pipeline: Pipeline = self._service.pin()
        plan = pipeline.find_route(context)
        if plan is None:
            raise UnservedMethodError(f"no route takes the gRPC method {context.path}")
        await pipeline.admit(context, plan)
        async with CallerMessages(call) as messages:
            messages.max_bytes = plan.filters_for(context.consumer).max_body_bytes
            inbound = await _inbound(context, plan, call, messages)
            answer = await pipeline.call(context, plan, inbound)
            context.first_content_at = time.perf_counter()
            try:
                await _relay(call, answer, context)
            finally:
                await answer.close()


async def _inbound(
    context: RequestContext, plan: RoutePlan, call: Call, messages: "CallerMessages"
) -> GrpcProxyInbound:
    parts = ReplayableParts(messages.read)
    if plan.mirror is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_WHOLE_CALL_S):
                await parts.read_first()
                if await messages.have_ended():
                    await parts.read_all()
    return GrpcProxyInbound(plan.route, path=context.path, metadata=sent_metadata(call), messages=parts)


async def _relay(call: Call, answer: RelayedCall, context: RequestContext) -> None:
    """Hands each message on before the next is read."""
    with cancelled_without_caller():
        await call.send_initial_metadata(relayed_metadata(context, answer.initial_metadata))
        while (message := await answer.read()) is not None:
            await call.write(message)
    call.set_trailing_metadata(tuple(answer.trailing_metadata))


class CallerMessages:
    """The messages of a caller, each read when it is wanted, and of at most `max_bytes` unless that is None. A message
    that comes after those who wanted it have been cancelled is kept for the next."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._count = 0
        self.max_bytes: int | None = None
        self._next: asyncio.Task[bytes | None] | None = None

    async def __aenter__(self) -> "CallerMessages":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)

    async def read(self) -> bytes | None:
        """The next message, or None after the last. Raises `PayloadTooLargeError`."""
        message = await self._peek()
        if message is not None:
            self._next = None
            if self.max_bytes is not None:
                check_body_size(len(message), self.max_bytes)
        return message

    async def have_ended(self) -> bool:
        """Whether there is no further message. Waits until that is known."""
        return await self._peek() is None

    async def _peek(self) -> bytes | None:
        if self._next is None:
            self._next = asyncio.create_task(self._receive())
        return await asyncio.shield(self._next)

    async def _receive(self) -> bytes | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        message: Any = await self._call.read()
        if isinstance(message, bytes):
            self._count += 1
            return message
        if self._count != 1 or loop.time() - began > _AT_ONCE_S:
            # The backend must not take a part for the whole.
            await asyncio.sleep(_CANCELLATION_S)
        return None
