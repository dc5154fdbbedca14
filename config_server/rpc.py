"""Where a servicer meets gRPC: requests are read, errors become statuses.

Refusals carry their details, the unexpected nothing but a reference: its text stays in the log.
"""

import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Never, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2
from grpc import aio
from grpc_status import rpc_status

from config_server.errors import ApiError
from config_server.store.base import OutcomeUnknownError, RevisionCompactedError, StoreError, StoreUnavailableError
from config_server.writer import HistoryLostError

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_S = TypeVar("_S")
_Q = TypeVar("_Q")
_R = TypeVar("_R")

# Servicers read and write what their methods say; the context is the same for all.
Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Malformed:
    """Stands for a request whose bytes are none of its type."""


def service_handler(service: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler:
    """The methods of `servicer`, for `aio.Server.add_generic_rpc_handlers`.

    With the generated function gRPC would answer malformed bytes with the parser's words, and log a traceback.
    """
    handlers = {method.name: _method_handler(method, getattr(servicer, method.name)) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


# No service of ours takes many requests and answers once.
_HANDLERS: Final = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _method_handler(method: MethodDescriptor, behaviour: Callable[..., Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    return _HANDLERS[method.client_streaming, method.server_streaming](
        behaviour, functools.partial(_parse, GetMessageClass(method.input_type)), _serialize
    )


def _parse(message: type[Message], data: bytes) -> Message | _Malformed:
    try:
        return message.FromString(data)
    except DecodeError:
        return _Malformed()


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def answers_once(method: Callable[[_S, _Q, Context], Awaitable[_R]]) -> Callable[[_S, _Q, Context], Awaitable[_R]]:
    """Wraps a servicer's method that answers once, or that reads and writes by the context."""

    @functools.wraps(method)
    async def guarded(servicer: _S, request: _Q, context: Context) -> _R:
        try:
            _check_read(request)
            return await method(servicer, request, context)
        except Exception as error:
            await end(context, error)

    return guarded


def answers_many(
    method: Callable[[_S, _Q, Context], AsyncIterator[_R]],
) -> Callable[[_S, _Q, Context], AsyncIterator[_R]]:
    """Wraps a servicer's method that yields its answers."""

    @functools.wraps(method)
    async def guarded(servicer: _S, request: _Q, context: Context) -> AsyncIterator[_R]:
        try:
            _check_read(request)
            async for response in method(servicer, request, context):
                yield response
        except Exception as error:
            await end(context, error)

    return guarded


def answers_each(
    method: Callable[[_S, _Q, Context], Awaitable[_R]],
) -> Callable[[_S, AsyncIterator[_Q], Context], AsyncIterator[_R]]:
    """Wraps a servicer's method that answers one request, so that it answers each of a stream."""

    @functools.wraps(method)
    async def guarded(servicer: _S, requests: AsyncIterator[_Q], context: Context) -> AsyncIterator[_R]:
        try:
            async for request in requests:
                _check_read(request)
                yield await method(servicer, request, context)
        except Exception as error:
            await end(context, error)

    return guarded


def _check_read(request: object) -> None:
    if isinstance(request, _Malformed):
        raise ApiError(code_pb2.INVALID_ARGUMENT, "MALFORMED_REQUEST", "the bytes sent are not such a request")


async def end(context: Context, error: Exception) -> Never:
    """Ends a call with the status that an error stands for."""
    if isinstance(error, aio.AbortError):
        raise error
    status = rpc_status.to_status(_refusal(error).status())
    await context.abort(status.code, status.details, status.trailing_metadata)


def _refusal(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case OutcomeUnknownError():
            _log.error("the store failed while it committed", error=str(error))
            text = "the store failed while it wrote, which may be done or not: repeat with the same request_id, or look"
            return ApiError(code_pb2.UNAVAILABLE, "OUTCOME_UNKNOWN", text)
        case HistoryLostError():
            return ApiError(code_pb2.UNAVAILABLE, "HISTORY_LOST", "the store is not what it was: connect again")
        case StoreUnavailableError():
            _log.error("the store failed", error=str(error))
            text = "the store of the config server failed, nothing was changed: see its log, then try again"
            return ApiError(code_pb2.UNAVAILABLE, "STORE_UNAVAILABLE", text)
        case StoreError():
            _log.error("the store cannot be read", error=str(error))
            text = "this config server cannot read what is in its store: see its log, or ask another one"
            return ApiError(code_pb2.UNAVAILABLE, "STORE_UNREADABLE", text)
        case RevisionCompactedError():
            return ApiError(code_pb2.OUT_OF_RANGE, "REVISION_COMPACTED", str(error))
        case _:
            reference = secrets.token_hex(4)
            _log.error("unexpected error", reference=reference, exc_info=error)
            return ApiError(code_pb2.INTERNAL, "INTERNAL", f"unexpected error; the server's log has it as {reference}")
