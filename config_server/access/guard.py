"""The guard before every call: who is it, and may they? Calls of those who lose their rights meanwhile are ended."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import code_pb2
from grpc import aio

from config_server import rpc
from config_server.access.access_list import AccessList
from config_server.access.caller import CALLER, denied
from config_server.access.permissions import is_public, may_call
from config_server.access.principal import Principal
from config_server.errors import ApiError

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_SCHEME: Final = "bearer "
# Where grpcio has what a client certificate says of its owner. Only names that the certificate authority has checked.
_NAMES: Final = ("x509_subject_alternative_name", "x509_common_name")

_HANDLERS: Final[Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}

_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class _Call:
    principal: Principal
    task: asyncio.Task[Any]
    is_ended: bool = False


class Guard(aio.ServerInterceptor):
    """Lets calls pass whose credentials are those of a principal that may make them.

    `takes_certificates`: whether clients show some.
    """

    def __init__(self, access: AccessList, *, takes_certificates: bool) -> None:
        self._access = access
        self._takes_certificates = takes_certificates
        self._calls: set[_Call] = set()

    def find(self, token: str | None) -> Principal | None:
        """Whose token this is."""
        return self._access.find(token, ())

    def replace(self, access: AccessList) -> None:
        """Goes by another list from now on, and ends the calls of those who are not in it as they were."""
        self._access = access
        for call in self._calls:
            if access.by_name.get(call.principal.name) != call.principal:
                call.is_ended = True
                call.task.cancel()

    async def intercept_service(self, continuation: _Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        method: str = details.method
        if handler is None or is_public(method):
            return handler
        if self._is_a_stranger(details):
            # As a stream of which nothing is read: a stranger's request is not worth its memory.
            return grpc.stream_stream_rpc_method_handler(self._guarded(_never, method))
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        guarded = self._guarded_stream if inspect.isasyncgenfunction(behaviour) else self._guarded
        return _HANDLERS[handler.request_streaming, handler.response_streaming](
            guarded(behaviour, method), handler.request_deserializer, handler.response_serializer
        )

    def _is_a_stranger(self, details: grpc.HandlerCallDetails) -> bool:
        """Whether it is known without the certificate, which is not shown yet, that nobody is called so."""
        token = _token(details.invocation_metadata)
        return self.find(token) is None and (token is not None or not self._takes_certificates)

    def _guarded(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: rpc.Context) -> Any:
            try:
                with self._admitted(request, context, method):
                    return await behaviour(request, context)
            except ApiError as error:
                await rpc.end(context, error)

        return call

    def _guarded_stream(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        # No generator itself: cancelled while grpcio writes what it has yielded, it would end without a status.
        async def call(request: Any, context: rpc.Context) -> None:
            try:
                with self._admitted(request, context, method):
                    async with aclosing(behaviour(request, context)) as responses:
                        async for response in responses:
                            await context.write(response)
            except ApiError as error:
                await rpc.end(context, error)

        return call

    @contextmanager
    def _admitted(self, request: object, context: rpc.Context, method: str) -> Iterator[None]:
        """Raises ApiError for a call that may not be made, or not any longer."""
        principal = self._principal(context, method)
        _sign(request, principal)
        task = asyncio.current_task()
        assert task is not None
        call = _Call(principal, task)
        self._calls.add(call)
        CALLER.set(principal)
        try:
            yield
        except asyncio.CancelledError:
            if call.is_ended and task.uncancel() == 0:
                raise _unauthenticated("CREDENTIALS_REVOKED", "what you may do has changed: connect again") from None
            raise
        finally:
            self._calls.discard(call)

    def _principal(self, context: rpc.Context, method: str) -> Principal:
        token, names = _token(context.invocation_metadata()), list(_certificate_names(context))
        principal = self._access.find(token, names)
        if principal is not None and may_call(principal.role, method):
            return principal
        _log.warning("a call was refused", method=method, peer=context.peer(), principal=principal and principal.name)
        raise _refusal(principal, method, has_token=token is not None, names=names)


def _refusal(principal: Principal | None, method: str, *, has_token: bool, names: Sequence[str]) -> ApiError:
    if principal is not None:
        text = f"{principal.name} is {principal.role}, which may not call {method.rpartition('/')[2]}"
        return denied("ROLE_NOT_SUFFICIENT", text)
    if has_token:
        return _unauthenticated("TOKEN_NOT_KNOWN", "this token is none of this config server's: ask for another")
    if names:
        text = f"nobody has a certificate for {' or '.join(names)} in this config server's access file"
        return _unauthenticated("CERTIFICATE_NOT_KNOWN", text)
    text = "this config server asks who calls: give a token (--token, JANUA_TOKEN) or a client certificate"
    return _unauthenticated("CREDENTIALS_MISSING", text)


def _unauthenticated(reason: str, text: str) -> ApiError:
    return ApiError(code_pb2.UNAUTHENTICATED, reason, text)


async def _never(request: object, context: rpc.Context) -> None:
    raise AssertionError("no stranger is admitted")


def _token(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    for name, value in metadata or ():
        if name == "authorization":
            text = value if isinstance(value, str) else value.decode("ascii", "replace")
            return text[len(_SCHEME) :].strip() if text.lower().startswith(_SCHEME) else text
    return None


def _certificate_names(context: rpc.Context) -> Iterable[str]:
    found = context.auth_context()
    for kind in _NAMES:
        for value in found.get(kind, ()):
            yield value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _sign(request: object, principal: Principal) -> None:
    """What says who made a change is never only what the caller claims."""
    if isinstance(request, Message) and "author" in request.DESCRIPTOR.fields_by_name:
        request.author = principal.signature(request.author)  # type: ignore[attr-defined]
