"""The body of an answer that goes to the client as it comes, and what bounds it in time."""

import asyncio

from gateway.coarse_timers import call_about
from gateway.errors import BadGatewayError, TimeoutExceededError
from gateway.transport.http import ConnectionBrokenError, HttpResponse
from gateway.upstream.lease import Lease


class AnswerBody:
    """What is left of an answer after the commit point. Must be closed; closing early stops the backend's work.

    `read` ends with an error, never silently, when the backend is cut off, falls silent or runs out of time.
    """

    def __init__(self, response: HttpResponse, lease: Lease, *, idle_timeout_s: float, deadline: float) -> None:
        self._response = response
        self._lease: Lease | None = lease
        self._idle_timeout_s = idle_timeout_s
        self.deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._timer = call_about(self._next_check(self._loop.time()), self._check_time)

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty once the answer is complete.

        Raises `BadGatewayError` when the answer is cut off, `TimeoutExceededError` when nothing comes for the idle
        timeout or the deadline passes.
        """
        self._waiting_since = self._loop.time()
        try:
            return await self._response.read()
        except ConnectionBrokenError as error:
            raise self.cut(str(error)) from error
        finally:
            self._waiting_since = None

    def close(self) -> None:
        """Ends the attempt. May be called twice."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None
            self._timer.cancel()
            self._response.close()

    def cut(self, reason: str) -> BadGatewayError:
        """The error for an answer that is not whole, noted against the endpoint."""
        if self._lease is not None:
            self._lease.broke()
        return BadGatewayError(f"the upstream's answer was cut off: {reason}", reason="UPSTREAM_CUT")

    def _next_check(self, waiting_since: float) -> float:
        return min(waiting_since + self._idle_timeout_s, self.deadline)

    def _check_time(self) -> None:
        """One timer per stream, set anew when it fires early: cheaper than one per read. Time in which nobody waits
        for data, because the client is slow to take it, does not count as silence."""
        now = self._loop.time()
        if now >= self.deadline:
            self._response.abort(TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED"))
            return
        due = self._next_check(now if self._waiting_since is None else self._waiting_since)
        if due <= now:
            message = f"the upstream sent nothing for {self._idle_timeout_s:g} s"
            if self._lease is not None:
                self._lease.broke()
            self._response.abort(TimeoutExceededError(message, reason="STREAM_IDLE_TIMEOUT"))
            return
        self._timer = call_about(due, self._check_time)
