"""What all calls over gRPC have in common: the context, the metadata, and the accounting, whatever the service."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
import structlog
from grpc import aio
from grpc_status import rpc_status

from gateway.context import RequestContext
from gateway.errors import GatewayError, UpstreamStatusError
from gateway.listeners.client_certificate import certificate_of_call
from gateway.listeners.errors import grpc_status, internal_error
from gateway.listeners.inbound import host_name, join_headers, request_id
from gateway.listeners.service import GatewayService
from gateway.types import Operation

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_log = structlog.get_logger("janua.grpc")


class Accounting:
    """Counts a call while its block lasts, and settles it once, however it ends.

    gRPC cancels the handler when the caller goes away or its deadline passes, and with it the upstream call. Errors are
    kept until the call is settled, because aborting raises.
    """

    __slots__ = ("_call", "_context", "_service", "error")

    def __init__(self, service: GatewayService, context: RequestContext, call: Call) -> None:
        self._service = service
        self._context = context
        self._call = call
        self.error: GatewayError | None = None

    def __enter__(self) -> Self:
        self._service.active_requests += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        service, context = self._service, self._context
        service.active_requests -= 1
        match fault:
            case None:
                service.settle(context, self._status, "" if self.error is None else self.error.reason)
            case asyncio.CancelledError() | GeneratorExit():
                service.settle(context, grpc.StatusCode.CANCELLED.name, "CLIENT_GONE")
            case Exception():
                _log.error("request failed", request_id=context.request_id, exc_info=fault)
                self.error = internal_error(context.request_id)
                service.settle(context, self._status, "INTERNAL")
                return True
        return False

    @property
    def _status(self) -> str:
        """The gRPC status by name."""
        match self.error:
            case None:
                return "OK"
            case UpstreamStatusError(status=status):
                return status
            case error:
                return str(rpc_status.to_status(grpc_status(error)).code.name)

    async def abort_if_failed(self) -> None:
        """Ends the call with its error, if there is one."""
        if self.error is None:
            return
        own = answer_metadata(self._context)
        if isinstance(self.error, UpstreamStatusError):
            code = grpc.StatusCode[self.error.status]
            await self._call.abort(code, self.error.message, (*self.error.trailing_metadata, *own))
        status = rpc_status.to_status(grpc_status(self.error))
        await self._call.abort(status.code, status.details or "", (*(status.trailing_metadata or ()), *own))


async def accounted_answer(
    service: GatewayService, context: RequestContext, call: Call, answer: Awaitable[bytes]
) -> bytes:
    """The whole answer to a call, accounted for once; an error ends the call."""
    with Accounting(service, context, call) as accounting:
        try:
            return await answer
        except GatewayError as error:
            accounting.error = error
    await accounting.abort_if_failed()
    raise AssertionError("an accounted call without an answer has an error")


@contextmanager
def cancelled_without_caller() -> Iterator[None]:
    """Once nothing reaches the caller any more, the handler is to end. That the caller has gone, grpcio tells by
    cancelling too, but at another moment."""
    try:
        yield
    except aio.InternalError:
        raise asyncio.CancelledError from None


def call_context(call: Call, path: str, operation: Operation, *, is_streaming: bool) -> RequestContext:
    """The context of a call that has just come; `path` is `/package.Service/Method`."""
    metadata = join_headers(sent_metadata(call))
    remaining = call.time_remaining()
    return RequestContext(
        request_id=request_id(metadata.get(b"x-request-id")),
        protocol="grpc",
        operation=operation,
        method="POST",
        path=path,
        host=host_name(metadata.get(b"host", b"")),
        query_string=b"",
        headers=metadata,
        model="",
        is_streaming=is_streaming,
        client_address=_peer_address(call.peer()),
        started=time.perf_counter(),
        deadline=None if remaining is None else asyncio.get_running_loop().time() + remaining,
        client_certificate=partial(certificate_of_call, call),
    )


def sent_metadata(call: Call) -> Iterator[tuple[bytes, bytes]]:
    """What the caller sent, as bytes."""
    for name, value in call.invocation_metadata() or ():
        yield name.encode(), value if isinstance(value, bytes) else value.encode()


def answer_metadata(context: RequestContext) -> Metadata:
    """Who answers, under the names of the HTTP headers."""
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", context.request_id)]
    if context.route:
        metadata.append(("x-janua-route", context.route))
    if context.service:
        metadata.append(("x-janua-service", context.service))
    if context.endpoint:
        metadata.append(("x-janua-endpoint", context.endpoint))
        metadata.append(("x-janua-attempts", str(context.attempts)))
    if (edits := context.answer_edits) is not None:
        metadata += ((name.decode(), value.decode()) for name, value in edits.headers.added)
    metadata += ((name.decode(), value.decode()) for name, value in context.answer_headers)
    return tuple(metadata)


def relayed_metadata(context: RequestContext, metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """The backend's, without what policies remove, and who answers."""
    removed = context.answer_edits.headers.removed if context.answer_edits is not None else ()
    kept = ((name, value) for name, value in metadata if not removed or name.encode() not in removed)
    return (*kept, *answer_metadata(context))


def _peer_address(peer: str) -> str:
    """The address of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    return peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "")
