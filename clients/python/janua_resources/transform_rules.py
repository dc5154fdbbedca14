"""When a `transform` policy makes sense."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from janua.config.v1.policy_pb2 import (
    AnswerTransform,
    Bounds,
    ParameterBounds,
    PromptMessage,
    RequestTransform,
    Transform,
)

from janua_resources.expressions import check_expression
from janua_resources.headers import CREDENTIALS, FRAMING, HOP_BY_HOP, is_header_name
from janua_resources.quoting import quoted
from janua_resources.violations import Problem

_Side = RequestTransform | AnswerTransform

# What the node makes itself: an edit would have no effect, or would lie about the client.
_OURS: Final = HOP_BY_HOP | FRAMING | {"x-request-id", "via", "forwarded", "x-real-ip", "http2-settings"}
_OUR_PREFIXES: Final = ("x-janua-", "x-forwarded-", "grpc-", ":")
_OF_BODIES: Final = frozenset({"content-type", "content-encoding", "accept", "accept-encoding", "date"})

# The route was chosen, and the answer is delivered, by what they were.
_FIXED_FIELDS: Final = frozenset({"model", "stream"})
_MAX_DEPTH: Final = 16
_ROLES: Final = ("system", "developer", "user", "assistant")
_WHOLE: Final = frozenset({"max_tokens", "top_k", "n"})
_LARGEST: Final = 2**53


def check_transform(spec: Transform) -> Iterator[Problem]:
    """What is wrong with it."""
    if not spec.request.ListFields() and not spec.response.ListFields():
        yield Problem(field="transform", message="changes nothing; give it something under request or response")
    yield from _side(spec.request, "transform.request", is_request=True)
    yield from _side(spec.response, "transform.response", is_request=False)
    yield from _clamps(spec.request.clamp)
    yield from _messages(spec.request.prepend_messages, "transform.request.prepend_messages")
    yield from _messages(spec.request.append_messages, "transform.request.append_messages")


def _side(spec: _Side, place: str, *, is_request: bool) -> Iterator[Problem]:
    yield from _headers(spec, place)
    yield from _expressions(spec.set_body, f"{place}.set_body")
    for path in spec.set_body:
        yield from _path(path, f"{place}.set_body", is_request=is_request)
    for index, path in enumerate(spec.remove_body_fields):
        yield from _path(path, f"{place}.remove_body_fields[{index}]", is_request=is_request)
    for source, target in spec.rename_body_fields.items():
        for path in (source, target):
            yield from _path(path, f"{place}.rename_body_fields", is_request=is_request)


def _headers(spec: _Side, place: str) -> Iterator[Problem]:
    field = f"{place}.set_headers"
    lowered = [name.lower() for name in spec.set_headers]
    for name in spec.set_headers:
        lower = name.lower()
        if not _is_editable(lower) or lower in CREDENTIALS | _OF_BODIES or lower.endswith("-bin"):
            yield Problem(field=field, message=f"{quoted(name)} is not a header that can be set here")
        elif lowered.count(lower) > 1:
            yield Problem(field=field, message=f"{quoted(name)} is there twice: case makes no difference")
    yield from _expressions(spec.set_headers, field)
    for index, name in enumerate(spec.remove_headers):
        if not _is_editable(name.lower()):
            text = f"{quoted(name)} is not a header that can be removed here"
            yield Problem(field=f"{place}.remove_headers[{index}]", message=text)


def _is_editable(name: str) -> bool:
    # Metadata of gRPC has fewer characters than headers.
    is_name = is_header_name(name) and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    return is_name and name not in _OURS and not name.startswith(_OUR_PREFIXES)


def _expressions(texts: Mapping[str, str], field: str) -> Iterator[Problem]:
    for name in sorted(texts):
        if not texts[name]:
            yield Problem(field=field, message=f"the expression for {quoted(name)} is empty")
        for problem in check_expression(texts[name], field):
            yield Problem(field=field, message=f"the expression for {quoted(name)} {problem.message}")


def _path(path: str, field: str, *, is_request: bool) -> Iterator[Problem]:
    names = path.split(".")
    if not all(names) or len(names) > _MAX_DEPTH:
        text = f"{quoted(path)} is not a path: 1 to {_MAX_DEPTH} names with '.' between them"
        yield Problem(field=field, message=text)
    elif is_request and names[0] in _FIXED_FIELDS:
        yield Problem(field=field, message=f"{names[0]} cannot be changed: the route was chosen by it")


def _clamps(spec: ParameterBounds) -> Iterator[Problem]:
    for field, bounds in spec.ListFields():
        yield from _bounds(bounds, field.name)


def _bounds(bounds: Bounds, name: str) -> Iterator[Problem]:
    place = f"transform.request.clamp.{name}"
    given = [getattr(bounds, each) for each in ("min", "max") if bounds.HasField(each)]
    if not given:
        yield Problem(field=place, message="needs at least one of min and max")
    elif not all(map(math.isfinite, given)):
        yield Problem(field=place, message="must be finite")
    elif name in _WHOLE and any(number != int(number) or not 1 <= number <= _LARGEST for number in given):
        yield Problem(field=place, message="must be whole numbers, at least 1")
    elif len(given) == 2 and given[0] > given[1]:
        yield Problem(field=place, message="min must not be more than max")


def _messages(messages: Iterable[PromptMessage], place: str) -> Iterator[Problem]:
    for index, message in enumerate(messages):
        if message.role not in _ROLES:
            yield Problem(field=f"{place}[{index}].role", message=f"must be one of {', '.join(_ROLES)}")
