"""The exceptions of the client: one class per gRPC status code, with the reason and the violations the server named."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"  # where gRPC carries google.rpc.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One thing that is wrong with a request."""

    field: str
    """Path of the field, such as `changes[2].upsert.route.match.path`; empty if it is about no field."""

    description: str
    """What is wrong, for people."""

    reason: str
    """Machine-readable, such as `UNRESOLVED_REFERENCE`; may be empty."""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetails:
    """What a server says about a failure beyond its code and message (google.rpc.ErrorInfo and its siblings)."""

    reason: str = ""
    metadata: Mapping[str, str] | None = None
    violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None


class JanuaError(Exception):
    """A call failed. `str()` is the server's message; subclasses tell what a caller can do about it."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        details = details or ErrorDetails()
        self.message = message
        self.reason = details.reason
        """Machine-readable cause within Janua, such as `ETAG_MISMATCH`; empty if the server gave none."""
        self.metadata = dict(details.metadata or {})
        """What the reason is about, by name."""
        self.violations = details.violations
        """Everything that is wrong with the request, if that is why it failed."""
        self.retry_after = details.retry_after
        """How long to wait before the next attempt, if the server said so."""


class CancelledCallError(JanuaError):
    """The server or the transport gave the call up."""

    code = grpc.StatusCode.CANCELLED


class InvalidArgumentError(JanuaError):
    """The request is wrong whatever the state of the server: see `violations`."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceededError(JanuaError):
    """No answer in time. Whether the server did what was asked is not known."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFoundError(JanuaError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(JanuaError):
    """What should be created exists, or a request id was used for another content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDeniedError(JanuaError):
    """The caller is known and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(JanuaError):
    """The caller has to say who it is."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhaustedError(JanuaError):
    """Too large, or too much at a time."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(JanuaError):
    """The state of the configuration forbids it: see `violations`."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(JanuaError):
    """Somebody else changed it meanwhile. Read again, then retry."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(JanuaError):
    """The server no longer has the revision asked for."""

    code = grpc.StatusCode.OUT_OF_RANGE


class UnimplementedError(JanuaError):
    """The server does not know this method: it is another kind of server, or an older one."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(JanuaError):
    """A defect of the server."""

    code = grpc.StatusCode.INTERNAL


class UnavailableError(JanuaError):
    """The server cannot be reached, or not now."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLossError(JanuaError):
    """What the server has stored is damaged."""

    code = grpc.StatusCode.DATA_LOSS


_BY_CODE: Mapping[grpc.StatusCode, type[JanuaError]] = {error.code: error for error in JanuaError.__subclasses__()}


def from_rpc_error(error: grpc.aio.AioRpcError) -> JanuaError:
    """Turns gRPC's exception into ours. A code that has no class of its own, or no meaning, gives `JanuaError`."""
    kind = _BY_CODE.get(error.code(), JanuaError)
    return kind(error.details() or error.code().name, _details(error))


def _details(error: grpc.aio.AioRpcError) -> ErrorDetails:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return parse_details(status_pb2.Status.FromString(value))
            except DecodeError:
                break  # the code and the message still say what happened
    return ErrorDetails()


def parse_details(status: status_pb2.Status) -> ErrorDetails:
    """Reads the standard details of a `google.rpc.Status`; unknown ones are ignored.

    Raises `DecodeError` if a detail is not what its type URL says.
    """
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    violations: list[FieldViolation] = []
    retry_after: timedelta | None = None
    for detail in status.details:
        violations += _violations(detail)
        detail.Unpack(info)  # leaves it alone if it is of another type
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
    return ErrorDetails(
        reason=info.reason, metadata=dict(info.metadata), violations=tuple(violations), retry_after=retry_after
    )


def _violations(detail: AnyMessage) -> list[FieldViolation]:
    bad_request = error_details_pb2.BadRequest()
    if detail.Unpack(bad_request):
        return [
            FieldViolation(field=each.field, description=each.description, reason=each.reason)
            for each in bad_request.field_violations
        ]
    precondition = error_details_pb2.PreconditionFailure()
    if detail.Unpack(precondition):
        return [
            FieldViolation(field=each.subject, description=each.description, reason=each.type)
            for each in precondition.violations
        ]
    return []
