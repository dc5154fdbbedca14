"""Content blocks of Anthropic's requests to canonical parts."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec.structs import replace

from gateway.schemas.anthropic.arguments import to_arguments
from gateway.schemas.anthropic.cache import decode_cache
from gateway.schemas.anthropic.call_details import pack_details, read_carrier
from gateway.schemas.anthropic.citations import decode_citation
from gateway.schemas.anthropic.sources import decode_document, decode_image, kept_block
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.json_fields import Fields
from gateway.types import (
    ContentPart,
    FilePart,
    ImagePart,
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
)

_Part = TypeVar("_Part")


def decode_parts(fields: Fields, name: str) -> tuple[ContentPart, ...]:
    """The parts in a field that is a string or an array of blocks; none if it is not there."""
    return _with_carried_signatures(_decode_blocks(fields, name, _decode_part))


def _decode_blocks(fields: Fields, name: str, decode: Callable[[Any, str], _Part]) -> list[_Part | TextPart]:
    """The blocks; a text alone is as good as one block."""
    content = fields.value(name)
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise fields.wrong(name, "a string or an array is needed")
    place = fields.place_of(name)
    return [decode(block, f"{place}[{index}]") for index, block in enumerate(content)]


def _decode_part(block: Any, place: str) -> ContentPart:
    """The part. A block that is not known, or has more than is known of its kind, is kept as it is."""
    # Most are this, and it saves looking at each field.
    is_plain = isinstance(block, dict) and len(block) == 2 and block.get("type") == "text"
    if is_plain and isinstance(text := block.get("text"), str):
        return TextPart(text=text)
    fields = Fields(block, place)
    kind = fields.text("type")
    if kind == "search_result":
        return kept_block(block)
    decode = _DECODERS.get(kind)
    part = decode(fields) if decode is not None else None
    if part is None or (kind not in _KEEPS_ALL and fields.extra):
        return OpaquePart(dialect=NAME, value=block)
    return part


def _decode_text(fields: Fields) -> TextPart:
    citations = fields.objects("citations", required=False) if fields.has("citations") else ()
    return TextPart(
        text=fields.text("text"),
        citations=tuple(decode_citation(citation.extra) for citation in citations),
        cache=decode_cache(fields),
    )


def _decode_image(fields: Fields) -> ImagePart | FilePart | None:
    cache = decode_cache(fields)
    image = decode_image(fields)
    return replace(image, cache=cache) if image is not None else None


def _decode_document(fields: Fields) -> FilePart | None:
    cache = decode_cache(fields)
    document = decode_document(fields)
    if document is None:
        return None
    extra = {**(document.extra or {}), **fields.extra}
    return replace(document, cache=cache, extra=extra or None)


def _decode_thinking(fields: Fields) -> ReasoningPart:
    return ReasoningPart(text=fields.text("thinking"), signature=fields.optional_text("signature") or None)


def _decode_redacted_thinking(fields: Fields) -> ReasoningPart:
    return ReasoningPart(redacted=fields.text("data"))


def _decode_call(fields: Fields) -> ToolCall:
    given = fields.value("input")
    if not isinstance(given, dict):
        raise fields.wrong("input", "an object is needed")
    return ToolCall(
        id=fields.text("id"),
        name=fields.text("name"),
        arguments=to_arguments(given),
        cache=decode_cache(fields),
        signature=pack_details(fields.extra),
    )


def _decode_result(fields: Fields) -> ToolResult:
    return ToolResult(
        call_id=fields.text("tool_use_id"),
        content=tuple(_decode_blocks(fields, "content", _decode_result_part)),
        is_error=fields.truth("is_error") or False,
        cache=decode_cache(fields),
    )


def _decode_result_part(block: Any, place: str) -> TextPart | ImagePart | FilePart:
    part = _decode_part(block, place)
    return part if isinstance(part, TextPart | ImagePart | FilePart) else kept_block(block)


_DECODERS: Mapping[str, Callable[[Fields], ContentPart | None]] = MappingProxyType(
    {
        "text": _decode_text,
        "image": _decode_image,
        "document": _decode_document,
        "thinking": _decode_thinking,
        "redacted_thinking": _decode_redacted_thinking,
        "tool_use": _decode_call,
        "tool_result": _decode_result,
    }
)

# Kinds of which every field finds a place.
_KEEPS_ALL = frozenset({"document", "tool_use"})


def _with_carried_signatures(parts: list[ContentPart]) -> tuple[ContentPart, ...]:
    """The parts, with the signatures of calls that thinking blocks carry put back where they belong."""
    if not any(isinstance(part, ReasoningPart) for part in parts):
        return tuple(parts)
    signatures: dict[str, str] = {}
    rest: list[ContentPart] = []
    for part in parts:
        if isinstance(part, ReasoningPart) and (carried := read_carrier(part.signature)) is not None:
            signatures[carried[0]] = carried[1]
        else:
            rest.append(part)
    if not signatures:
        return tuple(parts)
    return tuple(
        replace(part, signature=signatures[part.id]) if isinstance(part, ToolCall) and part.id in signatures else part
        for part in rest
    )
