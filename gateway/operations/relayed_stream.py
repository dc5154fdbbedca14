"""A call to a backend with messages in both directions, and what bounds it in time."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from gateway.errors import BadGatewayError, GatewayError, TimeoutExceededError
from gateway.operations.replay import ReplayableParts
from gateway.operations.unary_grpc import CLOCK_DIFFERENCE_S, without_own_metadata
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.transport.errors import TransportError
from gateway.transport.grpc import GrpcStatusError, GrpcStream
from gateway.upstream.lease import Lease
from gateway.upstream.transport_failures import model_status_failure


class RelayedStream:
    """Passes the caller's messages on from `begin`, and gives the backend's. Must be closed; closing early cancels the
    call.

    `to_backend` and `to_caller` change messages; the latter may raise `MalformedTensorError`. Silence of the backend
    is bounded only while it owes something: an answer to each message, and an end after the last. One that answers more
    than once is taken to owe something always.
    """

    def __init__(
        self,
        call: GrpcStream,
        lease: Lease,
        messages: ReplayableParts,
        *,
        to_backend: Callable[[bytes], bytes],
        to_caller: Callable[[bytes], bytes],
        idle_timeout_s: float,
        deadline: float,
    ) -> None:
        self.first: bytes | None = None
        self._call = call
        self._lease = lease
        self._messages = messages
        self._to_backend = to_backend
        self._to_caller = to_caller
        self._idle_timeout_s = idle_timeout_s
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fault: BaseException | None = None
        self._owed = 0
        self._answers_more = False
        self._is_all_sent = False
        self._active_at = 0.0
        self._is_reading = False

    async def begin(self) -> None:
        """Begins to pass messages on, and waits for the first answer: `first`, or None if there is none at all.

        Raises what the call ends with: `GrpcStatusError`, `TransportError`; `MalformedTensorError` for an answer that
        is none; and what reading the caller's messages raises.
        """
        self._pump = self._loop.create_task(self._pass_on())
        self._pump.add_done_callback(self._passed_on)
        self.first = await self._next()
        self._timer = self._loop.call_at(self._due(), self._check_time)

    async def read(self) -> bytes | None:
        """The next answer, or None at a good end.

        Raises `UpstreamStatusError` for the status that the backend ended the call with, `BadGatewayError` when it was
        cut off or an answer is none, `TimeoutExceededError`.
        """
        try:
            return await self._next()
        except GrpcStatusError as status:
            raise self._status_error(status) from status
        except TransportError as error:
            raise self._cut(str(error)) from error
        except MalformedTensorError as error:
            raise self._cut(f"an answer cannot be understood: {error}") from error

    def cancel(self) -> None:
        """Ends the call, and leaves the lease to whoever makes another."""
        if self._pump is not None:
            self._pump.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._call.cancel()

    def close(self) -> None:
        """Ends the call and the attempt. May be called twice."""
        self.cancel()
        self._lease.close()

    async def _next(self) -> bytes | None:
        self._is_reading = True
        self._active_at = max(self._active_at, self._loop.time())
        try:
            message = await self._call.read()
        except TransportError:
            if self._fault is not None:
                raise self._fault from None
            raise
        finally:
            self._is_reading = False
        self._answers_more |= self._owed == 0
        self._owed = max(0, self._owed - 1)
        return None if message is None else self._to_caller(message)

    async def _pass_on(self) -> None:
        async with aclosing(self._messages.parts()) as messages:
            async for message in messages:
                self._owe()
                await self._call.write(self._to_backend(message))
        self._is_all_sent = True
        self._owe()
        await self._call.done_writing()

    def _owe(self) -> None:
        self._owed += 1
        self._active_at = self._loop.time()

    def _passed_on(self, pump: "asyncio.Task[None]") -> None:
        if not pump.cancelled() and (error := pump.exception()) is not None:
            self._end(error)

    def _end(self, fault: BaseException) -> None:
        """Ends the call; whoever reads gets this error."""
        self._fault = fault
        self._call.cancel()

    def _status_error(self, status: GrpcStatusError) -> GatewayError:
        if status.code == "DEADLINE_EXCEEDED" and self._loop.time() > self._deadline - CLOCK_DIFFERENCE_S:
            return _deadline_exceeded()
        failure = model_status_failure(without_own_metadata(status))
        if isinstance(failure, GatewayError):
            return failure
        self._lease.broke()
        return failure.error

    def _cut(self, reason: str) -> BadGatewayError:
        self._lease.broke()
        return BadGatewayError(f"the upstream's answer was cut off: {reason}", reason="UPSTREAM_CUT")

    def _due(self) -> float:
        """When the backend will have been silent for too long. Time in which nobody waits for it, because the caller is
        slow to take what it says, does not count."""
        is_awaited = self._is_reading and (self._owed > 0 or self._answers_more)
        since = self._active_at if is_awaited else self._loop.time()
        return min(since + self._idle_timeout_s, self._deadline)

    def _check_time(self) -> None:
        """One timer per stream, set anew when it fires early."""
        now, due = self._loop.time(), self._due()
        if now >= self._deadline:
            self._end(_deadline_exceeded())
        elif due <= now:
            self._lease.broke()
            text = f"the upstream sent nothing for {self._idle_timeout_s:g} s"
            self._end(TimeoutExceededError(text, reason="STREAM_IDLE_TIMEOUT"))
        else:
            self._timer = self._loop.call_at(due, self._check_time)


def _deadline_exceeded() -> TimeoutExceededError:
    return TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED")
