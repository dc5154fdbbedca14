"""Conversations over HTTP, in any dialect: the body is read for routing only, and the answer relayed as it comes where
the backend speaks the same dialect, else translated."""

import time

from gateway.edits import AnswerEdits, edited_events
from gateway.errors import MethodNotAllowedError
from gateway.listeners.cached import CachedCall
from gateway.listeners.cached_http import answer_cached
from gateway.listeners.disconnect import CancelOnDisconnect
from gateway.listeners.hidden_usage import HiddenUsage
from gateway.listeners.http_exchange import AnswerSink, HttpExchange, relayed_headers
from gateway.listeners.service import GatewayService
from gateway.listeners.sse import (
    ChangedEvents,
    ChangedJudgedEvents,
    EventRelay,
    JudgedRelay,
    RenamedEvents,
    WholeEvents,
)
from gateway.listeners.surfaces import ChatSurface, Head
from gateway.listeners.translation import TranslatedEvents, translated_answer, usage_of
from gateway.operations.inference import ChatBody
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect, UsageOnDemand
from gateway.schemas.json_edit import edited_answer
from gateway.schemas.signatures import sealed
from gateway.types import Operation
from gateway.upstream.answer import Exchange, StreamAnswer, UnaryAnswer


class ChatListener:
    """Handles the requests of one surface."""

    operation = Operation.CHAT

    def __init__(self, service: GatewayService, surface: ChatSurface) -> None:
        self._service = service
        self._surface = surface
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
        context.is_streaming = head.is_streaming
        pipeline = self._service.pin()
        plan = await pipeline.route(context)
        inbound = ChatBody(self._surface.dialect, body, head.model)
        async with CancelOnDisconnect(exchange.receive):
            if plan.cache is not None:
                await answer_cached(
                    exchange,
                    CachedCall(
                        self._service,
                        pipeline,
                        plan,
                        inbound,
                        form=f"{self._surface.dialect.name} {head.includes_usage}",
                    ),
                    lambda sink, answer: self._relay(sink, answer, head),
                )
                return
            answer = await pipeline.call(context, plan, inbound)
            context.first_content_at = time.perf_counter()
            await self._relay(exchange, answer, head)

    async def _relay(self, exchange: AnswerSink, answered: Exchange[ChatDialect], head: Head) -> None:
        """Sends the answer of a backend."""
        answer, dialect = answered.answer, answered.dialect
        is_same = dialect is self._surface.dialect
        match answer:
            case UnaryAnswer() if is_same and not _is_read(exchange):
                exchange.context.usage = dialect.read_usage(answer.body)
                body = answer.body
                if answered.rename_model_to is not None:
                    body = dialect.with_model(body, answered.rename_model_to)
                if (edits := exchange.context.answer_edits) is not None and edits.json:
                    body = edited_answer(body, edits.json)
                await exchange.answer(answer.status, relayed_headers(answer.headers), body)
            case UnaryAnswer():
                await self._translate_whole(exchange, answer, dialect, head)
            case StreamAnswer():
                try:
                    await self._relay_stream(exchange, answered, answer, head)
                finally:
                    if is_same:
                        exchange.context.usage = answer.rest.usage
                    answer.rest.close()

    async def _translate_whole(
        self, exchange: AnswerSink, answer: UnaryAnswer, dialect: ChatDialect, head: Head
    ) -> None:
        own, edits = self._surface.dialect, exchange.context.answer_edits
        decoded = dialect.decode_answer(answer.body)
        if dialect is not own:
            decoded = sealed(decoded, dialect.name)
        exchange.context.usage = usage_of(decoded)
        events = await edited_events(edits, decoded)
        body = translated_answer(events, own, _settings(head), is_streaming=head.is_streaming)
        if edits is not None and edits.json:
            body = _changed(body, own, edits, is_stream=head.is_streaming)
        content_type = own.framing.content_type if head.is_streaming else "application/json"
        relayed = relayed_headers(answer.headers) if dialect is own else []
        headers = [(name, value) for name, value in relayed if name != b"content-type"]
        await exchange.answer(200, [*headers, (b"content-type", content_type.encode())], body)

    async def _relay_stream(
        self, exchange: AnswerSink, answered: Exchange[ChatDialect], answer: StreamAnswer, head: Head
    ) -> None:
        """Sends each read as one write, so that nothing waits for more."""
        edits = exchange.context.answer_edits
        judged = None if edits is None or not edits.is_judged else self._judged_relay(exchange, answered, head, edits)
        relay = judged or self._event_relay(exchange, answered, head)
        headers = relayed_headers(answer.headers)
        if answered.dialect is not self._surface.dialect:
            content_type = self._surface.dialect.framing.content_type
            headers = [(b"content-type", content_type.encode())]
        headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await exchange.start_stream(200, headers)
        send, read, feed = exchange.send, answer.rest.read, relay.feed
        data = answer.first
        while data:
            if out := feed(data):
                await send({"type": "http.response.body", "body": out, "more_body": True})
            if relay.failure is not None:
                raise relay.failure
            if judged is not None and (out := await judged.settle()):
                await exchange.send_part(out)
            data = await read()
        await exchange.send_part(relay.finish() if judged is None else await judged.end(), is_last=True)

    def _event_relay(self, exchange: AnswerSink, answered: Exchange[ChatDialect], head: Head) -> EventRelay:
        relay = self._unchanged_relay(exchange, answered, head)
        edits = exchange.context.answer_edits
        if edits is not None and edits.json:
            relay = ChangedEvents(self._surface.dialect.framing, edits.json, relay)
        return relay

    def _judged_relay(
        self, exchange: AnswerSink, answered: Exchange[ChatDialect], head: Head, edits: AnswerEdits
    ) -> JudgedRelay:
        """That of an answer which policies ask others about."""
        own = self._surface.dialect
        relay = TranslatedEvents(answered.dialect, own, _settings(head), exchange.context)
        return ChangedJudgedEvents(own.framing, edits.json, relay) if edits.json else relay

    def _unchanged_relay(self, exchange: AnswerSink, answered: Exchange[ChatDialect], head: Head) -> EventRelay:
        own, theirs = self._surface.dialect, answered.dialect
        if theirs is not own or _is_read(exchange):
            return TranslatedEvents(theirs, own, _settings(head), exchange.context)
        relay: EventRelay
        if answered.rename_model_to is None:
            relay = WholeEvents(own.framing)
        else:
            relay = RenamedEvents(own, answered.rename_model_to)
        if answered.hides_usage and isinstance(own, UsageOnDemand):
            relay = HiddenUsage(own, own.framing, relay)
        return relay


def _is_read(exchange: AnswerSink) -> bool:
    """Whether policies look at what is said, so that also the caller's own dialect must be understood."""
    edits = exchange.context.answer_edits
    return edits is not None and bool(edits.events)


def _changed(body: bytes, dialect: ChatDialect, edits: AnswerEdits, *, is_stream: bool) -> bytes:
    """A whole body with the changes of policies to its JSON."""
    if not is_stream:
        return edited_answer(body, edits.json)
    events = ChangedEvents(dialect.framing, edits.json, WholeEvents(dialect.framing))
    return events.feed(body) + events.finish()


def _settings(head: Head) -> AnswerSettings:
    return AnswerSettings(model=head.model, includes_usage=head.includes_usage)
