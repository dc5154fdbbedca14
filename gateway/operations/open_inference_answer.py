"""Answers of the Open Inference Protocol over REST: their headers, and answers that the caller's form cannot carry."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import BadGatewayError
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.schemas.open_inference.rest import HEADER_LENGTH, RestBody, read_header_length
from gateway.upstream.answer import UnaryAnswer
from gateway.upstream.retry import AttemptFailedError

_HEADER_LENGTH = HEADER_LENGTH.encode()
_OF_BODY = frozenset({b"content-type", _HEADER_LENGTH})


def header_length(answer: UnaryAnswer) -> int | None:
    """How long the JSON is, if binary data stand behind it. Raises `MalformedTensorError`."""
    told = (value for name, value in answer.headers if name.lower() == _HEADER_LENGTH)
    return read_header_length(next(told, None))


def check_object(answer: UnaryAnswer) -> None:
    """Raises `MalformedTensorError` for what cannot be a JSON object, such as a page of HTML."""
    if not answer.body.lstrip().startswith(b"{"):
        raise MalformedTensorError("it is not a JSON object")


def rest_answer(body: RestBody, *, status: int = 200) -> UnaryAnswer:
    """An answer that the gateway has written itself."""
    return UnaryAnswer(status=status, headers=_headers(body), body=body.body)


def with_body(answer: UnaryAnswer, body: RestBody) -> UnaryAnswer:
    """A backend's answer with another body."""
    kept = [pair for pair in answer.headers if pair[0].lower() not in _OF_BODY]
    return UnaryAnswer(status=answer.status, headers=[*kept, *_headers(body)], body=body.body)


def _headers(body: RestBody) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", body.content_type.encode())]
    if body.header_length is not None:
        headers.append((_HEADER_LENGTH, b"%d" % body.header_length))
    return headers


@contextmanager
def inexpressible() -> Iterator[None]:
    """Around the writing of an answer that has been understood: what the caller's form cannot carry, it cannot carry
    from another endpoint either."""
    try:
        yield
    except ValueError as error:
        text = f"the upstream's answer cannot be told in the form of the request: {error}"
        raise AttemptFailedError(BadGatewayError(text, reason="UPSTREAM_MALFORMED")) from error
