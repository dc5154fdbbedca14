"""GOAWAY frames are found wherever the bytes are split, and nothing else is touched."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.http2_goaway import Goaway, GoawayFilter


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + struct.pack(">I", 0) + payload


FRAMES = st.tuples(st.integers(0, 255).filter(lambda kind: kind != 7), st.binary(max_size=40))
GOAWAYS = st.integers(0, 2**31 - 1)


@given(st.lists(FRAMES | GOAWAYS), st.lists(st.integers(0, 400)))
def test_any_split_gives_the_same(parts: list[tuple[int, bytes] | int], cuts: list[int]) -> None:
    expected: list[bytes | Goaway] = []
    data = b""
    for part in parts:
        if isinstance(part, int):
            expected.append(Goaway(part))
            data += frame(7, struct.pack(">II", part, 0) + b"debug")
        else:
            expected.append(frame(*part))
            data += frame(*part)
    goaways = GoawayFilter()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [each for start, end in itertools.pairwise(edges) for each in goaways.feed(data[start:end])]
    assert joined(found) == joined(expected)


def joined(parts: list[bytes | Goaway]) -> list[bytes | Goaway]:
    """The same with neighbouring bytes in one piece."""
    result: list[bytes | Goaway] = []
    for part in parts:
        if isinstance(part, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += part
        else:
            result.append(part)
    return result


@pytest.mark.parametrize("data", [frame(7, b"1234567"), b"\x00\x40\x01\x00" + bytes(5), b"HTTP/1.1 400 Bad Request"])
def test_frames_that_cannot_be(data: bytes) -> None:
    with pytest.raises(ValueError, match="frame is too"):
        list(GoawayFilter().feed(data))
