"""Answers of backends that speak another dialect than the caller."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.signatures import sealed
from gateway.types import ChatEvent, Usage, UsageReported


class TranslatedEvents:
    """Translates a stream, event by event: what came in one read goes out in one write.

    An event that fails ends the stream, but what came before it in the same read is not lost.
    """

    def __init__(
        self, source: ChatDialect, target: ChatDialect, settings: AnswerSettings, context: RequestContext
    ) -> None:
        self._parser = source.framing.parser()
        self._source = source.name
        self._decoder = source.event_decoder()
        self._encoder = target.event_encoder(settings)
        self._context = context
        self.failure: GatewayError | None = None

    def feed(self, data: bytes) -> bytes:
        """The events that the bytes complete, in the caller's dialect, up to the first that fails."""
        events: list[ChatEvent] = []
        try:
            for event in self._parser.feed(data):
                events += sealed(self._decoder.decode(event), self._source)
        except GatewayError as error:
            self.failure = error
        self._context.usage = usage_of(events) or self._context.usage
        return self._encoder.encode(events) if events else b""

    def finish(self) -> bytes:
        """The end of the stream, with the last event if the backend left out its end. Raises what decoding raises."""
        last = self.feed(b"\n\n") if self._parser.pending else b""
        if self.failure is not None:
            raise self.failure
        return last + self._encoder.finish()


@dataclass(frozen=True, slots=True)
class TranslatedAnswer:
    """A whole answer in the caller's dialect, and what it cost."""

    body: bytes
    usage: Usage | None


def translated_answer(
    events: Iterable[ChatEvent], target: ChatDialect, settings: AnswerSettings, *, is_streaming: bool
) -> TranslatedAnswer:
    """The answer that these events are; as a stream at once, if one was asked for and the backend gave none."""
    events = list(events)
    if is_streaming:
        encoder = target.event_encoder(settings)
        body = encoder.encode(events) + encoder.finish()
    else:
        body = target.encode_answer(events, settings)
    return TranslatedAnswer(body, usage_of(events))


def usage_of(events: Iterable[ChatEvent]) -> Usage | None:
    """The last usage that is told."""
    usage: Usage | None = None
    for event in events:
        if isinstance(event, UsageReported):
            usage = event.usage
    return usage
