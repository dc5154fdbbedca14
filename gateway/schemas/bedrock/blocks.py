"""Canonical parts to content blocks of Bedrock's requests."""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from gateway.schemas.anthropic.arguments import to_input
from gateway.schemas.bedrock.citations import encode_citation, is_own
from gateway.schemas.bedrock.media import MediaWriter, is_json_object
from gateway.schemas.bedrock.reasoning import encode_reasoning
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
    CacheTtl,
    ContentPart,
    FilePart,
    ImagePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    ToolResult,
)

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_ID = 64


class BlockWriter:
    """Writes the parts of one conversation.

    With `is_own` it came in this dialect, and goes back as it was. Without `has_cache` the model keeps no prompts, and
    marks are passed over, for it would refuse them.
    """

    def __init__(self, unsupported: Unsupported, *, is_own: bool, has_cache: bool) -> None:
        self._unsupported = unsupported
        self._media = MediaWriter(unsupported)
        self._is_own = is_own
        self._has_cache = has_cache

    def blocks(self, parts: Iterable[ContentPart]) -> list[dict[str, Any]]:
        """The blocks that say the same, each with the mark to cache up to it."""
        blocks: list[dict[str, Any]] = []
        for part in parts:
            if (block := self._block(part)) is not None:
                blocks.append(block)
                if self._has_cache and (cache := _cache_of(part)) is not None:
                    blocks.append(cache_point(cache))
        return blocks

    def _block(self, part: ContentPart) -> dict[str, Any] | None:
        """The block; None for what the backend would refuse and that says nothing, or is to be passed over."""
        match part:
            case TextPart():
                return self._text(part)
            case RefusalPart(text=text):
                return {"text": text} if text.strip() else None
            case ImagePart():
                return self._media.image(part)
            case FilePart():
                return self._file(part)
            case AudioPart():
                return self._media.audio(part)
            case ToolCall():
                given = to_input(part.arguments)
                return {"toolUse": {"toolUseId": tool_id(part.id or part.name), "name": part.name, "input": given}}
            case ToolResult():
                return {"toolResult": self._result(part)}
            case ReasoningPart():
                # Of others' thoughts the backend takes back only what it can tell to be its own.
                is_taken = self._is_own or part.signature is not None or part.redacted is not None
                return encode_reasoning(part) if is_taken else None
            case OpaquePart():
                if part.dialect == NAME:
                    return dict(part.value)
                self._unsupported.content(part)
                return None
            case _:
                assert_never(part)

    def _text(self, part: TextPart) -> dict[str, Any] | None:
        if not part.text.strip() and not self._is_own:
            return None  # refused, though other dialects' clients send it beside calls
        if part.citations and (citations := [encode_citation(each) for each in part.citations if is_own(each)]):
            return {"citationsContent": {"content": [{"text": part.text}], "citations": citations}}
        return {"text": part.text}

    def _file(self, part: FilePart) -> dict[str, Any] | None:
        kept = (part.extra or {}).get("bedrock_block")
        return kept if isinstance(kept, dict) else self._media.file(part)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        content = [block for part in result.content if (block := self._result_block(part)) is not None]
        # A model that is told no status takes it for a success; some know none.
        status = {"status": "error"} if result.is_error else {}
        return {"toolUseId": tool_id(result.call_id), "content": content or [{"text": "(empty)"}], **status}

    def _result_block(self, part: TextPart | ImagePart | FilePart) -> dict[str, Any] | None:
        if self._is_own and isinstance(part, TextPart) and is_json_object(part.text):
            return {"json": msgspec.Raw(part.text.encode())}
        return self._block(part)


def _cache_of(part: ContentPart) -> CacheTtl | None:
    """The mark of a part. One within the result of a function has no place there: it is the result's."""
    match part:
        case ToolResult(cache=None, content=content):
            return next((inner.cache for inner in reversed(content) if inner.cache is not None), None)
        case TextPart() | ImagePart() | FilePart() | ToolCall() | ToolResult():
            return part.cache
        case _:
            return None


def cache_point(cache: CacheTtl) -> dict[str, Any]:
    """The block that marks what stands before it as worth caching."""
    point = {"type": "default"}
    return {"cachePoint": point if cache is CacheTtl.DEFAULT else {**point, "ttl": "1h"}}


def tool_id(identifier: str) -> str:
    """The id of a call as Bedrock allows it; the same each time."""
    allowed = _NOT_IN_IDS.sub("_", identifier)
    if 0 < len(allowed) <= _MAX_ID:
        return allowed
    return "tooluse_" + hashlib.sha256(identifier.encode()).hexdigest()[:24]
