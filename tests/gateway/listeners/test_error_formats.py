"""Errors in each dialect: every class has its place in every form, and refusals stand as their backends wrote them."""

import json

import pytest

from gateway.errors import ErrorCode, GatewayError, MethodNotAllowedError, RateLimitedError, UpstreamRejectedError
from gateway.listeners.error_formats import (
    ANTHROPIC_ERRORS,
    BEDROCK_ERRORS,
    COHERE_ERRORS,
    GEMINI_ERRORS,
    OLLAMA_ERRORS,
    OPENAI_ERRORS,
)
from gateway.listeners.errors import HTTP_STATUS
from gateway.listeners.http_exchange import ErrorFormat
from gateway.listeners.surfaces import GEMINI_SURFACES, SURFACES, ChatSurface
from gateway.schemas.bedrock.invocation import BEDROCK_INVOCATION
from gateway.schemas.dialect import Dialect, EventKind

SURFACES_BY_FAMILY = {
    surface.dialect.error_family: surface
    for surface in (*SURFACES.values(), *GEMINI_SURFACES.values())
    if isinstance(surface, ChatSurface)
}
OF_SURFACES: dict[str, ErrorFormat] = {
    "openai": OPENAI_ERRORS,
    "anthropic": ANTHROPIC_ERRORS,
    "gemini": GEMINI_ERRORS,
    "cohere": COHERE_ERRORS,
    "ollama": OLLAMA_ERRORS,
}
FORMATS = {**OF_SURFACES, "bedrock": BEDROCK_ERRORS}

families = pytest.mark.parametrize("family", FORMATS)


def with_code(code: ErrorCode) -> GatewayError:
    error = GatewayError('it "broke"\n', reason="BROKEN")
    error.code = code
    return error


def dialect_of(family: str) -> Dialect:
    return BEDROCK_INVOCATION if family == "bedrock" else SURFACES_BY_FAMILY[family].dialect


def test_every_surface_has_the_errors_of_its_dialect() -> None:
    assert SURFACES_BY_FAMILY.keys() == OF_SURFACES.keys()
    for surface in (*SURFACES.values(), *GEMINI_SURFACES.values()):
        assert surface.errors is FORMATS[surface.dialect.error_family]


@families
@pytest.mark.parametrize("code", ErrorCode)
def test_dialect_reads_what_is_written_in_it(family: str, code: ErrorCode) -> None:
    answer = FORMATS[family].answer(with_code(code))
    assert (answer.status, answer.content_type) == (HTTP_STATUS[code], b"application/json")
    assert dialect_of(family).read_error(answer.body) == 'it "broke"\n'


@families
@pytest.mark.parametrize("code", ErrorCode)
def test_error_is_one_whole_event_that_ends_a_stream(family: str, code: ErrorCode) -> None:
    dialect = dialect_of(family)
    written = FORMATS[family].event(with_code(code))
    assert written is not None
    parser = dialect.framing.parser()
    (event,) = parser.feed(written)
    assert parser.pending == b""
    assert dialect.classify_event(event.data, event.event) is EventKind.ERROR
    assert "broke" in event.data.decode()


@families
def test_headers_tell_when_to_come_again_and_what_is_allowed(family: str) -> None:
    assert (b"retry-after", b"3") in FORMATS[family].answer(RateLimitedError("no", retry_after_s=2.5)).headers
    assert (b"allow", b"POST") in FORMATS[family].answer(MethodNotAllowedError("no")).headers


@families
@pytest.mark.parametrize("of", FORMATS)
def test_refusal_of_a_backend_of_the_callers_own_family_stands_as_it_was_written(family: str, of: str) -> None:
    body = b'{ "error": "in a form of its own" }'
    refusal = UpstreamRejectedError(
        "no", code=ErrorCode.INVALID_REQUEST, status=422, body=body, content_type="application/json", family=of
    )
    answer = FORMATS[family].answer(refusal)
    if family == of:
        assert (answer.status, answer.body) == (422, body)
    else:
        assert answer.status == 400
        assert dialect_of(family).read_error(answer.body) == "no"


@families
def test_refusal_in_no_known_form_is_told_in_the_callers(family: str) -> None:
    refusal = UpstreamRejectedError(
        "no", code=ErrorCode.NOT_FOUND, status=404, body=None, content_type="text/html", family=family
    )
    answer = FORMATS[family].answer(refusal)
    assert (answer.status, dialect_of(family).read_error(answer.body)) == (404, "no")


def test_errors_of_google_name_their_reason() -> None:
    error = json.loads(GEMINI_ERRORS.answer(with_code(ErrorCode.RATE_LIMITED)).body)["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["details"][0]["reason"] == "BROKEN"


@pytest.mark.parametrize("code", ErrorCode)
def test_errors_of_bedrock_are_of_a_kind_that_its_clients_know(code: ErrorCode) -> None:
    headers = dict(BEDROCK_ERRORS.answer(with_code(code)).headers)
    assert headers[b"x-amzn-errortype"].decode() in {*KINDS, "AccessDeniedException", "ResourceNotFoundException"}
    (event,) = BEDROCK_INVOCATION.framing.parser().feed(BEDROCK_ERRORS.event(with_code(code)) or b"")
    assert event.event[0].upper() + event.event[1:] in KINDS


KINDS = {
    "InternalServerException",
    "ModelTimeoutException",
    "ServiceUnavailableException",
    "ThrottlingException",
    "ValidationException",
}
"""Those that both answers and streams can have, by the description of the API."""
