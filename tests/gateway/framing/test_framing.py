"""What the ways to frame a stream have in common."""

import pytest

from gateway.framing.framing import NDJSON, SSE, Framing
from gateway.framing.sse import encode_event


@pytest.mark.parametrize(
    ("framing", "written"),
    [(SSE, [encode_event(b"1"), encode_event(b"2", "e")]), (NDJSON, [b"1\n", b"2\n"])],
)
def test_events_and_the_bytes_they_came_as(framing: Framing, written: list[bytes]) -> None:
    parser = framing.parser()
    found = list(parser.feed(b"".join(written) + b"rest"))
    assert [event.data for event in found] == [b"1", b"2"]
    assert [event.raw for event in found] == written
    assert parser.pending == b"rest"


@pytest.mark.parametrize("framing", [SSE, NDJSON])
def test_parser_is_of_one_stream(framing: Framing) -> None:
    list(framing.parser().feed(b"rest"))
    assert framing.parser().pending == b""


@pytest.mark.parametrize("framing", [SSE, NDJSON])
def test_content_type_can_be_compared(framing: Framing) -> None:
    assert framing.content_type == framing.content_type.lower().partition(";")[0].strip()


@pytest.mark.parametrize("framing", [SSE, NDJSON])
def test_encoded_event_is_read_back_and_ends_as_events_do(framing: Framing) -> None:
    written = framing.encode(b'{"a":1}', "")
    (event,) = framing.parser().feed(written)
    assert event.data == b'{"a":1}'
    assert written.endswith(framing.ends[0])


def test_newlines_in_a_line_do_not_end_it() -> None:
    (event,) = NDJSON.parser().feed(NDJSON.encode(b'{\n"a": 1}', ""))
    assert event.data == b'{ "a": 1}'
