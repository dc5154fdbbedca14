"""What comes over HTTP and is for a backend, as an ASGI layer before the web framework: which model or path is served
comes from the configuration, not from a table of handlers, and the framework's own dispatch would cost more than the
whole relay."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

import structlog

from gateway.context import RequestContext, no_certificate
from gateway.errors import GatewayError, NotFoundError
from gateway.listeners.chat import ChatListener
from gateway.listeners.client_certificate import CERTIFICATE
from gateway.listeners.disconnect import AsgiApp, ClientGoneError, Receive, Scope, Send
from gateway.listeners.errors import internal_error
from gateway.listeners.http_exchange import ErrorFormat, HttpExchange
from gateway.listeners.http_proxy import HttpProxyListener
from gateway.listeners.inbound import host_name, join_headers, request_id
from gateway.listeners.invocation import InvocationListener, find_invocation
from gateway.listeners.model_list import is_model_path
from gateway.listeners.model_relay import ModelRelayListener
from gateway.listeners.open_inference_rest import OpenInferenceRestListener
from gateway.listeners.preflight import PreflightListener, mark_for, read_preflight
from gateway.listeners.service import GatewayService
from gateway.listeners.surfaces import (
    GEMINI_SURFACES,
    SURFACES,
    ChatSurface,
    Surface,
    find_relayed_surface,
    find_surface,
)
from gateway.listeners.unread_body import WithoutBody
from gateway.listeners.websocket_proxy import WebSocketExchange, WebSocketProxyListener
from gateway.listeners.whole import WholeListener
from gateway.pipeline import CrossOrigins, Pipeline
from gateway.plan import RoutePlan
from gateway.schemas.open_inference.paths import match_path
from gateway.types import Operation

_CLIENT_GONE = "499"
_NO_STATE: Mapping[str, Any] = MappingProxyType({})

_log = structlog.get_logger("janua.http")


class Exchange(Protocol):
    """A request, and how it can fail."""

    @property
    def context(self) -> RequestContext:
        """What is known of it."""

    @property
    def status(self) -> int:
        """The status that the client has been given; 0 before."""

    async def fail(self, error: GatewayError) -> None:
        """Tells the client, as far as that is still possible."""


class DataPlane:
    """Handles requests for backends and hands everything else to the application."""

    def __init__(self, app: AsgiApp, service: GatewayService, *, max_body_bytes: int) -> None:
        self._app = WithoutBody(app)
        self._service = service
        self._max_body_bytes = max_body_bytes
        surfaces = (*SURFACES.values(), *GEMINI_SURFACES.values())
        self._listeners = {surface: _listener(service, surface) for surface in surfaces}
        self._open_inference = OpenInferenceRestListener(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        match scope["type"]:
            case "http":
                await self._serve_http(scope, receive, send)
            case "websocket":
                await self._serve_websocket(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS" and (preflight := self._preflight(scope, receive, send)) is not None:
            await self._serve(*preflight)
        elif (surface := find_surface(scope["path"])) is not None:
            listener = self._listeners[surface]
            exchange = self._exchange(make_context(scope, listener.operation), receive, send, listener.errors)
            await self._serve(exchange, listener.handle(exchange))
        elif (target := match_path(scope["raw_path"])) is not None:
            context = make_context(scope, Operation.OPEN_INFERENCE)
            exchange = self._exchange(context, receive, send, self._open_inference.errors)
            await self._serve(exchange, self._open_inference.handle(exchange, target))
        elif (relayed := find_relayed_surface(scope["path"], scope["headers"])) is not None:
            relay = ModelRelayListener(self._service, relayed, scope, max_body_bytes=self._max_body_bytes)
            exchange = self._exchange(make_context(scope, relayed.operation), receive, send, relay.errors)
            await self._serve(exchange, relay.handle(exchange))
        elif (taken := self._take(scope)) is not None:
            context, pipeline, plan = taken
            passing = self._passing(context, pipeline, plan, scope)
            exchange = self._exchange(context, receive, send, passing.errors)
            await self._serve(exchange, passing.handle(exchange))
        else:
            await self._app(scope, receive, send)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = self._take(scope)
        if taken is None:
            exchange = WebSocketExchange(make_context(scope, Operation.PROXY), receive, send)
            await exchange.fail(NotFoundError(f"nothing is served at {scope['path']}", reason="PATH_NOT_FOUND"))
            return
        context, pipeline, plan = taken
        exchange = WebSocketExchange(context, receive, send)
        listener = WebSocketProxyListener(pipeline, plan, scope, max_message_bytes=self._max_body_bytes)
        await self._serve(exchange, listener.handle(exchange))

    def _preflight(
        self, scope: Scope, receive: Receive, send: Send
    ) -> tuple[HttpExchange, Coroutine[None, None, None]] | None:
        """The answer to a browser that asks whether a page may call, where a policy says so."""
        context = make_context(scope, Operation.PROXY)
        if (asked := read_preflight(context)) is None:
            return None
        context.method = asked.method
        found = self._cross_origins(context)
        context.method = "OPTIONS"
        if not found.policies and found.refusal is None:
            return None
        exchange = self._exchange(context, receive, send, PreflightListener.errors)
        return exchange, PreflightListener(found, asked).handle(exchange)

    def _cross_origins(self, context: RequestContext) -> CrossOrigins:
        """The policies for browsers of whatever may serve the path, the most specific first."""
        pipeline, path = self._service.pipeline, context.path
        if pipeline is None:
            return CrossOrigins()
        if find_surface(path) is not None or match_path(context.raw_path.encode("latin-1")) is not None:
            operation = Operation.CHAT
        elif (relayed := find_relayed_surface(path, context.headers.items())) is not None:
            operation = relayed.operation
        elif is_model_path(path):
            return pipeline.cross_origins_of_host(context)
        else:
            operation = Operation.PROXY
        return pipeline.cross_origins(replace(context, operation=operation))

    def _take(self, scope: Scope) -> tuple[RequestContext, Pipeline, RoutePlan] | None:
        """The route for a request that is passed through, if one takes it, in the configuration of this moment."""
        pipeline = self._service.pipeline
        if pipeline is None or is_model_path(scope["path"]):
            return None
        context = make_context(scope, Operation.PROXY)
        plan = pipeline.find_route(context)
        return None if plan is None else (context, pipeline, plan)

    def _passing(self, context: RequestContext, pipeline: Pipeline, plan: RoutePlan, scope: Scope) -> HttpProxyListener:
        """Who passes a request through."""
        if (asked := find_invocation(context, plan)) is None:
            return HttpProxyListener(self._service, pipeline, plan, scope)
        return InvocationListener(self._service, pipeline, plan, scope, asked, max_body_bytes=self._max_body_bytes)

    def _exchange(self, context: RequestContext, receive: Receive, send: Send, errors: ErrorFormat) -> HttpExchange:
        return HttpExchange(context, receive, send, errors, max_body_bytes=self._max_body_bytes)

    async def _serve(self, exchange: Exchange, handling: Coroutine[None, None, None]) -> None:
        """One request, accounted for once however it ends."""
        service, context = self._service, exchange.context
        service.active_requests += 1
        try:
            await handling
        except ClientGoneError:
            service.settle(context, _CLIENT_GONE, "CLIENT_GONE")
        except GatewayError as error:
            if not context.route and b"origin" in context.headers:
                mark_for(context, self._cross_origins(context).policies)
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


def _listener(service: GatewayService, surface: Surface) -> ChatListener | WholeListener[Any, Any]:
    if isinstance(surface, ChatSurface):
        return ChatListener(service, surface)
    return WholeListener(service, surface)


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
        raw_path=scope["raw_path"].decode("latin-1"),
        client_certificate=scope.get("state", _NO_STATE).get(CERTIFICATE, no_certificate),
    )
