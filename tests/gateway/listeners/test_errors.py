"""Errors on the wire: total tables, bodies that the official client understands, gRPC details, and nothing that an
upstream wrote can break them."""

import json
import math
from typing import Any

import grpc
import openai
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import (
    BadGatewayError,
    ErrorCode,
    GatewayError,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    TimeoutExceededError,
    UnauthenticatedError,
    UnavailableError,
    UpstreamRejectedError,
)
from gateway.listeners.errors import GRPC_STATUS, HTTP_STATUS, grpc_status, internal_error, openai_error, problem
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response


def rejected(
    *, status: int = 422, body: bytes | None = b'{"error":{}}', content_type: str = "application/json"
) -> UpstreamRejectedError:
    return UpstreamRejectedError(
        "no", code=ErrorCode.INVALID_REQUEST, status=status, body=body, content_type=content_type
    )


def with_code(code: ErrorCode) -> GatewayError:
    error = GatewayError("it broke", reason="BROKEN")
    error.code = code
    return error


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_place_in_every_table(code: ErrorCode) -> None:
    assert 400 <= HTTP_STATUS[code] <= 599
    assert GRPC_STATUS[code] is not grpc.StatusCode.OK
    assert openai_error(with_code(code)).status == HTTP_STATUS[code]
    assert json.loads(openai_error(with_code(code)).body)["error"]["type"]


def test_tables_have_nothing_more() -> None:
    assert HTTP_STATUS.keys() == GRPC_STATUS.keys() == set(ErrorCode)


@pytest.mark.parametrize(
    ("error", "status", "kind", "raised"),
    [
        (InvalidRequestError("no"), 400, "invalid_request_error", openai.BadRequestError),
        (UnauthenticatedError("no"), 401, "authentication_error", openai.AuthenticationError),
        (NotFoundError("no"), 404, "not_found_error", openai.NotFoundError),
        (MethodNotAllowedError("no"), 405, "invalid_request_error", openai.APIStatusError),
        (PayloadTooLargeError("no"), 413, "invalid_request_error", openai.APIStatusError),
        (RateLimitedError("no"), 429, "rate_limit_error", openai.RateLimitError),
        (InternalError("no"), 500, "server_error", openai.InternalServerError),
        (BadGatewayError("no"), 502, "server_error", openai.InternalServerError),
        (UnavailableError("no"), 503, "server_error", openai.InternalServerError),
        (TimeoutExceededError("no"), 504, "server_error", openai.InternalServerError),
    ],
)
async def test_official_client_raises_the_right_error(
    error: GatewayError,
    status: int,
    kind: str,
    raised: type[openai.APIStatusError],
    faulty_upstream: FaultyUpstream,
) -> None:
    caught = await error_of_official_client(error, faulty_upstream)
    assert type(caught) is raised
    assert (caught.status_code, caught.type, caught.code, caught.param) == (status, kind, error.reason.lower(), None)
    assert isinstance(caught.body, dict)
    assert caught.body["message"] == "no"


async def error_of_official_client(error: GatewayError, upstream: FaultyUpstream) -> openai.APIStatusError:
    answer = openai_error(error)
    assert answer.content_type is not None
    upstream.script = scripts.answer(response(answer.status, answer.body, content_type=answer.content_type.decode()))
    async with openai.AsyncOpenAI(base_url=upstream.url, api_key="k", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.models.list()
    return caught.value


async def test_offending_field_is_named_to_the_official_client(faulty_upstream: FaultyUpstream) -> None:
    error = InvalidRequestError("no", param="messages[0]")
    assert (await error_of_official_client(error, faulty_upstream)).param == "messages[0]"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_told(text: str) -> None:
    error = InvalidRequestError(text, param=text)
    assert json.loads(openai_error(error).body)["error"]["message"] == text
    assert json.loads(problem(error).body)["title"] == text
    assert grpc_status(error).message == text


@pytest.mark.parametrize(
    ("seconds", "header"), [(None, None), (0.0, b"0"), (0.2, b"1"), (1.0, b"1"), (1.5, b"2"), (86400.0, b"86400")]
)
def test_retry_after_is_whole_seconds_rounded_up(seconds: float | None, header: bytes | None) -> None:
    assert dict(openai_error(UnavailableError("no", retry_after_s=seconds)).headers).get(b"retry-after") == header


def test_rejection_is_shown_as_the_upstream_wrote_it() -> None:
    answer = openai_error(rejected(status=422, body=b'{"error":{"message":"x"},"more":1}', content_type="a/b; c=d"))
    assert (answer.status, answer.body) == (422, b'{"error":{"message":"x"},"more":1}')
    assert answer.content_type == b"a/b; c=d"


def test_rejection_in_another_dialect_is_told_in_ours() -> None:
    answer = openai_error(rejected(status=422, body=None, content_type="text/html"))
    assert (answer.status, answer.content_type) == (400, b"application/json")
    assert json.loads(answer.body)["error"]["code"] == "upstream_rejected"


@pytest.mark.parametrize("content_type", ["application/json; é", "application/json; €", "a/b; \udce9"])
def test_rejection_with_an_odd_content_type_can_be_sent(content_type: str) -> None:
    sent = openai_error(rejected(content_type=content_type)).content_type
    assert sent is not None
    assert sent.isascii()


def test_problem() -> None:
    answer = problem(NotFoundError("nothing here", reason="PATH_NOT_FOUND"))
    assert (answer.status, answer.content_type) == (404, b"application/problem+json")
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "nothing here",
        "status": 404,
        "code": "PATH_NOT_FOUND",
    }


def detail(packed: PackedAny, into: Message) -> Any:
    assert packed.Unpack(into)
    return into


@pytest.mark.parametrize("code", ErrorCode)
def test_grpc_status_names_the_reason(code: ErrorCode) -> None:
    status = grpc_status(with_code(code))
    assert status.code == GRPC_STATUS[code].value[0]
    assert status.message == "it broke"
    (packed,) = status.details
    info = detail(packed, error_details_pb2.ErrorInfo())
    assert (info.reason, info.domain) == ("BROKEN", "janua")


def test_grpc_status_says_when_to_come_back_and_what_was_wrong() -> None:
    status = grpc_status(InvalidRequestError("no", param="request.model", retry_after_s=1.5))
    retry = detail(status.details[1], error_details_pb2.RetryInfo())
    assert retry.retry_delay.ToMilliseconds() == 1500
    (violation,) = detail(status.details[2], error_details_pb2.BadRequest()).field_violations
    assert (violation.field, violation.description) == ("request.model", "no")


def test_waiting_not_at_all_is_told() -> None:
    status = grpc_status(UnavailableError("no", retry_after_s=0.0))
    assert detail(status.details[1], error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() == 0


@given(st.floats(0, 10 * 365 * 86400))
def test_any_waiting_time_can_be_told(seconds: float) -> None:
    error = RateLimitedError("no", retry_after_s=seconds)
    assert openai_error(error).headers == ((b"retry-after", b"%d" % math.ceil(seconds)),)
    retry = detail(grpc_status(error).details[1], error_details_pb2.RetryInfo())
    assert retry.retry_delay.ToNanoseconds() == pytest.approx(seconds * 1e9, abs=1e3)


def test_internal_error_tells_the_request_id_alone() -> None:
    error = internal_error("r-1")
    assert str(error) == "an internal error happened; the log has it under request id r-1"
    assert openai_error(error).status == 500
