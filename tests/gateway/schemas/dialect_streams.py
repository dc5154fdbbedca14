"""Streams written and read through a dialect, as the data path does it."""

from collections.abc import Iterable, Sequence

from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.types import ChatEvent

SETTINGS = AnswerSettings(model="asked")


def decoded(dialect: ChatDialect, pieces: Iterable[bytes]) -> list[ChatEvent]:
    """The events in a stream, read in these pieces. Nothing may be left over."""
    parser = dialect.framing.parser()
    decoder = dialect.event_decoder()
    events = [each for piece in pieces for event in parser.feed(piece) for each in decoder.decode(event)]
    assert parser.pending == b""
    return events


def streamed(dialect: ChatDialect, groups: Iterable[Sequence[ChatEvent]]) -> bytes:
    """The stream that events make, which come together in groups."""
    encoder = dialect.event_encoder(SETTINGS)
    return b"".join(encoder.encode(group) for group in groups) + encoder.finish()


def through_stream(dialect: ChatDialect, groups: Iterable[Sequence[ChatEvent]]) -> list[ChatEvent]:
    """The events, written and read again."""
    return decoded(dialect, [streamed(dialect, groups)])


def through_whole(dialect: ChatDialect, events: Iterable[ChatEvent]) -> list[ChatEvent]:
    """The same for a whole answer."""
    return list(dialect.decode_answer(dialect.encode_answer(events, SETTINGS)))
