"""One unary call over gRPC, as one backend is to get it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.errors import UpstreamRejectedError, UpstreamStatusError
from gateway.operations.http_proxy import attempt_failures
from gateway.transport.grpc import GrpcStatusError
from gateway.upstream.lease import Lease
from gateway.upstream.relayed_call import relayed_metadata
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.transport_failures import model_status_failure

A = TypeVar("A")

# With these, backends tell of faults of their own, but also of requests that they could not read.
_UNCLEAR_CODES = frozenset({"INTERNAL", "UNKNOWN"})

CLOCK_DIFFERENCE_S = 0.1
"""grpcio may tell of our deadline such a time before our own timer does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryGrpc(Generic[A]):
    """What is sent, and what is made of the answer: see `UnaryHttp`. The backend is told the time that is left."""

    path: str
    message: bytes = field(repr=False)
    metadata: Sequence[tuple[str, str | bytes]] = field(repr=False)
    understand: Callable[[bytes], A]
    find_fault: Callable[[], UpstreamRejectedError | None]
    per_try_timeout_s: float | None
    deadline: float
    is_repeatable: bool = True

    async def send(self, lease: Lease) -> A:
        """Makes the call and returns what its answer means."""
        endpoint = lease.endpoint
        with attempt_failures(self.per_try_timeout_s):
            try:
                async with asyncio.timeout(self.per_try_timeout_s):
                    answer = await lease.cluster.connections.grpc.unary(
                        endpoint.connect_address,
                        self.path,
                        self.message,
                        is_secure=endpoint.is_secure,
                        server_name=endpoint.server_name or endpoint.authority,
                        metadata=self.metadata,
                        timeout_s=remaining_s(self.deadline),
                    )
            except GrpcStatusError as status:
                raise await call_failure(status, self.deadline, self.find_fault) from status
        understood = self.understand(answer.message)
        lease.close()
        return understood


def remaining_s(deadline: float) -> float:
    """Seconds until then."""
    return max(0.0, deadline - asyncio.get_running_loop().time())


async def call_failure(
    status: GrpcStatusError, deadline: float, find_fault: Callable[[], UpstreamRejectedError | None]
) -> AttemptFailedError | UpstreamStatusError | UpstreamRejectedError:
    """What an attempt fails with that ended with a status. Where it is our own deadline that has passed, it does not
    return: whoever set the deadline cancels the attempt, and says what that means."""
    if status.code == "DEADLINE_EXCEEDED" and (left_s := remaining_s(deadline)) < CLOCK_DIFFERENCE_S:
        await asyncio.sleep(left_s + CLOCK_DIFFERENCE_S)
    fault = find_fault() if status.code in _UNCLEAR_CODES else None
    return fault or model_status_failure(without_own_metadata(status))


def without_own_metadata(status: GrpcStatusError) -> GrpcStatusError:
    """The status with what the caller may get of the backend's metadata."""
    return GrpcStatusError(status.code, status.details, relayed_metadata(status.trailing_metadata))
