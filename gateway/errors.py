"""The errors of the data plane, one class for each thing a caller can do about it. How an error looks on the wire is
decided in `gateway.listeners.errors`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto


class ErrorCode(Enum):
    """What kind of error it is. The listeners' tables map every member to an HTTP and a gRPC status."""

    INVALID_REQUEST = auto()
    PAYLOAD_TOO_LARGE = auto()
    HEADERS_TOO_LARGE = auto()
    UNSUPPORTED_MEDIA_TYPE = auto()
    UNAUTHENTICATED = auto()
    PERMISSION_DENIED = auto()
    NOT_FOUND = auto()
    METHOD_NOT_ALLOWED = auto()
    RATE_LIMITED = auto()
    UNAVAILABLE = auto()
    BAD_GATEWAY = auto()
    TIMEOUT = auto()
    INTERNAL = auto()


class GatewayError(Exception):
    """An error with a text that may be shown to the caller.

    `reason` is machine-readable and stable: the `code` of an OpenAI error, the `reason` of `google.rpc.ErrorInfo`.
    `param` names the offending request field, if there is one. `retry_after_s` tells when another try makes sense.
    """

    code: ErrorCode = ErrorCode.INTERNAL
    default_reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequestError(GatewayError):
    """The request can never succeed as it is."""

    code = ErrorCode.INVALID_REQUEST
    default_reason = "INVALID_REQUEST"


class GuardrailDeniedError(InvalidRequestError):
    """A guardrail does not let the request, or the answer to it, pass. The text says which, never what was found."""

    default_reason = "GUARDRAIL_DENIED"


class PayloadTooLargeError(GatewayError):
    """The body is over the limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE
    default_reason = "PAYLOAD_TOO_LARGE"


class HeadersTooLargeError(GatewayError):
    """The headers are over the limit."""

    code = ErrorCode.HEADERS_TOO_LARGE
    default_reason = "HEADERS_TOO_LARGE"


class UnsupportedMediaTypeError(GatewayError):
    """The body is encoded in a way that is not read here."""

    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE
    default_reason = "UNSUPPORTED_MEDIA_TYPE"


class Credential(IntEnum):
    """What was wrong with a caller's credential. Where it may be one of several kinds, the highest tells most."""

    MISSING = 0
    OF_ANOTHER_KIND = 1
    WRONG = 2


class UnauthenticatedError(GatewayError):
    """The caller's credential is missing, wrong or expired."""

    code = ErrorCode.UNAUTHENTICATED
    default_reason = "INVALID_API_KEY"

    def __init__(self, message: str, *, reason: str | None = None, credential: Credential = Credential.WRONG) -> None:
        super().__init__(message, reason=reason)
        self.credential = credential


class PermissionDeniedError(GatewayError):
    """The caller is not allowed to do this."""

    code = ErrorCode.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class NotFoundError(GatewayError):
    """There is no such model, route or path."""

    code = ErrorCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class MethodNotAllowedError(GatewayError):
    """The path is served, but not for this method. `allowed` are those that it is served for."""

    code = ErrorCode.METHOD_NOT_ALLOWED
    default_reason = "METHOD_NOT_ALLOWED"

    def __init__(self, message: str, *, allowed: Sequence[str] = ("POST",)) -> None:
        super().__init__(message)
        self.allowed = tuple(sorted(allowed))


@dataclass(frozen=True, slots=True)
class ExceededQuota:
    """A limit that a request would be over: the policy's name, and what it allows in words."""

    policy: str
    allowed: str


class RateLimitedError(GatewayError):
    """A limit is reached, or the backend asks to slow down. `exceeded` are the limits, if they are Janua's own."""

    code = ErrorCode.RATE_LIMITED
    default_reason = "RATE_LIMITED"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after_s: float | None = None,
        exceeded: Sequence[ExceededQuota] = (),
    ) -> None:
        super().__init__(message, reason=reason, retry_after_s=retry_after_s)
        self.exceeded = tuple(exceeded)


class UnavailableError(GatewayError):
    """Nothing can answer at present; the same request may succeed later."""

    code = ErrorCode.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class BadGatewayError(GatewayError):
    """The backend failed, or answered what cannot be used."""

    code = ErrorCode.BAD_GATEWAY
    default_reason = "UPSTREAM_FAILED"


class UpstreamRejectedError(GatewayError):
    """The backend refused the request with a status from 400 to 499; another try would be refused too.

    `body` is its answer where that is an error of the backend's own dialect, else None: a caller who speaks a dialect
    of that `family` gets it as it is.
    """

    default_reason = "UPSTREAM_REJECTED"

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode,
        status: int,
        body: bytes | None,
        content_type: str,
        family: str = "openai",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.body = body
        self.content_type = content_type
        self.family = family


class UpstreamStatusError(GatewayError):
    """A backend that speaks gRPC ended the call with a status other than OK: its name, text and trailing metadata.

    Callers over gRPC get it as it is.
    """

    default_reason = "UPSTREAM_REJECTED"

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode,
        status: str,
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.trailing_metadata = trailing_metadata


class FixedAnswerError(GatewayError):
    """Not a failure: the route answers itself. `headers` are names in lower case and values, as bytes."""

    default_reason = "DIRECT_RESPONSE"

    def __init__(self, *, status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        super().__init__(body.decode() or f"the route answers with status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class TimeoutExceededError(GatewayError):
    """A time limit passed before the answer was there."""

    code = ErrorCode.TIMEOUT
    default_reason = "TIMEOUT"


class InternalError(GatewayError):
    """Janua itself failed; the log has the cause under the request id."""
