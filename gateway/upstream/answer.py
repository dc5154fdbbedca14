"""What an attempt gives once it is certain that its answer goes to the client."""

import asyncio
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from gateway.errors import BadGatewayError, TimeoutExceededError
from gateway.schemas.dialect import Dialect
from gateway.transport.http import ConnectionBrokenError, HttpResponse
from gateway.types import Usage
from gateway.upstream.lease import Lease

# Enough for the end mark and the usage chunk before it.
_TAIL_BYTES = 4096

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]


class UnaryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    headers: RawHeaders
    body: bytes


class AnswerStream:
    """The rest of a streamed answer, after the commit point. Must be closed; closing early stops the backend's work.

    `read` ends with an error, never silently, when the backend is cut off, falls silent or runs out of time.
    """

    def __init__(
        self,
        response: HttpResponse,
        lease: Lease,
        dialect: Dialect,
        *,
        seen: bytes,
        idle_timeout_s: float,
        deadline: float,
    ) -> None:
        self._response = response
        self._lease: Lease | None = lease
        self._dialect = dialect
        self._tail = seen[-_TAIL_BYTES:]
        self._idle_timeout_s = idle_timeout_s
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._timer = self._loop.call_at(self._next_check(self._loop.time()), self._check_time)

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty once the answer is complete.

        Raises `BadGatewayError` when the stream ends before its end mark, `TimeoutExceededError` when nothing comes
        for the idle timeout or the deadline passes.
        """
        self._waiting_since = self._loop.time()
        try:
            data = await self._response.read()
        except ConnectionBrokenError as error:
            raise self._cut(str(error)) from error
        finally:
            self._waiting_since = None
        if data:
            self._tail = data[-_TAIL_BYTES:] if len(data) >= _TAIL_BYTES else (self._tail + data)[-_TAIL_BYTES:]
        elif not self._dialect.is_complete(self._tail):
            raise self._cut("no end mark")
        return data

    @property
    def usage(self) -> Usage | None:
        """The usage that the stream has told so far."""
        return self._dialect.read_stream_usage(self._tail)

    def close(self) -> None:
        """Ends the attempt. May be called twice."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None
            self._timer.cancel()
            self._response.close()

    def _cut(self, reason: str) -> BadGatewayError:
        if self._lease is not None:
            self._lease.broke()
        return BadGatewayError(f"the upstream's answer was cut off: {reason}", reason="UPSTREAM_CUT")

    def _next_check(self, waiting_since: float) -> float:
        return min(waiting_since + self._idle_timeout_s, self._deadline)

    def _check_time(self) -> None:
        """One timer per stream, set anew when it fires early: cheaper than one per read. Time in which nobody waits
        for data, because the client is slow to take it, does not count as silence."""
        now = self._loop.time()
        if now >= self._deadline:
            self._response.abort(TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED"))
            return
        due = self._next_check(now if self._waiting_since is None else self._waiting_since)
        if due <= now:
            message = f"the upstream sent nothing for {self._idle_timeout_s:g} s"
            if self._lease is not None:
                self._lease.broke()
            self._response.abort(TimeoutExceededError(message, reason="STREAM_IDLE_TIMEOUT"))
            return
        self._timer = self._loop.call_at(due, self._check_time)


class StreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A streamed answer: the bytes up to and with the first content, and the rest."""

    headers: RawHeaders
    first: bytes
    rest: AnswerStream


Answer: TypeAlias = UnaryAnswer | StreamAnswer


class Exchange(msgspec.Struct, frozen=True):
    """An answer, the dialect it is in, and the model name it must carry (None: it carries the right one)."""

    answer: Answer
    dialect: Dialect
    rename_model_to: str | None
