"""Requests over HTTP whose answers come whole, in any dialect: vectors, ranking, counts of tokens."""

import time
from hashlib import sha256
from typing import Generic

from gateway.errors import BadGatewayError, MethodNotAllowedError
from gateway.filters.phases import Filters
from gateway.listeners.cached import CachedCall
from gateway.listeners.cached_http import answer_cached
from gateway.listeners.disconnect import CancelOnDisconnect
from gateway.listeners.http_exchange import AnswerSink, HttpExchange, relayed_headers
from gateway.listeners.service import GatewayService
from gateway.listeners.surfaces import WholeSurface
from gateway.operations.inference import WholeBody
from gateway.response_cache.request_key import canonical_json
from gateway.schemas.json_edit import edited_answer
from gateway.schemas.whole_dialect import A, Q, WholeTarget, read_answer
from gateway.upstream.answer import Exchange, UnaryAnswer


class WholeListener(Generic[Q, A]):
    """Handles the requests of one surface."""

    def __init__(self, service: GatewayService, surface: WholeSurface[Q, A]) -> None:
        self._service = service
        self._surface = surface
        self.operation = surface.asks.operation
        self.errors = surface.errors

    async def handle(self, exchange: HttpExchange) -> None:
        """One request, up to the end of its answer."""
        context = exchange.context
        if context.method != "POST":
            exchange.end_after_body()
            raise MethodNotAllowedError(f"{context.path} takes POST, not {context.method}")
        body = await exchange.read_body()
        head = self._surface.read_head(context.path, context.query, body)
        context.model = head.model
        pipeline = self._service.pin()
        plan = await pipeline.route(context)
        inbound = self._surface.asks(self._surface.dialect, body, head.model)
        async with CancelOnDisconnect(exchange.receive):
            if plan.cache is not None:
                await answer_cached(
                    exchange,
                    CachedCall(
                        self._service,
                        pipeline,
                        plan,
                        inbound,
                        form=self._form(plan.filters_for(context.consumer), body),
                    ),
                    lambda sink, answer: self._relay(sink, answer, inbound),
                )
                return
            answered: Exchange[WholeTarget[Q, A]] = await pipeline.call(context, plan, inbound)
            context.first_content_at = time.perf_counter()
            await self._relay(exchange, answered, inbound)

    def _form(self, filters: Filters, body: bytes) -> str:
        """How vectors and ranks are written is said in the body as it came, which policies may have changed since."""
        name = self._surface.dialect.name
        return name if not filters.request_editors else f"{name} {sha256(canonical_json(body) or body).hexdigest()}"

    async def _relay(
        self, exchange: AnswerSink, answered: Exchange[WholeTarget[Q, A]], inbound: WholeBody[Q, A]
    ) -> None:
        answer, dialect, own = answered.answer, answered.dialect, self._surface.dialect
        if not isinstance(answer, UnaryAnswer):
            answer.rest.close()
            raise BadGatewayError("the upstream streamed what nobody asked it to", reason="UPSTREAM_MALFORMED")
        if dialect is own:
            exchange.context.usage = dialect.read_usage(answer.body)
            body = answer.body
            if answered.rename_model_to is not None:
                body = dialect.with_model(body, answered.rename_model_to)
            body = _changed(exchange, body)
            await exchange.answer(answer.status, relayed_headers(answer.headers), body)
            return
        decoded = read_answer(dialect, answer.body, answer.headers)
        exchange.context.usage = decoded.usage
        body = _changed(exchange, own.encode_answer(decoded, inbound.canonical(), inbound.model))
        await exchange.answer(200, [(b"content-type", b"application/json")], body)


def _changed(exchange: AnswerSink, body: bytes) -> bytes:
    """The answer with the changes of policies to its JSON."""
    edits = exchange.context.answer_edits
    return edited_answer(body, edits.json) if edits is not None and edits.json else body
