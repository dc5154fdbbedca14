"""One line of JSON per request, collected in memory and written a few times a second."""

import asyncio
from typing import BinaryIO

import msgspec
import structlog

_FLUSH_INTERVAL_S = 0.2
_MAX_BUFFERED_LINES = 10_000

_log = structlog.get_logger("janua.access_log")


class AccessLogEntry(msgspec.Struct, omit_defaults=True):
    """What is told of a request. Never a key, a prompt or an answer. Times are in milliseconds.

    `cost_usd` is left out where the cost is not known, and where the service has no prices.
    """

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
    cost_usd: float | None = None
    cache: str = ""


class AccessLog:
    """Takes entries on the event loop and writes them from `run`. Without an output it takes nothing."""

    def __init__(self, output: BinaryIO | None) -> None:
        self._output = output
        self._lines: list[bytes] = []
        self._encoder = msgspec.json.Encoder()
        self._is_failing = False

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
        """Writes until cancelled, then writes what is left. Entries that cannot be written are lost; requests go on."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_INTERVAL_S)
                if self._lines:
                    await self._flush()
        finally:
            self._write(self._take())

    async def _flush(self) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, self._take()))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The lines are the thread's by now: whoever closes the output must wait for it.
            await writing
            raise

    def _take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _write(self, lines: list[bytes]) -> None:
        if self._output is None or not lines:
            return
        try:
            self._output.write(b"\n".join(lines) + b"\n")
            self._output.flush()
        except OSError as error:
            if not self._is_failing:
                _log.error("access log cannot be written, entries are lost", error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False
