"""A gRPC call that is passed through, while it runs: messages both ways until the backend ends it."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.errors import BadGatewayError, GatewayError, TimeoutExceededError
from gateway.providers.pass_through import CONNECTION_HEADERS
from gateway.transport.errors import TransportError
from gateway.transport.grpc import GrpcStatusError, GrpcStream, Metadata
from gateway.upstream.lease import Lease
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.transport_failures import status_failure

# An answer that is a status and nothing else begins like any other; its end follows at once.
_STATUS_ALONE_S = 0.02

# Backends and grpcio may find a deadline passed a moment before our own timers do.
_CLOCK_DIFFERENCE_S = 0.1

_STATUS_DETAILS = "grpc-status-details-bin"

# What the node says itself, and what would lead callers around it.
_NOT_RELAYED = {name.decode() for name in CONNECTION_HEADERS} | {
    "content-type",
    "content-length",
    "x-request-id",
    "alt-svc",
}

_SENDABLE_TEXT = re.compile(r"[ -~]*")


class RelayedCall:
    """A call of a backend, from the attempt to its end. Must be closed; closing early cancels it at the backend.

    `initial_metadata` is there from the commit point on, `trailing_metadata` once `read` has given None.
    """

    def __init__(self, stream: GrpcStream, lease: Lease, *, idle_timeout_s: float, deadline: float) -> None:
        self.initial_metadata: Metadata = ()
        self.trailing_metadata: Metadata = ()
        self._stream = stream
        self._lease = lease
        self._idle_timeout_s = idle_timeout_s
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._sending: asyncio.Task[None] | None = None
        self._first: asyncio.Task[bytes | None] | None = None
        self._silence: asyncio.Timeout | None = None

    async def begin(self, messages: AsyncGenerator[bytes]) -> None:
        """Sends the caller's messages, one after another, from now on, and returns at the commit point: when the
        backend's initial metadata or first message is there, or its good end.

        Raises `AttemptFailedError` and `UpstreamStatusError` for an answer that is an error and nothing else, and
        `TransportError`.
        """
        self._sending = asyncio.create_task(self._send(messages))
        initial_metadata = await self._stream.initial_metadata()
        self._first = asyncio.create_task(self._stream.read())
        await asyncio.wait({self._first}, timeout=_STATUS_ALONE_S)
        if self._first.done():
            try:
                self._first.result()
            except GrpcStatusError as status:
                if self._is_out_of_time(status):
                    # Whoever set the deadline cancels the attempt when it has passed, and knows what that means.
                    await asyncio.sleep(self._deadline - self._loop.time())
                raise self._failure(status) from None
            except TransportError:
                self._raise_fault_of_sending()
                raise
        self.initial_metadata = relayed_metadata(initial_metadata)

    async def _send(self, messages: AsyncGenerator[bytes]) -> None:
        try:
            async with aclosing(messages):
                async for message in messages:
                    await self._stream.write(message)
                    self._break_silence()
            await self._stream.done_writing()
        except Exception:
            self._stream.cancel()
            raise

    async def read(self) -> bytes | None:
        """The backend's next message, or None at a good end.

        Raises `UpstreamStatusError` for the status that the backend ended the call with, `BadGatewayError` when the
        call is cut off, and `TimeoutExceededError` when the deadline passes or when, with the caller ready to take a
        message, none goes either way for the idle timeout.
        """
        first, self._first = self._first, None
        try:
            async with asyncio.timeout(self._idle_timeout_s) as self._silence:
                message = await (self._stream.read() if first is None else first)
                if message is None:
                    self.trailing_metadata = relayed_metadata(await self._stream.trailing_metadata())
        except TimeoutError:
            self._lease.broke()
            text = f"the upstream sent nothing for {self._idle_timeout_s:g} s"
            raise TimeoutExceededError(text, reason="STREAM_IDLE_TIMEOUT") from None
        except GrpcStatusError as status:
            failure = self._failure(status)
            raise (failure.error if isinstance(failure, AttemptFailedError) else failure) from None
        except TransportError as fault:
            self._raise_fault_of_sending()
            self._lease.broke()
            raise BadGatewayError(f"the upstream's answer was cut off: {fault}", reason="UPSTREAM_CUT") from fault
        finally:
            self._silence = None
        return message

    async def close(self) -> None:
        """Ends the call, if it has not ended, and the attempt. May be called twice."""
        self._lease.close()
        self._stream.cancel()
        tasks = [task for task in (self._sending, self._first) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _failure(self, status: GrpcStatusError) -> AttemptFailedError | GatewayError:
        if self._is_out_of_time(status):
            return TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED")
        trailing_metadata = relayed_metadata(status.trailing_metadata)
        failure = status_failure(GrpcStatusError(status.code, status.details, trailing_metadata))
        # Also if it is empty: what the status details say of it must agree.
        (failure.error if isinstance(failure, AttemptFailedError) else failure).message = status.details
        return failure

    def _is_out_of_time(self, status: GrpcStatusError) -> bool:
        """Whether the status tells of the deadline of the request, and not of one of the backend's own."""
        return status.code == "DEADLINE_EXCEEDED" and self._deadline - self._loop.time() < _CLOCK_DIFFERENCE_S

    def _break_silence(self) -> None:
        """A caller that sends is a sign of life too: of an upload a backend may say nothing before its end."""
        if self._silence is not None and not self._silence.expired():
            self._silence.reschedule(self._loop.time() + self._idle_timeout_s)

    def _raise_fault_of_sending(self) -> None:
        """The call was cancelled because reading from the caller has failed: that is what went wrong."""
        sending = self._sending
        if sending is not None and sending.done() and not sending.cancelled() and (fault := sending.exception()):
            raise fault


def relayed_metadata(metadata: Metadata) -> Metadata:
    """What the caller gets of a backend's metadata. What grpcio would refuse to send is left out."""
    return tuple(
        (name, value)
        for name, value in metadata
        if name not in _NOT_RELAYED
        and (name == _STATUS_DETAILS or not name.startswith(("grpc-", "x-janua-")))
        and (isinstance(value, bytes) or _SENDABLE_TEXT.fullmatch(value))
    )
