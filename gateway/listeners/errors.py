"""How errors look on the wire: the two total tables from `ErrorCode` outward, and the bodies of each dialect."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import grpc
import msgspec
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from gateway.errors import (
    ErrorCode,
    FixedAnswerError,
    GatewayError,
    InternalError,
    MethodNotAllowedError,
    RateLimitedError,
    UpstreamRejectedError,
)

HTTP_STATUS: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.INVALID_REQUEST: 400,
        ErrorCode.PAYLOAD_TOO_LARGE: 413,
        ErrorCode.HEADERS_TOO_LARGE: 431,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
        ErrorCode.UNAUTHENTICATED: 401,
        ErrorCode.PERMISSION_DENIED: 403,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.METHOD_NOT_ALLOWED: 405,
        ErrorCode.RATE_LIMITED: 429,
        ErrorCode.UNAVAILABLE: 503,
        ErrorCode.BAD_GATEWAY: 502,
        ErrorCode.TIMEOUT: 504,
        ErrorCode.INTERNAL: 500,
    }
)

GRPC_STATUS: Mapping[ErrorCode, grpc.StatusCode] = MappingProxyType(
    {
        ErrorCode.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
        ErrorCode.PAYLOAD_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorCode.HEADERS_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
        ErrorCode.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
        ErrorCode.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
        ErrorCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        ErrorCode.METHOD_NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
        ErrorCode.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorCode.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        ErrorCode.BAD_GATEWAY: grpc.StatusCode.UNAVAILABLE,
        ErrorCode.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
        ErrorCode.INTERNAL: grpc.StatusCode.INTERNAL,
    }
)

_OF_HTTP_STATUS: Mapping[int, grpc.StatusCode] = MappingProxyType(
    {
        400: grpc.StatusCode.INVALID_ARGUMENT,
        401: grpc.StatusCode.UNAUTHENTICATED,
        403: grpc.StatusCode.PERMISSION_DENIED,
        404: grpc.StatusCode.NOT_FOUND,
        409: grpc.StatusCode.ABORTED,
        410: grpc.StatusCode.NOT_FOUND,
        413: grpc.StatusCode.RESOURCE_EXHAUSTED,
        429: grpc.StatusCode.RESOURCE_EXHAUSTED,
        501: grpc.StatusCode.UNIMPLEMENTED,
        502: grpc.StatusCode.UNAVAILABLE,
        503: grpc.StatusCode.UNAVAILABLE,
        504: grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)

_OPENAI_TYPES: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.INVALID_REQUEST: "invalid_request_error",
        ErrorCode.PAYLOAD_TOO_LARGE: "invalid_request_error",
        ErrorCode.HEADERS_TOO_LARGE: "invalid_request_error",
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: "invalid_request_error",
        ErrorCode.UNAUTHENTICATED: "authentication_error",
        ErrorCode.PERMISSION_DENIED: "permission_error",
        ErrorCode.NOT_FOUND: "not_found_error",
        ErrorCode.METHOD_NOT_ALLOWED: "invalid_request_error",
        ErrorCode.RATE_LIMITED: "rate_limit_error",
        ErrorCode.UNAVAILABLE: "server_error",
        ErrorCode.BAD_GATEWAY: "server_error",
        ErrorCode.TIMEOUT: "server_error",
        ErrorCode.INTERNAL: "server_error",
    }
)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as an HTTP answer. Its length stands in no header."""

    status: int
    content_type: bytes | None
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers, with the type of the body."""
        headers = list(self.headers)
        if self.content_type is not None:
            headers.append((b"content-type", self.content_type))
        return headers


def openai_error(error: GatewayError) -> ErrorAnswer:
    """The error as OpenAI writes it. What a backend of that dialect refused is shown as the backend wrote it."""
    if isinstance(error, UpstreamRejectedError) and error.body is not None and error.family == "openai":
        return ErrorAnswer(error.status, error.content_type.encode("ascii", "replace"), error.body)
    return ErrorAnswer(HTTP_STATUS[error.code], b"application/json", openai_error_body(error), error_headers(error))


def openai_error_body(error: GatewayError) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}`."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": _OPENAI_TYPES[error.code],
                "param": error.param,
                "code": error.reason.lower(),
            }
        }
    )


def problem(error: GatewayError) -> ErrorAnswer:
    """The error as `application/problem+json` (RFC 9457), for paths that belong to no dialect."""
    status = HTTP_STATUS[error.code]
    body = {"type": "about:blank", "title": error.message, "status": status, "code": error.reason}
    return ErrorAnswer(status, b"application/problem+json", msgspec.json.encode(body), error_headers(error))


def error_headers(error: GatewayError) -> tuple[tuple[bytes, bytes], ...]:
    """What the headers of an answer say of an error: when another try makes sense, which methods are served."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_s)))
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return tuple(headers)


def grpc_status(error: GatewayError) -> status_pb2.Status:
    """The error as `google.rpc.Status` with ErrorInfo, and RetryInfo and BadRequest where they apply."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain="janua")
    code = _of_http_status(error.status) if isinstance(error, FixedAnswerError) else GRPC_STATUS[error.code]
    status = status_pb2.Status(code=code.value[0], message=error.message)
    packed = [_pack(info)]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    if error.param is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.param, description=error.message)
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, RateLimitedError) and error.exceeded:
        failure = error_details_pb2.QuotaFailure()
        for quota in error.exceeded:
            failure.violations.add(subject=f"policy:{quota.policy}", description=quota.allowed)
        packed.append(_pack(failure))
    status.details.extend(packed)
    return status


def _of_http_status(status: int) -> grpc.StatusCode:
    """The gRPC status that says what an HTTP status of a route's own answer says."""
    if 300 <= status < 400:
        return grpc.StatusCode.UNAVAILABLE  # gRPC knows no redirects
    return _OF_HTTP_STATUS.get(status, grpc.StatusCode.UNKNOWN)


def _pack(
    message: Message,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def internal_error(request_id: str) -> InternalError:
    """What a caller may know of a fault in Janua itself."""
    return InternalError(f"an internal error happened; the log has it under request id {request_id}")
