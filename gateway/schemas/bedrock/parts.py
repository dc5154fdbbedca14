"""Content blocks of Bedrock's requests to canonical parts."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.schemas.anthropic.arguments import to_arguments
from gateway.schemas.bedrock.citations import decode_citation
from gateway.schemas.bedrock.media import (
    decode_audio,
    decode_document,
    decode_image,
    decode_search_result,
    decode_video,
)
from gateway.schemas.bedrock.reasoning import decode_reasoning
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.data_urls import text_url
from gateway.schemas.json_fields import Fields
from gateway.types import (
    CacheTtl,
    ContentPart,
    FilePart,
    ImagePart,
    OpaquePart,
    TextPart,
    ToolCall,
    ToolResult,
)

_JSON = "application/json"


def decode_parts(fields: Fields, name: str) -> tuple[ContentPart, ...]:
    """The parts in a field that is an array of blocks; a mark to cache up to a place is put on the part before it."""
    parts: list[ContentPart] = []
    place = fields.place_of(name)
    for index, block in enumerate(fields.array(name, required=False)):
        cache = read_cache_point(block)
        if cache is not None and parts and (marked := _marked(parts[-1], cache)) is not None:
            parts[-1] = marked
        else:
            parts.append(_decode_part(block, f"{place}[{index}]"))
    return tuple(parts)


def read_cache_point(block: object) -> CacheTtl | None:
    """The mark that a block is; None if it is another block."""
    if not isinstance(block, dict) or "cachePoint" not in block:
        return None  # before the pattern, which costs more: every block is looked at
    match block["cachePoint"]:
        case {"type": "default", **rest}:
            return CacheTtl.ONE_HOUR if rest.get("ttl") == "1h" else CacheTtl.DEFAULT
        case _:
            return None


def _marked(part: ContentPart, cache: CacheTtl) -> ContentPart | None:
    if isinstance(part, TextPart | ImagePart | FilePart | ToolCall | ToolResult) and part.cache is None:
        return replace(part, cache=cache)
    return None


def _decode_part(block: Any, place: str) -> ContentPart:
    """The part. A block that is not known, or has more than is known of its kind, is kept as it is."""
    # Most are this, and it saves looking at each field.
    if isinstance(block, dict) and len(block) == 1 and isinstance(text := block.get("text"), str):
        return TextPart(text=text)
    fields = Fields(block, place)
    kinds = list(fields.extra)
    if len(kinds) != 1:
        raise fields.wrong("", "a block has exactly one kind of content")
    if kinds[0] == "text":
        return TextPart(text=fields.text("text"))
    if kinds[0] == "searchResult" and (found := decode_search_result(fields.object("searchResult").extra)) is not None:
        return found
    decode = _DECODERS.get(kinds[0])
    part = decode(fields.object(kinds[0])) if decode is not None else None
    return OpaquePart(dialect=NAME, value=block) if part is None else part


def _decode_call(fields: Fields) -> ToolCall | None:
    """A call; None if it is of a tool that the backend runs itself."""
    if fields.value("type") not in (None, "tool_use"):
        return None
    given = fields.value("input")
    if given is not None and not isinstance(given, dict):
        raise fields.wrong("input", "an object is needed")
    return ToolCall(id=fields.text("toolUseId"), name=fields.text("name"), arguments=to_arguments(given or {}))


def _decode_result(fields: Fields) -> ToolResult | None:
    """A result; None if it is of a tool that the backend runs itself."""
    if fields.value("type") is not None:
        return None
    place = fields.place_of("content")
    content = fields.array("content", required=False)
    return ToolResult(
        call_id=fields.text("toolUseId"),
        content=tuple(_decode_result_part(block, f"{place}[{index}]") for index, block in enumerate(content)),
        is_error=fields.text("status", "success") == "error",
    )


def _decode_result_part(block: Any, place: str) -> TextPart | ImagePart | FilePart:
    """The part; JSON is its text, and a block that has no part of its own a file of its JSON."""
    if isinstance(block, dict) and "json" in block:
        return TextPart(text=msgspec.json.encode(block["json"]).decode())
    part = _decode_part(block, place)
    if isinstance(part, TextPart | ImagePart | FilePart):
        return part
    url = text_url(msgspec.json.encode(block).decode(), _JSON)
    return FilePart(url=url, media_type=_JSON, extra={"bedrock_block": block})


def _decode_cited_text(fields: Fields) -> TextPart:
    citations = fields.objects("citations", required=False)
    return TextPart(
        text="".join(piece.text("text", "") for piece in fields.objects("content", required=False)),
        citations=tuple(decode_citation(citation.extra) for citation in citations),
    )


_DECODERS: Mapping[str, Callable[[Fields], ContentPart | None]] = MappingProxyType(
    {
        "image": decode_image,
        "document": decode_document,
        "video": decode_video,
        "audio": decode_audio,
        "toolUse": _decode_call,
        "toolResult": _decode_result,
        "reasoningContent": decode_reasoning,
        "citationsContent": _decode_cited_text,
    }
)
