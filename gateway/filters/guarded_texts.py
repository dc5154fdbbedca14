"""The texts of requests, with what rules find in them masked. Pure, but that what is found is counted.

Pictures, sound, addresses and files that are no text are not looked into, and names of fields, functions and roles stay
as they are.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.data_urls import read_data_url, text_url
from gateway.types import (
    AudioPart,
    Citation,
    ContentPart,
    EmbeddingsRequest,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    Message,
    OpaquePart,
    OpaqueTool,
    ReasoningPart,
    RefusalPart,
    RerankRequest,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
    WholeRequest,
)

_P = TypeVar("_P", bound=ContentPart)


class Masks(Protocol):
    """What masks texts: rules, or a judgement."""

    def mask(self, text: str) -> str:
        """The text as it may go on; the very same if nothing is masked. Raises `GuardrailDeniedError`."""


def masked_request(rules: Masks, request: WholeRequest) -> WholeRequest:
    """The request as it may go on. Raises `GuardrailDeniedError`."""
    if isinstance(request, EmbeddingsRequest):
        texts = tuple(rules.mask(text) for text in request.input)
        return replace(request, input=texts, user=_optional(rules, request.user), extra=_extra(rules, request.extra))
    if isinstance(request, RerankRequest):
        texts = tuple(rules.mask(text) for text in request.documents)
        return replace(request, query=rules.mask(request.query), documents=texts, extra=_extra(rules, request.extra))
    return replace(
        request,
        messages=tuple(_message(rules, message) for message in request.messages),
        tools=tuple(_tool(rules, tool) for tool in request.tools),
        response_format=_format(rules, request.response_format),
        user=_optional(rules, request.user),
        metadata=masked_json(rules, request.metadata) if request.metadata else request.metadata,
        extra=_extra(rules, request.extra),
    )


def masked_json(rules: Masks, value: Any) -> Any:
    """JSON with its strings masked, wherever they stand; and numbers, which then are strings."""
    match value:
        case str():
            return rules.mask(value)
        case bool() | None:
            return value
        case int() | float():
            text = str(value)
            found = rules.mask(text)
            return value if found is text else found
        case Mapping():
            return {name: masked_json(rules, item) for name, item in value.items()}
        case _:
            return [masked_json(rules, item) for item in value]


def masked_citation(rules: Masks, citation: Citation) -> Citation:
    """The source with its words masked; its address stays."""
    return replace(citation, title=rules.mask(citation.title), cited_text=rules.mask(citation.cited_text))


def _message(rules: Masks, message: Message) -> Message:
    content = tuple(_part(rules, part) for part in message.content)
    return replace(message, content=content, name=_optional(rules, message.name), extra=_extra(rules, message.extra))


def _part(rules: Masks, part: _P) -> _P:
    masked: Any = part
    match part:
        case TextPart():
            citations = tuple(masked_citation(rules, each) for each in part.citations)
            masked = replace(part, text=rules.mask(part.text), citations=citations)
        case RefusalPart():
            masked = replace(part, text=rules.mask(part.text))
        case ReasoningPart():
            text = rules.mask(part.text)
            masked = part if text == part.text else replace(part, text=text, signature=None)
        case ToolCall():
            masked = replace(part, arguments=masked_arguments(rules, part.arguments))
        case ToolResult():
            masked = replace(part, content=tuple(_part(rules, each) for each in part.content))
        case OpaquePart():
            masked = replace(part, value=masked_json(rules, part.value))
        case FilePart():
            masked = _file(rules, part)
        case ImagePart() | AudioPart():
            pass
    return cast("_P", masked)


def _file(rules: Masks, file: FilePart) -> FilePart:
    url, inline = file.url, _inline_text(file)
    if inline is not None and (text := rules.mask(inline.text)) is not inline.text:
        url = text_url(text, inline.media_type)
    return replace(file, url=url, name=_optional(rules, file.name), extra=_extra(rules, file.extra))


class _InlineText(NamedTuple):
    """What a file says that comes with the request."""

    text: str
    media_type: str


def _inline_text(file: FilePart) -> _InlineText | None:
    """The text of a file, whatever it says of its kind; None if it has none here. Raises `InvalidRequestError` for one
    that says it is text, and cannot be read as such."""
    inline = None if file.url is None else read_data_url(file.url)
    if inline is None:
        return None
    try:
        return _InlineText(inline.text(), inline.media_type)
    except InvalidRequestError:
        if inline.media_type.startswith("text/"):
            raise
        return None


def masked_arguments(rules: Masks, text: str) -> str:
    """The arguments of a call: what is found in them as JSON, escapes read, and else as text. As they were if nothing
    is masked."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return rules.mask(text)
    masked = masked_json(rules, value)
    return text if masked == value else msgspec.json.encode(masked).decode()


def _tool(rules: Masks, tool: Tool | OpaqueTool) -> Tool | OpaqueTool:
    if isinstance(tool, OpaqueTool):
        return replace(tool, value=masked_json(rules, tool.value))
    parameters = None if tool.parameters is None else masked_json(rules, tool.parameters)
    return replace(tool, description=_optional(rules, tool.description), parameters=parameters)


def _format(rules: Masks, wanted: Any) -> Any:
    if not isinstance(wanted, JsonSchemaFormat):
        return wanted
    schema = masked_json(rules, wanted.schema)
    return replace(wanted, schema=schema, description=_optional(rules, wanted.description))


def _optional(rules: Masks, text: str | None) -> str | None:
    return None if text is None else rules.mask(text)


def _extra(rules: Masks, extra: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if extra is None else cast("Mapping[str, Any]", masked_json(rules, extra))


def input_bytes(request: WholeRequest) -> int:
    """The size of the texts that a request says, in UTF-8."""
    if isinstance(request, EmbeddingsRequest):
        return sum(len(text.encode()) for text in request.input)
    if isinstance(request, RerankRequest):
        return sum(len(text.encode()) for text in (request.query, *request.documents))
    return sum(len(text.encode()) for message in request.messages for text in _texts(message.content))


def _texts(content: tuple[ContentPart, ...]) -> Iterator[str]:
    for part in content:
        match part:
            case TextPart() | RefusalPart() | ReasoningPart():
                yield part.text
            case ToolCall():
                yield part.arguments
            case ToolResult():
                yield from _texts(part.content)
            case FilePart() if (inline := _inline_text(part)) is not None:
                yield inline.text
            case _:
                pass
