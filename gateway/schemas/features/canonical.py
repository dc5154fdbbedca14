"""What a canonical request asks for, under the names of the typed API, and the same request without it."""

from collections.abc import Iterator
from dataclasses import replace

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

_PARTS = {ImagePart: (Feature.IMAGES, "image"), AudioPart: (Feature.AUDIO, "audio"), FilePart: (Feature.FILES, "file")}


def asked_by(request: ChatRequest) -> Iterator[Asked]:
    """What the request asks for."""
    if request.tools:
        yield Asked(Feature.TOOLS, "tools")
    for number, message in enumerate(request.messages):
        for index, part in enumerate(message.content):
            if (known := _PARTS.get(type(part))) is not None:
                yield Asked(known[0], f"messages[{number}].content[{index}].{known[1]}")
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
    if features.isdisjoint({feature for feature, _ in _PARTS.values()}):
        return request
    messages = (replace(each, content=tuple(_kept(each.content, features))) for each in request.messages)
    return replace(request, messages=tuple(messages))


def _kept(content: tuple[ContentPart, ...], features: frozenset[Feature]) -> Iterator[ContentPart]:
    for part in content:
        known = _PARTS.get(type(part))
        if known is not None and known[0] in features:
            continue
        if isinstance(part, ToolResult):
            inner = tuple(
                each for each in part.content if type(each) not in _PARTS or _PARTS[type(each)][0] not in features
            )
            part = replace(part, content=inner)
        yield part
