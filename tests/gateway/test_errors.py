"""The errors of the data plane: each says what it is, and none shows more than its own text."""

import pytest

from gateway import errors
from gateway.errors import ErrorCode, FixedAnswerError, GatewayError, UpstreamRejectedError, UpstreamStatusError

WITH_AN_ANSWER = (UpstreamRejectedError, UpstreamStatusError, FixedAnswerError)
"""They carry what somebody else has answered, and with it their code."""

CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, GatewayError) and each not in (GatewayError, *WITH_AN_ANSWER)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_code_and_a_reason(kind: type[GatewayError]) -> None:
    error = kind("it broke")
    assert str(error) == error.message == "it broke"
    assert isinstance(error.code, ErrorCode)
    assert error.reason == kind.default_reason
    assert error.reason.isupper()
    assert (error.param, error.retry_after_s) == (None, None)


def test_every_code_has_one_class_of_its_own() -> None:
    codes = [kind.code for kind in CLASSES if kind.__base__ is errors.GatewayError]
    assert sorted(codes, key=lambda code: code.value) == list(ErrorCode)


def test_details_are_kept() -> None:
    error = errors.UnavailableError("busy", reason="FULL", param="model", retry_after_s=1.5)
    assert (error.reason, error.param, error.retry_after_s) == ("FULL", "model", 1.5)


def test_status_keeps_what_the_upstream_said() -> None:
    metadata = (("detail-bin", b"\0"),)
    error = UpstreamStatusError("no", code=ErrorCode.NOT_FOUND, status="NOT_FOUND", trailing_metadata=metadata)
    assert (error.code, error.status, error.trailing_metadata) == (ErrorCode.NOT_FOUND, "NOT_FOUND", metadata)
    assert error.reason == "UPSTREAM_REJECTED"


def test_fixed_answer_says_its_text() -> None:
    assert str(FixedAnswerError(status=410, headers=(), body=b"gone")) == "gone"
    assert str(FixedAnswerError(status=308, headers=(), body=b"")) == "the route answers with status 308"


def test_rejection_keeps_what_the_upstream_said() -> None:
    error = UpstreamRejectedError("no", code=ErrorCode.NOT_FOUND, status=404, body=b"{}", content_type="text/x")
    assert isinstance(error, GatewayError)
    assert (error.code, error.status, error.body, error.content_type) == (ErrorCode.NOT_FOUND, 404, b"{}", "text/x")
    assert error.reason == "UPSTREAM_REJECTED"
    assert str(error) == "no"
