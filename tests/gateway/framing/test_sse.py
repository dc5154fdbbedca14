"""Server-sent events: whatever the reads cut a stream into, the same events come out, and no byte is lost."""

import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.framing.sse import EventTooLargeError, ServerSentEvent, SseParser, encode_event
from tests.support.pieces import bytes_allocated, cut, single_bytes

LINE_ENDS = (b"\n", b"\r\n", b"\r")
LINES = (
    b"",
    b"data: a",
    b"data:b",
    b"data:  two spaces",
    b"data",
    b"data:",
    "data: zwölf 🙂".encode(),
    b'data: {"a": "b: c"}',
    b"data: [DONE]",
    b"event: error",
    b"event",
    b": comment",
    b":",
    b"id: 7",
    b"retry: 10",
    b"unknown: field",
    b"\xef\xbb\xbfdata: marked",
    b" data: not a field",
)

lines = st.tuples(st.sampled_from(LINES), st.sampled_from(LINE_ENDS)).map(b"".join)
streams = st.builds(
    lambda mark, body: mark + b"".join(body), st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(lines, max_size=12)
)


def parse(pieces: Iterable[bytes]) -> tuple[list[ServerSentEvent], bytes]:
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.pending


def read_as_the_standard_says(data: bytes) -> list[tuple[str, bytes]]:
    """Type and data of every event that has data, line by line as in the standard, from the whole stream at once."""
    rows = re.split(rb"\r\n|\r|\n", data.removeprefix(b"\xef\xbb\xbf"))[:-1]
    found: list[tuple[str, bytes]] = []
    collected: list[bytes] = []
    kind = ""
    for row in rows:
        if not row:
            if any(collected):
                found.append((kind, b"\n".join(collected)))
            collected, kind = [], ""
            continue
        name, _, value = row.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"data":
            collected.append(value)
        elif name == b"event":
            kind = value.decode()
    return found


@given(streams, st.lists(st.integers(0, 200), max_size=20))
@example(b"data: a\r\n\r\ndata: b\n\n", [7, 8, 9, 10, 11])
@example(b"data: a\r\rdata: b\r\r", [8, 9])
@example(b"data: a\n\r\ndata: b\r\n\n", [8, 9, 19, 20])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example("data: 🙂\n\n".encode(), [7, 8, 9])
def test_any_split_gives_the_same_events(data: bytes, cuts: Sequence[int]) -> None:
    whole, pending = parse([data])
    assert parse(cut(data, cuts)) == (whole, pending)
    assert b"".join(event.raw for event in whole) + pending == data


@given(streams)
def test_single_bytes_give_the_same_events(data: bytes) -> None:
    assert parse(single_bytes(data)) == parse([data])


@given(streams)
def test_events_are_those_of_the_standard(data: bytes) -> None:
    # A carriage return at the very end may be half of a line end, so the last line is ended for both.
    data += b"\n\n"
    events, _ = parse([data])
    assert [(event.event, event.data) for event in events if event.data.strip(b"\n")] == [
        found for found in read_as_the_standard_says(data) if found[1].strip(b"\n")
    ]


@pytest.mark.parametrize(
    ("stream", "data", "event"),
    [
        (b"data: a\n\n", b"a", ""),
        (b"data:a\n\n", b"a", ""),
        (b"data:  a\n\n", b" a", ""),
        (b"data: a\r\n\r\n", b"a", ""),
        (b"data: a\ndata: b\n\n", b"a\nb", ""),
        (b"data: a\n: ping\ndata: b\n\n", b"a\nb", ""),
        (b"data\n\n", b"", ""),
        (b": ping\n\n", b"", ""),
        (b"event: error\ndata: a\n\n", b"a", "error"),
        (b"event: \xff\ndata: a\n\n", b"a", "�"),
        (b"\n\n", b"", ""),
        (b"\ndata: a\n\n", b"a", ""),
        (b"\xef\xbb\xbfdata: a\n\n", b"a", ""),
        (b"data: a\x00b\n\n", b"a\x00b", ""),
    ],
)
def test_event(stream: bytes, data: bytes, event: str) -> None:
    assert parse([stream]) == ([ServerSentEvent(data, event, stream)], b"")


def test_byte_order_mark_counts_at_the_start_only() -> None:
    events, _ = parse([b"data: a\n\n\xef\xbb\xbfdata: b\n\n"])
    assert [event.data for event in events] == [b"a", b""]


def test_carriage_return_at_the_end_waits_for_its_line_feed() -> None:
    parser = SseParser()
    assert list(parser.feed(b"data: a\r\n\r")) == []
    assert [event.raw for event in parser.feed(b"\n")] == [b"data: a\r\n\r\n"]


def test_events_that_nobody_asked_for_yet_are_kept() -> None:
    parser = SseParser()
    first = next(parser.feed(b"data: a\n\ndata: b\n\ndata: c"))
    assert first.data == b"a"
    assert parser.pending == b"data: b\n\ndata: c"
    assert [event.data for event in parser.feed(b"d\n\n")] == [b"b", b"cd"]


def test_event_without_end_is_bounded() -> None:
    parser = SseParser(max_event_bytes=20)
    assert list(parser.feed(b"data: 4567890123")) == []
    with pytest.raises(EventTooLargeError, match="longer than 20 bytes"):
        parser.feed(b"45678")


def test_many_small_events_are_not_too_large() -> None:
    parser = SseParser(max_event_bytes=20)
    assert len(list(parser.feed(b"data: a\n\n" * 100))) == 100
    assert len(list(parser.feed(b"data: b\n\n" * 100 + b"data: c"))) == 100
    with pytest.raises(EventTooLargeError):
        parser.feed(b"c" * 20)


def test_megabyte_of_single_bytes_is_one_event() -> None:
    # Searching from the start again for every byte would take minutes, and fail by the time limit of the test.
    text = b"data: " + b"x" * 1_000_000 + b"\n\n"
    events, pending = parse(single_bytes(text))
    assert [len(event.data) for event in events] == [1_000_000]
    assert pending == b""


def test_collecting_an_event_copies_each_byte_a_few_times_at_most() -> None:
    parser = SseParser()
    list(parser.feed(b"data: "))
    # What every call makes, and the buffer's growth, is far below this; copying the buffer each time takes 5 GB.
    assert bytes_allocated(lambda piece: list(parser.feed(piece)), [b"x"] * 100_000) < 500_000_000


@given(
    st.binary(min_size=1).filter(lambda data: b"\r" not in data),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])).map(str.lstrip),
)
def test_encoded_event_is_read_back(data: bytes, event: str) -> None:
    wire = encode_event(data, event)
    assert parse([wire]) == ([ServerSentEvent(data, event, wire)], b"")
