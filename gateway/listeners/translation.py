"""Answers of backends that speak another dialect than the caller."""

from collections.abc import Iterable, Sequence

from gateway.context import RequestContext
from gateway.edits import EditedEvents
from gateway.errors import GatewayError
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.signatures import sealed
from gateway.types import ChatEvent, Usage, UsageReported


class TranslatedEvents:
    """Translates a stream, event by event: what came in one read goes out in one write. Where policies change what is
    said, it is changed on the way.

    An event that fails ends the stream, but what came before it in the same read is not lost.
    """

    def __init__(
        self, source: ChatDialect, target: ChatDialect, settings: AnswerSettings, context: RequestContext
    ) -> None:
        self._parser = source.framing.parser()
        self._source = source.name
        self._is_sealed = source is not target
        self._decoder = source.event_decoder()
        self._encoder = target.event_encoder(settings)
        self._context = context
        edits = context.answer_edits
        self._edited = EditedEvents(edits) if edits is not None and edits.events else None
        self.failure: GatewayError | None = None

    def feed(self, data: bytes) -> bytes:
        """The events that the bytes complete, in the caller's dialect, up to the first that fails."""
        events: list[ChatEvent] = []
        try:
            for event in self._parser.feed(data):
                decoded = self._decoder.decode(event)
                if self._is_sealed:
                    decoded = sealed(decoded, self._source)
                self._context.usage = usage_of(decoded) or self._context.usage
                if self._edited is None:
                    events += decoded
                else:
                    for each in decoded:
                        events += self._edited.edit(each)
        except GatewayError as error:
            self.failure = error
        return self._encoder.encode(events) if events else b""

    async def settle(self) -> bytes:
        """What policies let go once they have asked others. Raises what they raise."""
        settled = await self._edited.settle() if self._edited is not None else []
        return self._encoder.encode(settled) if settled else b""

    def finish(self) -> bytes:
        """The end of the stream, with the last event if the backend left out its end. Raises what decoding raises."""
        last = self._last()
        return last + self._ended(list(self._edited.finish()) if self._edited is not None else [])

    async def end(self) -> bytes:
        """The same, for an answer that policies ask others about."""
        last = self._last()
        return last + self._ended(await self._edited.end() if self._edited is not None else [])

    def _last(self) -> bytes:
        last = self.feed(b"\n\n") if self._parser.pending else b""
        if self.failure is not None:
            raise self.failure
        return last

    def _ended(self, held: Sequence[ChatEvent]) -> bytes:
        return (self._encoder.encode(held) if held else b"") + self._encoder.finish()


def translated_answer(
    events: Iterable[ChatEvent], target: ChatDialect, settings: AnswerSettings, *, is_streaming: bool
) -> bytes:
    """The answer that these events are; as a stream at once, if one was asked for and the backend gave none."""
    if is_streaming:
        encoder = target.event_encoder(settings)
        return encoder.encode(events) + encoder.finish()
    return target.encode_answer(events, settings)


def usage_of(events: Iterable[ChatEvent]) -> Usage | None:
    """The last usage that is told."""
    usage: Usage | None = None
    for event in events:
        if isinstance(event, UsageReported):
            usage = event.usage
    return usage
