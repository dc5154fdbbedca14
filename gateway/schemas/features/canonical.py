"""What a canonical request asks for, under the names of the typed API, and the same request without it."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from msgspec.structs import replace

from gateway.schemas.features.places import Asked
from gateway.types import (
    AudioPart,
    ChatRequest,
    ContentPart,
    Feature,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    PlainFormat,
    ToolResult,
)

_P = TypeVar("_P", bound=ContentPart)

_MEDIA = {"image": Feature.IMAGES, "audio": Feature.AUDIO}
_OF_PARTS = frozenset({Feature.IMAGES, Feature.AUDIO, Feature.FILES})


def asked_by(request: ChatRequest) -> Iterator[Asked]:
    """What the request asks for."""
    if request.tools:
        yield Asked(Feature.TOOLS, "tools")
    for number, message in enumerate(request.messages):
        yield from _asked_in(message.content, f"messages[{number}].content")
    if isinstance(request.response_format, JsonSchemaFormat):
        yield Asked(Feature.JSON_SCHEMA, "response_format")
    elif request.response_format is PlainFormat.JSON_OBJECT:
        yield Asked(Feature.JSON_OBJECT, "response_format")
    if request.reasoning is not None:
        yield Asked(Feature.REASONING, "reasoning_effort")
    if request.top_logprobs is not None:
        yield Asked(Feature.LOGPROBS, "top_logprobs")
    if (request.n or 1) > 1:
        yield Asked(Feature.MULTIPLE_CHOICES, "n")


def _asked_in(content: Iterable[ContentPart], place: str) -> Iterator[Asked]:
    for index, part in enumerate(content):
        if isinstance(part, ToolResult):
            yield from _asked_in(part.content, f"{place}[{index}].content")
        elif (known := _asked_with(part)) is not None:
            yield Asked(known[0], f"{place}[{index}].{known[1]}")


def _asked_with(part: ContentPart) -> tuple[Feature, str] | None:
    """What a part asks for, and its field in the typed API. A file may well be a picture or sound."""
    match part:
        case ImagePart():
            return Feature.IMAGES, "image"
        case AudioPart():
            return Feature.AUDIO, "audio"
        case FilePart(media_type=media_type):
            return _MEDIA.get((media_type or "").partition("/")[0], Feature.FILES), "file"
        case _:
            return None


def without(request: ChatRequest, features: frozenset[Feature]) -> ChatRequest:
    """The request without these features. Calls and results that a conversation has already had stay in it."""
    if Feature.TOOLS in features:
        request = replace(request, tools=(), tool_choice=None, parallel_tool_calls=None)
    if Feature.JSON_SCHEMA in features and isinstance(request.response_format, JsonSchemaFormat):
        request = replace(request, response_format=None)
    if Feature.JSON_OBJECT in features and request.response_format is PlainFormat.JSON_OBJECT:
        request = replace(request, response_format=None)
    if Feature.REASONING in features:
        request = replace(request, reasoning=None)
    if Feature.LOGPROBS in features:
        request = replace(request, top_logprobs=None)
    if Feature.MULTIPLE_CHOICES in features:
        request = replace(request, n=None)
    if features.isdisjoint(_OF_PARTS):
        return request
    messages = (replace(each, content=_kept(each.content, features)) for each in request.messages)
    return replace(request, messages=tuple(messages))


def _kept(content: Iterable[_P], features: frozenset[Feature]) -> tuple[_P, ...]:
    """The parts without those that ask for one of the features, also in results."""
    return tuple(
        replace(part, content=_kept(part.content, features)) if isinstance(part, ToolResult) else part
        for part in content
        if (known := _asked_with(part)) is None or known[0] not in features
    )
