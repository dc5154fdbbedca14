"""Canonical parts to content blocks of Anthropic's requests."""

import re
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, assert_never

from gateway.schemas.anthropic.arguments import to_input
from gateway.schemas.anthropic.cache import encode_cache
from gateway.schemas.anthropic.call_details import unpack_details
from gateway.schemas.anthropic.citations import encode_citation, is_own
from gateway.schemas.anthropic.sources import encode_file, encode_image
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
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


class BlockWriter:
    """Writes the parts of one conversation, in which every call has an id and its result names it.

    Calls of dialects without ids get one; their results are found by the name of the function.
    """

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        # The names of functions by the ids that their calls were given, and the other way round.
        self._unanswered: dict[str, str] = {}
        self._of_name: defaultdict[str, deque[str]] = defaultdict(deque)
        self._made = 0

    def blocks(self, parts: Iterable[ContentPart]) -> list[dict[str, Any]]:
        """The blocks that say the same."""
        return [block for part in parts if (block := self._block(part)) is not None]

    def _block(self, part: ContentPart) -> dict[str, Any] | None:
        """The block; None for what the backend would refuse and that says nothing, or is to be passed over."""
        match part:
            case TextPart():
                return _text(part)
            case ImagePart() | FilePart():
                return self._media(part)
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part)
            case ReasoningPart():
                return _thought(part)
            case RefusalPart(text=text):
                return {"type": "text", "text": text} if text.strip() else None
            case OpaquePart() if part.dialect == NAME:
                return dict(part.value)
            case OpaquePart():
                self._unsupported.content(part)
            case AudioPart():
                self._unsupported.field("messages", "sound")
            case _:
                assert_never(part)
        return None

    def _media(self, part: ImagePart | FilePart) -> dict[str, Any] | None:
        if isinstance(part, FilePart):
            block = encode_file(part, self._unsupported)
            return None if block is None else encode_cache(block, part.cache)
        self._unsupported.picture_detail(part.detail)
        return encode_cache(encode_image(part), part.cache)

    def _call(self, call: ToolCall) -> dict[str, Any]:
        block = {
            "type": "tool_use",
            "id": self._id_of(call),
            "name": call.name,
            "input": to_input(call.arguments),
            **unpack_details(call.signature),
        }
        return encode_cache(block, call.cache)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": self._id_answered(result)}
        match result.content:
            case [TextPart(text=text, citations=(), cache=None)]:
                block["content"] = text
            case [_, *_]:
                block["content"] = self.blocks(result.content)
        if result.is_error:
            block["is_error"] = True
        return encode_cache(block, result.cache)

    def _id_of(self, call: ToolCall) -> str:
        if call.id:
            return _NOT_IN_IDS.sub("_", call.id)
        made = f"janua_call_{self._made}"
        self._made += 1
        self._unanswered[made] = call.name
        self._of_name[call.name].append(made)
        return made

    def _id_answered(self, result: ToolResult) -> str:
        name = result.call_id or result.name
        if name is None and self._unanswered:
            name = next(iter(self._unanswered.values()))
        if not self._of_name.get(name or ""):
            return _NOT_IN_IDS.sub("_", result.call_id)
        made = self._of_name[name or ""].popleft()
        del self._unanswered[made]
        return made


def _text(part: TextPart) -> dict[str, Any] | None:
    if not part.text.strip():
        return None  # refused, though other dialects' clients send it beside calls
    block: dict[str, Any] = {"type": "text", "text": part.text}
    if part.citations and (citations := [encode_citation(each) for each in part.citations if is_own(each)]):
        block["citations"] = citations
    return encode_cache(block, part.cache)


def _thought(part: ReasoningPart) -> dict[str, Any] | None:
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    if part.signature is None:
        return None  # the backend takes back only what it can tell to be its own
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}
