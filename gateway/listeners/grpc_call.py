"""What all calls over gRPC have in common: the context, the metadata, and the accounting, whatever the service."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog
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

T = TypeVar("T")

_log = structlog.get_logger("janua.grpc")


@dataclass(slots=True)
class Accounting:
    """How a call ends. Errors are kept until the call is settled, because aborting raises."""

    context: RequestContext
    call: Call
    error: GatewayError | None = None

    @property
    def status(self) -> str:
        """The gRPC status by name."""
        match self.error:
            case None:
                return grpc.StatusCode.OK.name
            case UpstreamStatusError(status=status):
                return status
            case error:
                return str(rpc_status.to_status(grpc_status(error)).code.name)

    async def abort_if_failed(self) -> None:
        """Ends the call with its error, if there is one."""
        if self.error is None:
            return
        own = answer_metadata(self.context)
        if isinstance(self.error, UpstreamStatusError):
            code = grpc.StatusCode[self.error.status]
            await self.call.abort(code, self.error.message, (*self.error.trailing_metadata, *own))
        status = rpc_status.to_status(grpc_status(self.error))
        await self.call.abort(status.code, status.details or "", (*(status.trailing_metadata or ()), *own))


@contextmanager
def accounted(service: GatewayService, context: RequestContext, call: Call) -> Iterator[Accounting]:
    """Counts a request and settles it once, however it ends. gRPC cancels the handler when the caller goes away or its
    deadline passes, and with it the upstream call."""
    service.active_requests += 1
    accounting = Accounting(context, call)
    try:
        yield accounting
    except (asyncio.CancelledError, GeneratorExit):
        service.settle(context, grpc.StatusCode.CANCELLED.name, "CLIENT_GONE")
        raise
    except Exception:
        _log.exception("request failed", request_id=context.request_id)
        accounting.error = internal_error(context.request_id)
        service.settle(context, accounting.status, "INTERNAL")
    else:
        service.settle(context, accounting.status, accounting.error.reason if accounting.error else "")
    finally:
        service.active_requests -= 1


async def accounted_answer(
    service: GatewayService, context: RequestContext, call: Call, answer: Callable[[RequestContext], Awaitable[T]]
) -> T:
    """The whole answer to a call, accounted for once; an error ends the call."""
    with accounted(service, context, call) as accounting:
        try:
            return await answer(context)
        except GatewayError as error:
            accounting.error = error
    await accounting.abort_if_failed()
    raise AssertionError("an accounted call without an answer has an error")


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
    fields = (
        ("x-request-id", context.request_id),
        ("x-janua-route", context.route),
        ("x-janua-service", context.service),
        ("x-janua-endpoint", context.endpoint),
        ("x-janua-attempts", str(context.attempts) if context.attempts else ""),
    )
    edits = context.answer_edits
    added = context.answer_headers if edits is None else (*edits.headers.added, *context.answer_headers)
    of_policies = ((name.decode(), value.decode()) for name, value in added)
    return (*((name, value) for name, value in fields if value), *of_policies)


def relayed_metadata(context: RequestContext, metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """The backend's, without what policies remove, and who answers."""
    removed = context.answer_edits.headers.removed if context.answer_edits is not None else ()
    kept = ((name, value) for name, value in metadata if not removed or name.encode() not in removed)
    return (*kept, *answer_metadata(context))


def _peer_address(peer: str) -> str:
    """The address of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    return peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "")
