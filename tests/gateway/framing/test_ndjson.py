"""Lines of JSON: whatever the reads cut them into, the same lines come out, and none may grow without end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing.ndjson import NdjsonParser
from gateway.framing.sse import EventTooLargeError
from tests.support.pieces import cut, single_bytes

STREAM = b'{"a":1}\n{"b":"\xc3\xa4"}\r\n\n  \n{"c":[]}\n'
LINES = [b'{"a":1}', b'{"b":"\xc3\xa4"}', b'{"c":[]}']


def lines(pieces: list[bytes]) -> list[bytes]:
    parser = NdjsonParser()
    return [event.data for piece in pieces for event in parser.feed(piece)]


@given(st.sets(st.integers(0, len(STREAM))))
def test_stream_cut_anywhere_gives_the_same_lines(places: set[int]) -> None:
    assert lines(cut(STREAM, places)) == LINES


def test_stream_byte_by_byte() -> None:
    assert lines(single_bytes(STREAM)) == LINES


def test_line_keeps_its_bytes_and_has_no_type() -> None:
    (event,) = NdjsonParser().feed(b'{"a":1}\r\n')
    assert (event.raw, event.event) == (b'{"a":1}\r\n', "")


def test_line_without_an_end_is_pending() -> None:
    parser = NdjsonParser()
    assert [event.data for event in parser.feed(b'{"a":1}\n{"b"')] == [b'{"a":1}']
    assert parser.pending == b'{"b"'
    assert [event.data for event in parser.feed(b":2}\n")] == [b'{"b":2}']
    assert parser.pending == b""


def test_events_not_taken_yet_are_not_lost() -> None:
    parser = NdjsonParser()
    parser.feed(b"1\n2\n")
    assert [event.data for event in parser.feed(b"3\n")] == [b"1", b"2", b"3"]


def test_line_that_outgrows_the_limit_is_refused() -> None:
    parser = NdjsonParser(max_event_bytes=4)
    assert [event.data for event in parser.feed(b"1234\n")] == [b"1234"]
    parser.feed(b"123")
    with pytest.raises(EventTooLargeError, match="longer than 4 bytes"):
        parser.feed(b"45")
