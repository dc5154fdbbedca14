"""Requests that are passed through: any path and method that a route takes, relayed both ways as they come."""

import re
import time

from gateway.context import RequestContext
from gateway.errors import GatewayError, InvalidRequestError
from gateway.listeners.cached import CachedCall
from gateway.listeners.cached_proxy import answer_proxied
from gateway.listeners.disconnect import CancelOnDisconnect, Scope
from gateway.listeners.errors import ErrorAnswer, problem
from gateway.listeners.http_exchange import AnswerSink, ErrorFormat, HttpExchange
from gateway.listeners.request_body import RequestBody
from gateway.listeners.service import GatewayService
from gateway.operations.http_proxy import HttpProxyInbound, ProxyAnswer, UpstreamAnswerError
from gateway.operations.request_path import check_query, checked_path
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.providers.pass_through import CONNECTION_HEADERS, ClientSide, nominated
from gateway.response_cache.http_terms import headers_in_key, is_keepable
from gateway.upstream.answer import RawHeaders

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# What the node says itself, and what would lead clients around it.
_NOT_RELAYED = CONNECTION_HEADERS | {b"date", b"x-request-id", b"alt-svc"}

_NO_WEBSOCKETS = "this node opens no WebSockets: it runs with --server granian, and only --server hypercorn can"


class ProxyErrors:
    """The node's own errors are `application/problem+json`; a backend's answer is shown as it came."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """The error as a whole answer."""
        if isinstance(error, UpstreamAnswerError):
            return ErrorAnswer(error.status, None, error.body, headers=tuple(passed_through_headers(error.headers)))
        return problem(error)

    def event(self, error: GatewayError) -> bytes | None:
        """A body that is cut short is the only sign there is."""
        return None


class HttpProxyListener:
    """Handles one request, for the route that takes it."""

    errors: ErrorFormat = ProxyErrors()

    def __init__(self, service: GatewayService, pipeline: Pipeline, plan: RoutePlan, scope: Scope) -> None:
        self._service = service
        self._pipeline = pipeline
        self._plan = plan
        self._scope = scope

    async def handle(self, exchange: HttpExchange) -> None:
        """One request, up to the end of its answer."""
        context = exchange.context
        body = RequestBody(exchange.receive)
        try:
            path = checked_target(context)
            if context.method == "GET" and context.headers.get(b"upgrade", b"").lower() == b"websocket":
                # Only a server that opens none lets it come here.
                raise InvalidRequestError(_NO_WEBSOCKETS, reason="NO_WEBSOCKETS")
            context.body_size = lambda: body.size(context.headers)
            await self._pipeline.admit(context, self._plan)
            body.max_bytes = self._plan.filters_for(context.consumer).max_body_bytes
            inbound = await self._inbound(context, path, body)
            async with CancelOnDisconnect(exchange.receive, after=body.ended):
                if (cache := self._plan.cache) is not None and is_keepable(context.method, context.headers):
                    await answer_proxied(exchange, self._cached(context, inbound), cache.config, self._relay)
                    await exchange.send_part(b"", is_last=True)
                    return
                answer = await self._pipeline.call(context, self._plan, inbound)
                context.first_content_at = time.perf_counter()
                try:
                    await self._relay(exchange, answer)
                finally:
                    answer.rest.close()
        finally:
            if not body.ended.is_set():
                exchange.end_after_body()
        await exchange.send_part(b"", is_last=True)

    def _cached(self, context: RequestContext, inbound: HttpProxyInbound) -> CachedCall[ProxyAnswer]:
        query = context.query_string.decode("latin-1")
        return CachedCall(self._service, self._pipeline, self._plan, inbound, form=query, see=headers_in_key)

    async def _inbound(self, context: RequestContext, path: str, body: RequestBody) -> HttpProxyInbound:
        is_http2 = self._scope["http_version"] == "2"
        parts = await body.parts(context.method, context.headers, is_http2=is_http2)
        return HttpProxyInbound(
            self._plan.route,
            path=path,
            headers=self._scope["headers"],
            client=client_side(context, self._scope),
            body=parts,
        )

    async def _relay(self, exchange: AnswerSink, answer: ProxyAnswer) -> None:
        """Sends each read as one write, all but the end."""
        await exchange.start_stream(answer.status, passed_through_headers(answer.headers))
        if not answer.first:
            await exchange.send_part(b"")  # the head must not wait for the body
        data = answer.first or await answer.rest.read()
        while data:
            await exchange.send_part(data)
            data = await answer.rest.read()


def checked_target(context: RequestContext) -> str:
    """The path as it came, percent-encoding and all. Raises `InvalidRequestError` for what cannot be passed through."""
    if context.method == "CONNECT" or _METHOD.fullmatch(context.method) is None:
        raise InvalidRequestError("the method must be a word other than CONNECT")
    check_query(context.query_string)
    return checked_path(context.raw_path.encode("latin-1"))


def client_side(context: RequestContext, scope: Scope) -> ClientSide:
    """What the backend is told of the client."""
    return ClientSide(
        request_id=context.request_id,
        address=context.client_address,
        scheme="https" if scope["scheme"] in ("https", "wss") else "http",
        http_version=scope["http_version"],
        authority=context.headers.get(b"host", b"").decode("latin-1"),
    )


def passed_through_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The backend's end-to-end headers."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _NOT_RELAYED | nominated(lowered)
    return [(name, value) for name, value in lowered if name not in dropped and not name.startswith(b"x-janua-")]
