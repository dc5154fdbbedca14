"""A model server that costs next to nothing, so that a benchmark measures what stands before it: raw asyncio on
uvloop, answers made beforehand. Usage: `python -m tests.benchmarks.mock_upstream`."""

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

from tests.support.http_wire import LAST_CHUNK, chunk, chunked_response, json_response, sse
from tests.support.scripts import chat_completion, chat_events

STREAMED_CHUNKS = 100
"""Events of a streamed answer that carry a word."""

INTERVAL_S = 0.01
"""Between two pieces of a timed stream."""

MODEL = "mock"


def unary_answer(size: int = 1024) -> bytes:
    """A whole answer whose body has `size` bytes."""
    empty = len(json.dumps(chat_completion("", model=MODEL)))
    return json_response(200, chat_completion("x" * (size - empty), model=MODEL))


def streamed_answer() -> tuple[bytes, ...]:
    """A streamed answer: the head, then one HTTP chunk per event, then the end."""
    events = chat_events(" ".join(["word"] * STREAMED_CHUNKS), model=MODEL)
    head = chunked_response([])[: -len(LAST_CHUNK)]
    return (head, *(chunk(piece) for piece in sse(*events)), LAST_CHUNK)


class MockUpstream(asyncio.Protocol):
    """One connection. A request that asks for a stream gets one: in one piece; with `"paced"` in its body one event for
    each turn of the event loop; with `"timed"` one every ten milliseconds. Any other gets the whole answer."""

    def __init__(self, unary: bytes, streamed: tuple[bytes, ...]) -> None:
        self._unary = unary
        self._pieces = streamed
        self._streamed = b"".join(streamed)
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or len(self._buffer) < head_end + 4 + content_length(self._buffer, head_end):
            return
        body = self._buffer[head_end + 4 :]
        self._buffer = b""
        assert self._transport is not None
        if b'"stream":true' not in body:
            self._transport.write(self._unary)
        elif b'"user":"timed"' in body:
            self._send_next(iter(self._pieces), asyncio.get_running_loop().time())
        elif b'"user":"paced"' in body:
            self._send_next(iter(self._pieces), None)
        else:
            self._transport.write(self._streamed)

    def _send_next(self, pieces: Iterator[bytes], due: float | None) -> None:
        """Sends a piece and then the others, each at its time or, without one, as soon as may be."""
        assert self._transport is not None
        piece = next(pieces, None)
        if piece is None or self._transport.is_closing():
            return
        self._transport.write(piece)
        loop = asyncio.get_running_loop()
        if due is None:
            loop.call_soon(self._send_next, pieces, None)
        else:
            loop.call_at(due + INTERVAL_S, self._send_next, pieces, due + INTERVAL_S)


def content_length(message: bytes | bytearray, head_end: int) -> int:
    """Length of the body that the head announces; 0 if it says nothing."""
    head = message[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def main() -> None:
    unary, streamed = unary_answer(), streamed_answer()
    server = await asyncio.get_running_loop().create_server(lambda: MockUpstream(unary, streamed), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"event": "ready", "component": "mock", "address": f"127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
