"""AWS event streams: whatever the reads cut a stream into, the same frames come out, checked and bounded."""

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing.aws_event_stream import AwsEventStreamParser, BadFrameError, encode_frame
from gateway.framing.sse import EventTooLargeError, ServerSentEvent
from tests.support import recordings
from tests.support.components import RECORDINGS
from tests.support.pieces import bytes_allocated, cut, single_bytes

STREAMS = [name for name in recordings.names(["converse-stream"]) if name.startswith("bedrock/")] or ["absent"]
events = st.tuples(st.binary(max_size=40), st.sampled_from(["messageStart", "metadata", "throttlingException", ""]))
streams = st.lists(events, max_size=6)


def parse(pieces: Iterable[bytes]) -> tuple[list[ServerSentEvent], bytes]:
    parser = AwsEventStreamParser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    return found, parser.pending


def frame(headers: bytes, payload: bytes = b"") -> bytes:
    """A frame with headers as they are given."""
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def text_header(name: str, value: str) -> bytes:
    return bytes((len(name),)) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()


@given(streams, st.lists(st.integers(0, 400), max_size=20))
def test_any_split_gives_the_events_that_were_written(written: list[tuple[bytes, str]], cuts: Sequence[int]) -> None:
    data = b"".join(encode_frame(*event) for event in written)
    found, pending = parse(cut(data, cuts))
    assert [(event.data, event.event) for event in found] == written
    assert pending == b""
    assert b"".join(event.raw for event in found) == data


@given(streams)
def test_single_bytes_give_the_same_events(written: list[tuple[bytes, str]]) -> None:
    data = b"".join(encode_frame(*event) for event in written)
    assert parse(single_bytes(data)) == parse([data])


def test_the_beginning_of_a_frame_is_pending() -> None:
    first, second = encode_frame(b"{}", "messageStart"), encode_frame(b"{}", "metadata")
    found, pending = parse([first + second[:-1]])
    assert [event.event for event in found] == ["messageStart"]
    assert pending == second[:-1]


@given(events, st.data())
def test_a_changed_byte_is_found(event: tuple[bytes, str], data: st.DataObject) -> None:
    whole = bytearray(encode_frame(*event))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadFrameError) as damaged:
        parse([bytes(whole)])
    assert damaged.value.reason == "UPSTREAM_MALFORMED"


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_the_named_error(data: bytes) -> None:
    with suppress(BadFrameError, EventTooLargeError):
        parse([data])


def test_a_frame_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    parser = AwsEventStreamParser(max_event_bytes=100)
    assert len(list(parser.feed(encode_frame(b"", "metadata")))) == 1
    with pytest.raises(EventTooLargeError, match="longer than 100 bytes"):
        list(parser.feed(encode_frame(b"x" * 100, "metadata")[:12]))


def test_headers_of_every_kind_are_passed_over() -> None:
    kinds = {0: b"", 1: b"", 2: b"a", 3: b"ab", 4: b"abcd", 5: b"abcdefgh", 8: b"abcdefgh", 9: b"a" * 16}
    kinds[6] = struct.pack(">H", 3) + b"\xff\xfe\xfd"
    headers = b"".join(b"\x01k" + bytes((kind,)) + value for kind, value in kinds.items())
    whole = frame(headers + text_header(":message-type", "event") + text_header(":event-type", "metadata"), b"{}")
    assert parse([whole]) == ([ServerSentEvent(b"{}", "metadata", whole)], b"")


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05ab",  # a name that is longer than the headers
        b"\x01a",  # no kind
        b"\x01a\x63",  # a kind that there is not
        b"\x01a\x07\x00",  # half a length
        b"\x01a\x07\x00\x09b",  # a value that is longer than the headers
        b"\x01a\x07\x00\x01\xff",  # a text that is none
        b"\x01\xff\x07\x00\x01b",  # a name that is none
    ],
)
def test_headers_that_make_no_sense(headers: bytes) -> None:
    with pytest.raises(BadFrameError):
        parse([frame(headers)])


def test_exceptions_and_errors_are_named() -> None:
    message = b'{"message":"slow down"}'
    error = frame(
        text_header(":message-type", "error")
        + text_header(":error-code", "InternalFailure")
        + text_header(":error-message", "it broke")
    )
    found, _ = parse([encode_frame(message, "throttlingException") + error])
    assert [(event.event, json.loads(event.data)["message"]) for event in found] == [
        ("throttlingException", "slow down"),
        ("InternalFailure", "it broke"),
    ]


def test_collecting_a_frame_copies_each_byte_a_few_times_at_most() -> None:
    parser = AwsEventStreamParser()
    whole = encode_frame(b"x" * 100_000, "metadata")
    list(parser.feed(whole[:20]))
    # Copying the buffer for every byte takes 5 GB.
    assert bytes_allocated(lambda piece: list(parser.feed(piece)), single_bytes(whole[20:-1])) < 500_000_000


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream(name: str) -> None:
    response = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))["response"]
    raw = base64.b64decode(response["base64"])
    whole = parse([raw])
    found, pending = whole
    assert (found[0].event, found[-1].event, pending) == ("messageStart", "metadata", b"")
    for size in (1, 7, 64):
        assert parse(raw[at : at + size] for at in range(0, len(raw), size)) == whole
    assert [encode_frame(event.data, event.event) for event in found] == [event.raw for event in found]
