"""What comes over HTTP and is for a backend, as an ASGI layer before the web framework: which model or path is served
comes from the configuration, not from a table of handlers, and the framework's own dispatch would cost more than the
whole relay."""

import asyncio
import time
from typing import Protocol

import structlog

from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.listeners.disconnect import AsgiApp, ClientGoneError, Receive, Scope, Send
from gateway.listeners.errors import internal_error
from gateway.listeners.http_exchange import ErrorFormat, HttpExchange
from gateway.listeners.inbound import host_name, join_headers, request_id
from gateway.listeners.openai import OPERATIONS, OpenAIListener
from gateway.listeners.service import GatewayService
from gateway.listeners.unread_body import WithoutBody
from gateway.types import Operation

_CLIENT_GONE = "499"

_log = structlog.get_logger("janua.http")


class HttpListener(Protocol):
    """Handles the requests of some paths."""

    @property
    def errors(self) -> ErrorFormat:
        """How errors look on these paths."""

    async def handle(self, exchange: HttpExchange) -> None:
        """One request, up to the end of its answer."""


class DataPlane:
    """Handles requests for backends and hands everything else to the application."""

    def __init__(self, app: AsgiApp, service: GatewayService, *, max_body_bytes: int) -> None:
        self._app = WithoutBody(app)
        self._service = service
        self._max_body_bytes = max_body_bytes
        self._openai = OpenAIListener(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        operation = OPERATIONS.get(scope["path"])
        if operation is not None:
            await self._serve(self._openai, make_context(scope, operation), receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, listener: HttpListener, context: RequestContext, receive: Receive, send: Send) -> None:
        """One request, accounted for once however it ends."""
        service = self._service
        service.active_requests += 1
        exchange = HttpExchange(context, receive, send, listener.errors, max_body_bytes=self._max_body_bytes)
        try:
            await listener.handle(exchange)
        except ClientGoneError:
            service.settle(context, _CLIENT_GONE, "CLIENT_GONE")
        except GatewayError as error:
            await exchange.fail(error)
            service.settle(context, str(exchange.status), error.reason)
        except asyncio.CancelledError:
            service.settle(context, _CLIENT_GONE, "CANCELLED")
            raise
        except Exception:
            _log.exception("request failed", request_id=context.request_id)
            await exchange.fail(internal_error(context.request_id))
            service.settle(context, str(exchange.status), "INTERNAL")
        else:
            service.settle(context, str(exchange.status))
        finally:
            service.active_requests -= 1


def make_context(scope: Scope, operation: Operation) -> RequestContext:
    """The context of a request that has just come."""
    headers = join_headers(scope["headers"])
    client = scope.get("client")
    return RequestContext(
        request_id=request_id(headers.get(b"x-request-id")),
        protocol="http",
        operation=operation,
        method=scope.get("method", "GET"),
        path=scope["path"],
        host=host_name(headers.get(b"host", b"")),
        query_string=scope["query_string"],
        headers=headers,
        model="",
        is_streaming=False,
        client_address=client[0] if client else "",
        started=time.perf_counter(),
    )
