"""What a call can be refused for: canonical code, machine-readable reason, every violation. Knows no gRPC."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN: Final = "janua"

# A status travels in the trailing metadata, of which most clients take 8 KiB in all, and base64 may add a third:
# one that is larger reaches the caller as RESOURCE_EXHAUSTED and says nothing. What does not fit is counted instead.
_LIST_BYTES: Final = 4500
_TEXT_CHARACTERS: Final = 400

# A node holds the configuration of a store that is not this one.
OTHER_EPOCH: Final = "OTHER_EPOCH"

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestViolation:
    """One thing that is wrong with a request: the path of its field, a text for people, a reason for programs."""

    path: str
    message: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A resource outside the request that stands against it, such as `route chat`."""

    subject: str
    message: str
    reason: str


class ApiError(Exception):
    """A refusal whose text the caller may read."""

    def __init__(self, code: code_pb2.Code, reason: str, message: str, detail: Message | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.detail = detail

    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code, message=shortened(self.message, _TEXT_CHARACTERS))
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        if self.detail is not None:
            status.details.add().Pack(self.detail)
        return status


def invalid(violations: Sequence[RequestViolation]) -> ApiError:
    """INVALID_ARGUMENT with a `BadRequest` of all violations, or as many as fit."""
    listed = _as_many_as_fit(
        [
            error_details_pb2.BadRequest.FieldViolation(
                field=shortened(violation.path, _TEXT_CHARACTERS),
                description=shortened(violation.message, _TEXT_CHARACTERS),
                reason=violation.reason,
            )
            for violation in violations
        ]
    )
    first = violations[0]
    text = _summary(f"{first.path}: {first.message}", len(violations), len(listed))
    return ApiError(
        code_pb2.INVALID_ARGUMENT, first.reason, text, error_details_pb2.BadRequest(field_violations=listed)
    )


def conflicting(conflicts: Sequence[Conflict]) -> ApiError:
    """FAILED_PRECONDITION with a `PreconditionFailure` of all resources in the way, or as many as fit."""
    listed = _as_many_as_fit(
        [
            error_details_pb2.PreconditionFailure.Violation(
                type=conflict.reason,
                subject=shortened(conflict.subject, _TEXT_CHARACTERS),
                description=shortened(conflict.message, _TEXT_CHARACTERS),
            )
            for conflict in conflicts
        ]
    )
    first = conflicts[0]
    text = _summary(f"{first.subject}: {first.message}", len(conflicts), len(listed))
    return ApiError(
        code_pb2.FAILED_PRECONDITION, first.reason, text, error_details_pb2.PreconditionFailure(violations=listed)
    )


def shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _summary(first: str, count: int, listed: int) -> str:
    if count == 1:
        return first
    rest = f"and {count - 1} more" if listed == count else f"and {count - 1} more, {listed} of {count} listed"
    return f"{shortened(first, _TEXT_CHARACTERS - 60)} ({rest})"


def _as_many_as_fit(items: Sequence[_M]) -> Sequence[_M]:
    size = 0
    for index, item in enumerate(items):
        size += item.ByteSize() + 4
        if size > _LIST_BYTES and index > 0:
            return items[:index]
    return items
