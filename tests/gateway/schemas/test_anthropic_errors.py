"""Errors in Anthropic's form: read and classified, and written for each kind of error there is."""

import json

import pytest

from gateway.config.snapshot import Failure
from gateway.errors import ErrorCode
from gateway.framing.sse import SseParser
from gateway.schemas.anthropic.errors import classify_error, error_body, error_event, read_error


def body(kind: object, message: object) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


@pytest.mark.parametrize(
    ("kind", "message", "failure"),
    [
        ("overloaded_error", "Overloaded", Failure.OVERLOADED),
        ("rate_limit_error", "This request would exceed your organization's rate limit", Failure.RATE_LIMITED),
        ("timeout_error", "took too long", Failure.TIMEOUT),
        ("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum", Failure.CONTEXT_LENGTH),
        (
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
            Failure.CONTEXT_LENGTH,
        ),
        ("invalid_request_error", "Output blocked by content filtering policy", Failure.CONTENT_FILTER),
        ("api_error", "Overloaded", Failure.OVERLOADED),
        ("invalid_request_error", "max_tokens: Field required", None),
        ("api_error", "Internal server error", None),
        ("authentication_error", "invalid x-api-key", None),
        (None, None, None),
        (5, ["x"], None),
    ],
)
def test_class_of_an_error(kind: object, message: object, failure: Failure | None) -> None:
    assert classify_error(body(kind, message)) is failure


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"error":{"message":"of another"}}', b'{"type":"message","error":{}}', b'{"type":"error"}'],
)
def test_what_is_no_error_of_this_dialect(data: bytes) -> None:
    assert read_error(data) is None
    assert classify_error(data) is None


def test_message_of_an_error() -> None:
    assert read_error(body("api_error", "no")) == "no"
    assert read_error(body("api_error", None)) == "the upstream gave no message"


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_can_be_written_and_read(code: ErrorCode) -> None:
    written = error_body(code, "nö", "req_1")
    assert read_error(written) == "nö"
    told = json.loads(written)
    assert told["request_id"] == "req_1"
    assert set(told["error"]) == {"type", "message"}
    (event,) = SseParser().feed(error_event(code, "nö", "req_1"))
    assert (event.event, event.data) == ("error", written)


def test_errors_that_may_pass_say_so_to_anthropics_clients() -> None:
    kinds = {code: json.loads(error_body(code, ""))["error"]["type"] for code in ErrorCode}
    assert kinds[ErrorCode.RATE_LIMITED] == "rate_limit_error"
    assert kinds[ErrorCode.UNAVAILABLE] == "overloaded_error"
    assert kinds[ErrorCode.TIMEOUT] == "timeout_error"
    assert kinds[ErrorCode.UNAUTHENTICATED] == "authentication_error"
    assert kinds[ErrorCode.PAYLOAD_TOO_LARGE] == "request_too_large"
