"""Where errors become gRPC statuses: refusals with their details, the unexpected with nothing but a reference."""

import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never, TypeVar

import structlog
from google.rpc import code_pb2
from grpc import aio
from grpc_status import rpc_status

from config_server.errors import ApiError
from config_server.store.base import StoreUnavailableError

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_S = TypeVar("_S")
_Q = TypeVar("_Q")
_R = TypeVar("_R")

# Servicers read and write what their methods say; the context is the same for all.
Context = aio.ServicerContext[Any, Any]


def answers_once(method: Callable[[_S, _Q, Context], Awaitable[_R]]) -> Callable[[_S, _Q, Context], Awaitable[_R]]:
    """Wraps a servicer's method that answers once, or that reads and writes by the context."""

    @functools.wraps(method)
    async def guarded(servicer: _S, request: _Q, context: Context) -> _R:
        try:
            return await method(servicer, request, context)
        except Exception as error:
            await _end(context, error)

    return guarded


def answers_many(
    method: Callable[[_S, _Q, Context], AsyncIterator[_R]],
) -> Callable[[_S, _Q, Context], AsyncIterator[_R]]:
    """Wraps a servicer's method that yields its answers."""

    @functools.wraps(method)
    async def guarded(servicer: _S, request: _Q, context: Context) -> AsyncIterator[_R]:
        try:
            async for response in method(servicer, request, context):
                yield response
        except Exception as error:
            await _end(context, error)

    return guarded


async def _end(context: Context, error: Exception) -> Never:
    if isinstance(error, aio.AbortError):
        raise error
    status = rpc_status.to_status(_refusal(error).status())
    await context.abort(status.code, status.details, status.trailing_metadata)


def _refusal(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case StoreUnavailableError():
            _log.error("the store failed", exc_info=error)
            text = "the store of the config server failed, nothing was changed: see its log, then try again"
            return ApiError(code_pb2.UNAVAILABLE, "STORE_UNAVAILABLE", text)
        case _:
            # The text of an unexpected error may hold anything: it stays in the log.
            reference = secrets.token_hex(4)
            _log.error("unexpected error", reference=reference, exc_info=error)
            return ApiError(code_pb2.INTERNAL, "INTERNAL", f"unexpected error; the server's log has it as {reference}")
