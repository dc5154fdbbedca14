"""OpenAI's paths over HTTP: the body is read for routing only, and the answer relayed as it comes."""

import time
from collections.abc import Mapping

from gateway.errors import GatewayError, MethodNotAllowedError
from gateway.framing.sse import encode_event
from gateway.listeners.disconnect import CancelOnDisconnect
from gateway.listeners.errors import ErrorAnswer, openai_error, openai_error_body
from gateway.listeners.http_exchange import HttpExchange, relayed_headers
from gateway.listeners.service import GatewayService
from gateway.listeners.sse import EventRelay, RenamedEvents, WholeEvents
from gateway.operations.inference import OpenAIInbound
from gateway.schemas.openai_fields import read_request
from gateway.types import Operation
from gateway.upstream.answer import Exchange, StreamAnswer, UnaryAnswer

OPERATIONS: Mapping[str, Operation] = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/embeddings": Operation.EMBEDDINGS,
}


class OpenAIErrors:
    """Errors as OpenAI writes them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"error": {…}}`."""
        return openai_error(error)

    def event(self, error: GatewayError) -> bytes:
        """The same as an event named `error`."""
        return encode_event(openai_error_body(error), "error")


class OpenAIListener:
    """Handles the requests of `OPERATIONS`."""

    errors = OpenAIErrors()

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    async def handle(self, exchange: HttpExchange) -> None:
        """One request, up to the end of its answer."""
        context = exchange.context
        if context.method != "POST":
            exchange.end_after_body()
            raise MethodNotAllowedError(f"{context.path} takes POST, not {context.method}")
        body = await exchange.read_body()
        head = read_request(body)
        context.model = head.model
        context.is_streaming = bool(head.stream) and context.operation is Operation.CHAT
        pipeline = self._service.pin()
        plan = pipeline.route(context)
        async with CancelOnDisconnect(exchange.receive):
            answer = await pipeline.call(context, plan, OpenAIInbound(body, head))
            context.first_content_at = time.perf_counter()
            await _relay(exchange, answer)


async def _relay(exchange: HttpExchange, answered: Exchange) -> None:
    """Sends the answer of a backend."""
    match answered.answer:
        case UnaryAnswer() as answer:
            exchange.context.usage = answered.dialect.read_usage(answer.body)
            body = answer.body
            if answered.rename_model_to is not None:
                body = answered.dialect.with_model(body, answered.rename_model_to)
            await exchange.answer(answer.status, relayed_headers(answer.headers), body)
        case StreamAnswer() as answer:
            try:
                await _relay_stream(exchange, answer, _event_relay(answered))
            finally:
                exchange.context.usage = answer.rest.usage
                answer.rest.close()


async def _relay_stream(exchange: HttpExchange, answer: StreamAnswer, relay: EventRelay) -> None:
    """Sends each read as one write, so that nothing waits for more."""
    headers = relayed_headers(answer.headers)
    headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    await exchange.start_stream(200, headers)
    send, read, feed = exchange.send, answer.rest.read, relay.feed
    data = answer.first
    while data:
        if out := feed(data):
            await send({"type": "http.response.body", "body": out, "more_body": True})
        data = await read()
    await exchange.send_part(relay.finish(), is_last=True)


def _event_relay(exchange: Exchange) -> EventRelay:
    if exchange.rename_model_to is None:
        return WholeEvents()
    return RenamedEvents(exchange.dialect, exchange.rename_model_to)
