"""What goes wrong below the protocol, or as a status of gRPC, as failures of an attempt."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.config.snapshot import Failure
from gateway.errors import BadGatewayError, ErrorCode, GatewayError, UnavailableError, UpstreamStatusError
from gateway.transport.errors import AnswerTooLargeError, ConnectError, TransportError
from gateway.transport.grpc import GrpcStatusError
from gateway.upstream.retry import AttemptFailedError

# Statuses that a retry policy or a fallback may name; all others are the backend's word on the request itself.
_FAILURES: Mapping[str, tuple[Failure, ...]] = MappingProxyType(
    {
        "UNAVAILABLE": (Failure.GATEWAY_ERROR, Failure.SERVER_ERROR),
        "RESOURCE_EXHAUSTED": (Failure.RATE_LIMITED,),
        "DEADLINE_EXCEEDED": (Failure.TIMEOUT,),
        "INTERNAL": (Failure.SERVER_ERROR,),
        "UNKNOWN": (Failure.SERVER_ERROR,),
        "DATA_LOSS": (Failure.SERVER_ERROR,),
    }
)

_CODES: Mapping[str, ErrorCode] = MappingProxyType(
    {
        "INVALID_ARGUMENT": ErrorCode.INVALID_REQUEST,
        "FAILED_PRECONDITION": ErrorCode.INVALID_REQUEST,
        "OUT_OF_RANGE": ErrorCode.INVALID_REQUEST,
        "ALREADY_EXISTS": ErrorCode.INVALID_REQUEST,
        "NOT_FOUND": ErrorCode.NOT_FOUND,
        "UNIMPLEMENTED": ErrorCode.NOT_FOUND,
        "RESOURCE_EXHAUSTED": ErrorCode.RATE_LIMITED,
        "UNAVAILABLE": ErrorCode.UNAVAILABLE,
        "DEADLINE_EXCEEDED": ErrorCode.TIMEOUT,
    }
)


def transport_failure(error: TransportError) -> AttemptFailedError:
    """The failure of an attempt that ended below the protocol."""
    if isinstance(error, ConnectError):
        unreachable = UnavailableError(f"the upstream cannot be reached: {error}", reason="UPSTREAM_UNREACHABLE")
        return AttemptFailedError(unreachable, Failure.CONNECT_FAILURE)
    if isinstance(error, AnswerTooLargeError):
        return AttemptFailedError(BadGatewayError(str(error), reason="UPSTREAM_ANSWER_TOO_LARGE"))
    broken: GatewayError = BadGatewayError(f"the connection to the upstream broke: {error}", reason="UPSTREAM_RESET")
    return AttemptFailedError(broken, Failure.RESET)


def status_failure(status: GrpcStatusError) -> AttemptFailedError | UpstreamStatusError:
    """The failure of an attempt that a backend ended with a gRPC status other than OK."""
    error = UpstreamStatusError(
        status.details or f"the upstream ended the call with status {status.code}",
        code=_CODES.get(status.code, ErrorCode.BAD_GATEWAY),
        status=status.code,
        trailing_metadata=status.trailing_metadata,
    )
    failures = _FAILURES.get(status.code)
    return AttemptFailedError(error, *failures) if failures else error


def model_status_failure(status: GrpcStatusError) -> AttemptFailedError | UpstreamStatusError:
    """The same for a call of a model: that a credential is refused is the operator's problem, not the caller's."""
    if status.code not in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return status_failure(status)
    text = f"the upstream refused the gateway's credential (status {status.code}); check the service's secret"
    return AttemptFailedError(BadGatewayError(text, reason="UPSTREAM_AUTH_FAILED"))
