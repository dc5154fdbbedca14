"""GOAWAY frames, taken out of what a peer sends before h2 sees them.

h2 takes a GOAWAY for the end of the connection, while streams up to the one that it names go on (RFC 9113, 6.8).
"""

from collections.abc import Iterator
from dataclasses import dataclass

_FRAME_HEAD_BYTES = 9
_GOAWAY = 0x07
_MAX_FRAME_BYTES = 16 * 1024  # what a peer may send to those who announce nothing else


@dataclass(frozen=True, slots=True)
class Goaway:
    """The peer takes no new streams, and has done nothing with streams above this one."""

    last_stream_id: int


class GoawayFilter:
    """Splits a peer's bytes into those for h2 and GOAWAY frames, in their order. Pure."""

    def __init__(self) -> None:
        self._held = b""
        self._frame_rest = 0

    def feed(self, data: bytes) -> Iterator[bytes | Goaway]:
        """Takes bytes as they arrive. Raises `ValueError` for frames of a size that they cannot have."""
        if self._held:
            data = self._held + data
        start = 0
        position = min(self._frame_rest, len(data))
        self._frame_rest -= position
        while len(data) - position >= _FRAME_HEAD_BYTES:
            size = int.from_bytes(data[position : position + 3], "big")
            if size > _MAX_FRAME_BYTES:
                raise ValueError("a frame is too large")  # h2 would wait for all of it
            end = position + _FRAME_HEAD_BYTES + size
            if data[position + 3] != _GOAWAY:
                self._frame_rest = max(end - len(data), 0)
                position = min(end, len(data))
                continue
            if size < 8:
                raise ValueError("a GOAWAY frame is too small")
            if end > len(data):
                break
            if position > start:
                yield data[start:position]
            yield Goaway(int.from_bytes(data[position + 9 : position + 13], "big") & 0x7FFFFFFF)
            position = start = end
        self._held = data[position:]
        if position > start:
            yield data[start:position]
