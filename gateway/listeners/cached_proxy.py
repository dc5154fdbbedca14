"""Answers of routes with a cache that pass through: to GET alone, and by HTTP's own rules as well as the policy's."""

import time
from collections.abc import Awaitable, Callable

from gateway.config.snapshot import CacheConfig
from gateway.context import RequestContext
from gateway.listeners.cached import CachedCall
from gateway.listeners.cached_http import Recorder, send_answer
from gateway.listeners.http_exchange import AnswerSink, HttpExchange
from gateway.operations.http_proxy import ProxyAnswer, UpstreamAnswerError
from gateway.response_cache.flight import Flight
from gateway.response_cache.http_terms import answer_terms
from gateway.response_cache.recording import AnswerHead, AnswerReader

Relay = Callable[[AnswerSink, ProxyAnswer], Awaitable[None]]


async def answer_proxied(
    exchange: HttpExchange, call: CachedCall[ProxyAnswer], config: CacheConfig, relay: Relay
) -> None:
    """Answers a request, all but the end of its body. Who has joined a call whose answer turns out to be for its first
    caller alone asks for itself."""
    context = exchange.context

    async def ask(sink: AnswerSink) -> None:
        answer = await call.forward(sink.context)
        sink.context.first_content_at = time.perf_counter()
        try:
            await relay(sink, answer)
        finally:
            answer.rest.close()

    answer = await call.answer(context, lambda flight: ask(_ProxyRecorder(flight, config)))
    if answer is not None:
        async with answer:
            if await _is_for(context, answer):
                await send_answer(exchange, answer)
                return
        call.retell(context, "bypass")
    await ask(exchange)


async def _is_for(context: RequestContext, answer: AnswerReader) -> bool:
    """Whether the answer is for this caller too. Raises what the call fails with, if that is the caller's affair."""
    is_joined = context.cache == "coalesced"
    try:
        head = await answer.read_head()
    except UpstreamAnswerError:
        if is_joined:
            return False
        raise
    return not is_joined or head.terms is None or head.terms.is_shared


class _ProxyRecorder(Recorder):
    """Notes on what terms an answer may be kept."""

    def __init__(self, flight: Flight, config: CacheConfig) -> None:
        super().__init__(flight)
        self._config = config

    async def start_stream(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins an answer whose body follows."""
        context, config = self.context, self._config
        terms = answer_terms(
            status,
            headers,
            context.headers,
            is_known=context.consumer is not None,
            ttl_s=config.ttl_s,
            stale_s=config.stale_s,
        )
        edits = self.flight.header_edits
        self.flight.begin(AnswerHead(False, status, tuple(headers), edits, terms))
