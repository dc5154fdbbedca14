"""One line of JSON per request, collected in memory and written a few times a second."""

import asyncio
from typing import BinaryIO

import msgspec

_FLUSH_INTERVAL_S = 0.2
_MAX_BUFFERED_LINES = 10_000


class AccessLogEntry(msgspec.Struct, omit_defaults=True):
    """What is told of a request. Never a key, a prompt or an answer. Times are in milliseconds."""

    time: float
    request_id: str
    protocol: str
    method: str
    path: str
    status: str
    duration_ms: float
    model: str = ""
    route: str = ""
    service: str = ""
    endpoint: str = ""
    consumer: str = ""
    attempts: int = 0
    client: str = ""
    stream: bool = False
    reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class AccessLog:
    """Takes entries on the event loop and writes them from `run`. Without an output it takes nothing."""

    def __init__(self, output: BinaryIO | None) -> None:
        self._output = output
        self._lines: list[bytes] = []
        self._encoder = msgspec.json.Encoder()

    @property
    def is_enabled(self) -> bool:
        """Whether entries are written at all."""
        return self._output is not None

    def add(self, entry: AccessLogEntry) -> None:
        """Takes an entry. If the output falls far behind, the oldest entries are dropped rather than held."""
        if self._output is None:
            return
        self._lines.append(self._encoder.encode(entry))
        if len(self._lines) > _MAX_BUFFERED_LINES:
            del self._lines[: _MAX_BUFFERED_LINES // 10]

    async def run(self) -> None:
        """Writes until cancelled, then writes what is left."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_INTERVAL_S)
                if self._lines:
                    await asyncio.to_thread(self._write, self._take())
        finally:
            self._write(self._take())

    def _take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _write(self, lines: list[bytes]) -> None:
        if self._output is not None and lines:
            self._output.write(b"\n".join(lines) + b"\n")
            self._output.flush()
