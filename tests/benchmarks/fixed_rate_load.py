"""Load at a fixed rate: each request is due at its time, whatever became of those before, and its latency counts from
then, so that a server that falls behind cannot hide it.

Usage: `python -m tests.benchmarks.fixed_rate_load ADDRESS BODY_FILE --rate 50 --seconds 20 [--key KEY]`. Prints one
line of JSON. A request that fails in any way ends the run with exit code 1.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.load_generator import is_whole, post
from tests.benchmarks.open_loop import OpenLoop, Sent, percentile

_WARM_UP_S = 1.0
# A server closes what has been idle for some seconds, five with Hypercorn: a request sent just then would be lost.
_MAX_IDLE_S = 2.0


class KeptConnections:
    """Connections for one request at a time, opened when none is free, not used again after two seconds of rest."""

    def __init__(self, address: str, request: bytes) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._request = request
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, _: int) -> str | None:
        """Makes a request. None for a whole answer with status 200, else what was wrong."""
        try:
            reader, writer = self._rested() or await asyncio.open_connection(self._host, self._port)
            writer.write(self._request)
            answer = bytearray()
            while (head_end := answer.find(b"\r\n\r\n")) < 0 or not is_whole(answer, head_end):
                data = await reader.read(65536)
                if not data:
                    return f"the connection was lost after {bytes(answer[-200:])!r}"
                answer += data
        except OSError as error:
            return str(error)
        self._free.append((time.monotonic(), reader, writer))
        return None if answer.startswith(b"HTTP/1.1 200") else f"{bytes(answer[:500])!r}"

    def _rested(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection that was used last. If that has been idle for too long, so have all: they are closed."""
        if self._free and time.monotonic() - self._free[-1][0] < _MAX_IDLE_S:
            _, reader, writer = self._free.pop()
            return reader, writer
        self.close()
        return None

    def close(self) -> None:
        """Closes all."""
        for _, _, writer in self._free:
            writer.close()
        self._free.clear()


async def run(address: str, request: bytes, *, rate: float, seconds: float) -> Sequence[Sent]:
    """What was sent, a first second of warming up too."""
    connections = KeptConnections(address, request)
    loop = OpenLoop(connections.ask, rate)
    asyncio.get_running_loop().call_later(seconds + _WARM_UP_S, loop.stop)
    sent = await loop.run()
    connections.close()
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency at a fixed rate.")
    parser.add_argument("address")
    parser.add_argument("body", type=Path)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--key")
    args = parser.parse_args()
    request = post(args.address, args.body.read_bytes(), args.key)
    # uvloop's clock counts whole milliseconds.
    sent = asyncio.run(run(args.address, request, rate=args.rate, seconds=args.seconds))
    if faults := [each.fault for each in sent if each.fault is not None]:
        sys.exit(f"a request failed, so the run is void: {faults[0]}")
    begin = min(each.due for each in sent) + _WARM_UP_S
    took = [each.took_s for each in sent if each.due >= begin]
    latency = {f"p{percent}_ms": percentile(took, percent) * 1e3 for percent in (50, 99)}
    sys.stdout.write(json.dumps({"requests": len(took), **latency}) + "\n")


if __name__ == "__main__":
    main()
