"""Cheap load: keep-alive connections that each send one request after another, as raw bytes on uvloop.

Usage: `python -m tests.benchmarks.load_generator ADDRESS BODY_FILE --connections 64 --requests 10000 [--key KEY]`.
Each line of the file is the body of a request, made in turn. Prints one line of JSON. A request that fails in any way
ends the run with exit code 1.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

from tests.benchmarks.mock_upstream import content_length
from tests.benchmarks.open_loop import percentile

OPENAI_PATH = "/v1/chat/completions"
OPENAI_END = b"data: [DONE]"
_WORD = b"word"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What a run did: answers, events of streamed answers, bytes received, the time it took in seconds, and of streams
    the time from a request to the first word of its answer in milliseconds, 0 for whole answers."""

    requests: int
    events: int
    received: int
    seconds: float
    first_p50_ms: float
    first_p99_ms: float


class RequestFailedError(Exception):
    """An answer that was not 200 and whole: the run says nothing about speed."""


class Load:
    """What all connections share: how many requests are left, and what came of those made."""

    def __init__(self, requests: Sequence[bytes], count: int, *, streamed: bool, end: bytes = OPENAI_END) -> None:
        self.requests = cycle(requests)
        self.streamed = streamed
        self.firsts: list[float] = []
        self._end = end
        self.left = count
        self.answered = self.events = self.received = 0
        self.total = count
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, body: bytes | bytearray, size: int) -> None:
        """Counts one whole answer."""
        self.answered += 1
        self.received += size
        if self.streamed:
            self.events += body.count(b"data: {")
            if self._end not in body:
                self.fail(RequestFailedError(f"the stream has no end: {bytes(body[-200:])!r}"))
        if self.answered == self.total and not self.finished.done():
            self.finished.set_result(None)

    def fail(self, error: Exception) -> None:
        """Ends the run."""
        if not self.finished.done():
            self.finished.set_exception(error)


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last is whole."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._awaits_first = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head_end = self._answer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        if not self._answer.startswith(b"HTTP/1.1 200"):
            self._load.fail(RequestFailedError(f"{bytes(self._answer[:500])!r}"))
            return
        if self._awaits_first and _WORD in self._answer:
            self._awaits_first = False
            self._load.firsts.append(time.perf_counter() - self._sent_at)
        if not is_whole(self._answer, head_end):
            return
        self._load.answer(self._answer, len(self._answer))
        self._answer.clear()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer or self._load.left:
            self._load.fail(RequestFailedError(f"the connection was lost: {exc}"))

    def _send(self) -> None:
        assert self._transport is not None
        if self._load.left:
            self._load.left -= 1
            self._awaits_first = self._load.streamed
            self._sent_at = time.perf_counter()
            self._transport.write(next(self._load.requests))


def is_whole(answer: bytearray, head_end: int) -> bool:
    """Whether all of the body has come; without `content-length` it is chunked."""
    if length := content_length(answer[: head_end + 4], head_end):
        return len(answer) >= head_end + 4 + length
    return answer.endswith(b"0\r\n\r\n")


def post(address: str, body: bytes, key: str | None, path: str = OPENAI_PATH) -> bytes:
    """A request of a model as bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {address}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *([f"authorization: Bearer {key}"] if key else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def run(address: str, load: Load, *, connections: int, spread_s: float = 0.0) -> LoadResult:
    """Makes the load over so many connections, opened evenly over `spread_s` seconds. Raises `RequestFailedError`."""
    host, port = address.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()

    async def connect(number: int) -> asyncio.BaseTransport:
        await asyncio.sleep(number * spread_s / connections)
        return (await loop.create_connection(lambda: Connection(load), host, int(port)))[0]

    opened = await asyncio.gather(*map(connect, range(connections)))
    await load.finished
    seconds = time.perf_counter() - begin
    for transport in opened:
        cast("asyncio.Transport", transport).abort()
    return LoadResult(
        requests=load.answered,
        events=load.events,
        received=load.received,
        seconds=seconds,
        first_p50_ms=percentile(load.firsts or [0.0], 50) * 1e3,
        first_p99_ms=percentile(load.firsts or [0.0], 99) * 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Cheap load on an OpenAI-compatible server.")
    parser.add_argument("address")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--key")
    parser.add_argument("--path", default=OPENAI_PATH)
    parser.add_argument("--end", default=OPENAI_END.decode(), help="what a whole stream contains")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which connections are opened")
    args = parser.parse_args()
    bodies = args.body.read_bytes().splitlines()
    requests = [post(args.address, body, args.key, args.path) for body in bodies]

    async def make() -> LoadResult:
        load = Load(requests, args.requests, streamed=b'"stream":true' in bodies[0], end=args.end.encode())
        return await run(args.address, load, connections=args.connections, spread_s=args.spread)

    try:
        result = uvloop.run(make())
    except (RequestFailedError, OSError) as error:
        sys.exit(f"a request failed, so the run is void: {error}")
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main()
