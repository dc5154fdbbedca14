"""Relaying events: whatever the reads cut a stream into, only whole events go out, and all of them do."""

import json
import re
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError
from gateway.framing.framing import NDJSON
from gateway.framing.sse import MAX_EVENT_BYTES, SseParser, encode_event
from gateway.listeners.sse import EventRelay, RenamedEvents, WholeEvents
from gateway.schemas.table import OLLAMA_CHAT, OPENAI_CHAT
from tests.support.pieces import bytes_allocated, cut, single_bytes

CHAT = OPENAI_CHAT

BLOCKS = (
    b'data: {"model":"upstream","choices":[]}',
    'data: {"model":"upstream","text":"zwölf 🙂"}'.encode(),
    b'event: x\ndata: {"model":"upstream"}',
    b'data: {"model":\ndata: "upstream"}',
    b'data: {"id":1}',
    b"data: [DONE]",
    b": ping",
    b"data: not json",
)


def with_line_ends(blocks: Iterable[bytes], line_end: bytes) -> bytes:
    return b"".join((block + b"\n\n").replace(b"\n", line_end) for block in blocks)


streams = st.builds(with_line_ends, st.lists(st.sampled_from(BLOCKS)), st.sampled_from([b"\n", b"\r\n", b"\r"]))
cut_places = st.lists(st.integers(0, 300), max_size=20)


def renamed() -> RenamedEvents:
    return RenamedEvents(CHAT, "asked")


def data_of(stream: bytes) -> list[tuple[str, bytes]]:
    return [(event.event, event.data) for event in SseParser().feed(stream + b"\n\n") if event.data]


@given(streams, cut_places)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10])
def test_whole_events_pass_unchanged(stream: bytes, cuts: Sequence[int]) -> None:
    relay = WholeEvents()
    sent = [relay.feed(piece) for piece in cut(stream, cuts)]
    assert b"".join(sent) + relay.finish() == stream
    assert all(re.search(rb"(\r\n|\n|\r)(\r\n|\n|\r)$", piece) for piece in sent if piece)


@given(streams, cut_places)
def test_nothing_is_held_back_at_the_end_of_an_event(stream: bytes, cuts: Sequence[int]) -> None:
    relay = WholeEvents()
    assert b"".join(relay.feed(piece) for piece in cut(stream, cuts)) == stream


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_event_goes_out_with_its_blank_line(blank: bytes) -> None:
    relay = WholeEvents()
    assert relay.feed(b"data: a" + blank) == b"data: a" + blank
    assert relay.feed(b"data: b" + blank + b"data: c") == b"data: b" + blank
    assert relay.finish() == b"data: c"
    assert relay.finish() == b""


def test_beginning_of_an_event_waits() -> None:
    relay = WholeEvents()
    assert relay.feed(b"data: a\n") == b""
    assert relay.feed(b"\ndata:") == b"data: a\n\n"
    assert relay.feed(b" b\n\n") == b"data: b\n\n"


@given(streams, cut_places)
def test_every_event_is_renamed_however_it_is_cut(stream: bytes, cuts: Sequence[int]) -> None:
    relay = renamed()
    sent = b"".join(relay.feed(piece) for piece in cut(stream, cuts)) + relay.finish()
    expected = [(kind, data.replace(b'"upstream"', b'"asked"')) for kind, data in data_of(stream)]
    assert [(kind, _compact(data)) for kind, data in data_of(sent)] == [
        (kind, _compact(data)) for kind, data in expected
    ]


def _compact(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data


@given(streams, cut_places)
def test_renaming_sends_whole_events_only(stream: bytes, cuts: Sequence[int]) -> None:
    relay = renamed()
    for piece in cut(stream, cuts):
        parser = SseParser()
        list(parser.feed(relay.feed(piece) + b"data: end\n\n"))
        assert parser.pending == b""


@pytest.mark.parametrize("event", [b": ping\n\n", b"data: [DONE]\n\n", b'data: {"id":1}\r\n\r\n', b"data: no json\n\n"])
def test_event_without_a_model_stays_byte_for_byte(event: bytes) -> None:
    assert renamed().feed(event) == event


def test_renamed_event_keeps_its_type_and_its_other_fields() -> None:
    assert renamed().feed(b'event: chunk\ndata: {"id": 1, "model": "upstream"}\n\n') == encode_event(
        b'{"id":1,"model":"asked"}', "chunk"
    )


def test_last_event_without_blank_line_is_renamed_too() -> None:
    relay = renamed()
    assert relay.feed(b'data: {"model":"upstream"}') == b""
    assert relay.finish() == b'data: {"model":"asked"}\n\n'
    assert relay.finish() == b""


def test_nested_model_is_left_alone() -> None:
    event = b'data: {"model":"upstream","choices":[{"model":"upstream"}]}\n\n'
    assert renamed().feed(event) == b'data: {"model":"asked","choices":[{"model":"upstream"}]}\n\n'


LINES = b'{"model":"upstream","done":false}\n{"model":"upstream","done":true}\n'


@given(cut_places)
def test_lines_pass_as_they_come(cuts: Sequence[int]) -> None:
    relay = WholeEvents(NDJSON)
    pieces = cut(LINES, cuts)
    sent = [relay.feed(piece) for piece in pieces]
    assert b"".join(sent) == LINES
    assert all(piece.endswith(b"\n") for piece in sent if piece)
    assert relay.finish() == b""


def test_last_line_without_its_end_passes_too() -> None:
    relay = WholeEvents(NDJSON)
    assert relay.feed(LINES + b"{}") == LINES
    assert relay.finish() == b"{}"


@given(cut_places)
def test_every_line_is_renamed_however_it_is_cut(cuts: Sequence[int]) -> None:
    relay = RenamedEvents(OLLAMA_CHAT, "asked")
    sent = b"".join(relay.feed(piece) for piece in cut(LINES.removesuffix(b"\n"), cuts)) + relay.finish()
    assert sent == LINES.replace(b"upstream", b"asked")


@pytest.mark.parametrize("make", [WholeEvents, renamed])
def test_event_without_end_is_an_error_of_the_upstream(make: Callable[[], EventRelay]) -> None:
    relay = make()
    assert relay.feed(b"x" * MAX_EVENT_BYTES) == b""
    with pytest.raises(BadGatewayError, match="longer than 16777216 bytes"):
        relay.feed(b"x")


def test_holding_an_event_copies_each_byte_a_few_times_at_most() -> None:
    relay = WholeEvents()
    relay.feed(b"data: ")
    # Copying what is held each time takes 5 GB or more.
    assert bytes_allocated(relay.feed, [b"x"] * 100_000) < 500_000_000


def test_megabyte_of_single_bytes_is_held_and_sent() -> None:
    # Searching from the start again for every byte would take minutes, and fail by the time limit of the test.
    relay = WholeEvents()
    text = b"data: " + b"x" * 1_000_000 + b"\n\n"
    sent = [out for piece in single_bytes(text) if (out := relay.feed(piece))]
    assert sent == [text]
