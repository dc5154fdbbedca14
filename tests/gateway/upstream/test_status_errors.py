"""What statuses and error bodies mean: which error the client gets, and whether trying elsewhere may help."""

import json
from collections.abc import Iterable

import pytest

from gateway.config.snapshot import DEFAULT_FALLBACK_ON, DEFAULT_RETRY_ON, Failure
from gateway.errors import (
    BadGatewayError,
    ErrorCode,
    GatewayError,
    InvalidRequestError,
    RateLimitedError,
    UnavailableError,
    UpstreamRejectedError,
)
from gateway.transport.errors import ConnectionBrokenError
from gateway.transport.messages import read_all
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.status_errors import event_error, reset, status_error
from tests.gateway.upstream.calls import CHAT

CONTEXT_LENGTH = {"message": "too long", "code": "context_length_exceeded"}
CONTENT_FILTER = {"message": "not nice", "code": "content_filter"}
OVERLOADED = {"message": "too much", "type": "overloaded_error"}


class Answer:
    """A backend's answer with its body in two pieces."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.status = status
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._pieces = [piece for piece in (body[:1], body[1:]) if piece]
        self.error: Exception | None = None

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in self._headers.items()]

    def header(self, name: str) -> str | None:
        return self._headers.get(name)

    async def read(self) -> bytes:
        if self.error is not None:
            raise self.error
        return self._pieces.pop(0) if self._pieces else b""

    async def read_all(self, limit: int) -> bytes:
        return await read_all(self, limit)

    def abort(self, error: Exception) -> None:
        self.error = error

    def close(self) -> None:
        self._pieces.clear()


def answer(status: int, error: object = None, **headers: str) -> Answer:
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return Answer(status, body, **({"content_type": "application/json"} | headers))


async def failed(status: int, error: object = None, **headers: str) -> AttemptFailedError:
    failure = await status_error(answer(status, error, **headers), CHAT)
    assert isinstance(failure, AttemptFailedError)
    return failure


@pytest.mark.parametrize(
    ("status", "error", "failures"),
    [
        (500, None, [Failure.SERVER_ERROR]),
        (501, None, [Failure.SERVER_ERROR]),
        (502, None, [Failure.GATEWAY_ERROR, Failure.SERVER_ERROR]),
        (503, None, [Failure.GATEWAY_ERROR, Failure.OVERLOADED, Failure.SERVER_ERROR]),
        (504, None, [Failure.GATEWAY_ERROR, Failure.SERVER_ERROR]),
        (529, None, [Failure.OVERLOADED, Failure.SERVER_ERROR]),
        (500, OVERLOADED, [Failure.OVERLOADED, Failure.SERVER_ERROR]),
        (502, CONTEXT_LENGTH, [Failure.CONTEXT_LENGTH, Failure.GATEWAY_ERROR, Failure.SERVER_ERROR]),
    ],
)
async def test_a_server_error_is_of_all_its_classes_the_most_telling_first(
    status: int, error: object, failures: list[Failure]
) -> None:
    assert list((await failed(status, error)).failures) == failures


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
async def test_another_backend_is_tried_by_default_after_every_server_error(status: int) -> None:
    assert not DEFAULT_FALLBACK_ON.isdisjoint((await failed(status)).failures)


@pytest.mark.parametrize(("status", "is_retried"), [(500, False), (502, True), (503, True), (504, True), (529, False)])
async def test_the_same_backend_is_tried_again_by_default_only_after_gateway_errors(
    status: int, is_retried: bool
) -> None:
    assert DEFAULT_RETRY_ON.isdisjoint((await failed(status)).failures) is not is_retried


@pytest.mark.parametrize(
    ("error", "kind"), [(CONTEXT_LENGTH, Failure.CONTEXT_LENGTH), (CONTENT_FILTER, Failure.CONTENT_FILTER)]
)
async def test_a_refusal_that_another_model_may_not_share_can_be_taken_to_it(error: object, kind: Failure) -> None:
    failure = await failed(400, error)
    assert failure.failures == (kind,)
    assert isinstance(failure.error, UpstreamRejectedError)
    assert (failure.error.code, failure.error.status) == (ErrorCode.INVALID_REQUEST, 400)
    assert json.loads(failure.error.body or b"") == {"error": error}


async def test_a_refusal_that_tells_no_class_is_final() -> None:
    refusal = await status_error(answer(422, {"message": "no"}), CHAT)
    assert isinstance(refusal, UpstreamRejectedError)
    assert (str(refusal), refusal.status, refusal.content_type) == ("no", 422, "application/json")


async def test_a_request_that_the_backend_found_too_slow_is_a_timeout() -> None:
    failure = await failed(408)
    assert failure.failures == (Failure.TIMEOUT,)
    assert failure.error.code is ErrorCode.TIMEOUT


async def test_a_rate_limit_is_told_with_its_words_and_its_pause() -> None:
    failure = await failed(429, {"message": "20 a minute"}, retry_after="3")
    assert failure.failures == (Failure.RATE_LIMITED,)
    assert isinstance(failure.error, RateLimitedError)
    assert (failure.error.message, failure.error.retry_after_s) == ("20 a minute", 3.0)
    assert (await failed(429)).error.message == "the upstream asks to slow down"


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_a_refused_credential_is_never_the_callers_and_its_words_are_not_shown(status: int) -> None:
    failure = await failed(status, {"message": "Incorrect API key provided: sk-ours"})
    assert failure.failures == (Failure.PERMISSION_DENIED if status == 403 else Failure.UNAUTHENTICATED,)
    assert isinstance(failure.error, BadGatewayError)
    assert failure.error.reason == "UPSTREAM_AUTH_FAILED"
    assert "sk-ours" not in failure.error.message


@pytest.mark.parametrize("status", [300, 301, 304, 308, 399])
async def test_redirects_are_not_followed_and_not_tried_elsewhere(status: int) -> None:
    failure = await failed(status, location="https://elsewhere.example")
    assert failure.failures == ()
    assert failure.error.message == f"the upstream answered with a redirect (status {status}), which is not followed"


@pytest.mark.parametrize("status", [100, 101, 199])
async def test_an_informational_status_is_a_broken_exchange(status: int) -> None:
    assert (await failed(status)).failures == (Failure.RESET,)


async def test_an_error_that_is_too_long_to_be_read_is_told_by_its_status() -> None:
    huge = await status_error(Answer(503, b"x" * 1_100_000), CHAT)
    assert isinstance(huge, AttemptFailedError)
    assert huge.error.message == "the upstream failed (status 503)"


async def test_an_error_body_that_breaks_off_is_a_broken_connection() -> None:
    broken = answer(500, {"message": "x"})
    broken.error = ConnectionBrokenError("gone")
    with pytest.raises(ConnectionBrokenError):
        await status_error(broken, CHAT)


@pytest.mark.parametrize(
    ("error", "kind", "shown", "reason"),
    [
        ({"message": "x", "code": "rate_limit_exceeded"}, Failure.RATE_LIMITED, RateLimitedError, "RATE_LIMITED"),
        (OVERLOADED, Failure.OVERLOADED, UnavailableError, "UPSTREAM_OVERLOADED"),
        (CONTEXT_LENGTH, Failure.CONTEXT_LENGTH, InvalidRequestError, "CONTEXT_LENGTH"),
        (CONTENT_FILTER, Failure.CONTENT_FILTER, InvalidRequestError, "CONTENT_FILTER"),
        ({"message": "x"}, Failure.GATEWAY_ERROR, BadGatewayError, "UPSTREAM_FAILED"),
    ],
)
def test_a_stream_that_begins_with_an_error_fails_as_the_error_says(
    error: dict[str, str], kind: Failure, shown: type[GatewayError], reason: str
) -> None:
    failure = event_error(json.dumps({"error": error}).encode(), CHAT)
    assert failure.failures == (kind,)
    assert type(failure.error) is shown
    assert failure.error.reason == reason
    assert failure.error.message == f"the upstream's stream began with an error: {error['message']}"


def test_an_error_event_without_words_is_told_without() -> None:
    assert event_error(b"whatever", CHAT).error.message == "the upstream's stream began with an error"


def test_a_broken_connection_may_be_tried_again() -> None:
    failure = reset("cut")
    assert (failure.failures, failure.error.reason, str(failure)) == ((Failure.RESET,), "UPSTREAM_RESET", "cut")
