"""The blocks of an answer of Anthropic's messages, from their beginning to their end, as canonical events."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.schemas.anthropic.arguments import to_arguments
from gateway.schemas.anthropic.call_details import pack_details
from gateway.schemas.anthropic.citations import decode_citation
from gateway.schemas.anthropic.wire import NAME
from gateway.types import (
    ChatEvent,
    CitationAdded,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    TextDelta,
    ToolCallDelta,
)


class Delta(msgspec.Struct):
    """More of a block, or how the answer ended."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class _Fields(msgspec.Struct):
    """A block as it begins in a stream, or a whole one."""

    text: str | None = None
    citations: list[dict[str, Any]] | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    caller: Any = None
    toolset_name: Any = None


class _Kind(msgspec.Struct):
    type: str


_kind_decoder = msgspec.json.Decoder(_Kind)
_fields_decoder = msgspec.json.Decoder(_Fields)


class Position(msgspec.Struct):
    """How far an answer has come: its calls, and the characters of its text."""

    calls: int = 0
    text_length: int = 0


class Block:
    """A block of the answer. One of a whole answer begins with all it has."""

    def begin(self) -> Sequence[ChatEvent]:
        """What it has from the start."""
        return ()

    def add(self, delta: Delta, data: bytes) -> Sequence[ChatEvent]:
        """More of it; `data` is the event that brings the delta."""
        return ()

    def end(self) -> Sequence[ChatEvent]:
        """What is known only when it is complete."""
        return ()


def open_block(block: bytes | msgspec.Raw, position: Position) -> Block:
    """The block that begins with this JSON. Raises what msgspec raises."""
    kind = _KINDS.get(_kind_decoder.decode(block).type)
    return _OpaqueBlock(msgspec.json.decode(block)) if kind is None else kind(_fields_decoder.decode(block), position)


class _TextBlock(Block):
    """Text. Its sources may be told before it, yet are of all of it."""

    def __init__(self, fields: _Fields, position: Position) -> None:
        self._text = fields.text
        self._citations = list(fields.citations or ())
        self._position = position
        self._start = position.text_length

    def begin(self) -> Sequence[ChatEvent]:
        return self._more(self._text)

    def add(self, delta: Delta, data: bytes) -> Sequence[ChatEvent]:
        if delta.type == "citations_delta" and delta.citation is not None:
            self._citations.append(delta.citation)
        return self._more(delta.text) if delta.type == "text_delta" else ()

    def _more(self, text: str | None) -> Sequence[ChatEvent]:
        if not text:
            return ()
        self._position.text_length += len(text)
        return (TextDelta(choice=0, text=text),)

    def end(self) -> Sequence[ChatEvent]:
        extent = (self._start, self._position.text_length)
        return [CitationAdded(choice=0, citation=decode_citation(each, extent=extent)) for each in self._citations]


class _ThinkingBlock(Block):
    """A thought, which may be shown without its text, and its signature."""

    def __init__(self, fields: _Fields, position: Position) -> None:
        self._text = fields.thinking
        self._signature = fields.signature or ""

    def begin(self) -> Sequence[ChatEvent]:
        return (ReasoningDelta(choice=0, text=self._text),) if self._text else ()

    def add(self, delta: Delta, data: bytes) -> Sequence[ChatEvent]:
        if delta.type == "signature_delta":
            self._signature += delta.signature or ""
        if delta.type == "thinking_delta" and delta.thinking:
            return (ReasoningDelta(choice=0, text=delta.thinking),)
        return ()

    def end(self) -> Sequence[ChatEvent]:
        return (ReasoningSigned(choice=0, signature=self._signature),) if self._signature else ()


class _RedactedBlock(Block):
    """A thought that only the backend can read."""

    def __init__(self, fields: _Fields, position: Position) -> None:
        self._data = fields.data or ""

    def begin(self) -> Sequence[ChatEvent]:
        return (ReasoningRedacted(choice=0, data=self._data),)


class _CallBlock(Block):
    """A call, whose arguments come in pieces; those of a whole block, or of a call that needs none, at its end."""

    def __init__(self, fields: _Fields, position: Position) -> None:
        self._fields = fields
        self._number = position.calls
        self._has_pieces = False
        position.calls += 1

    def begin(self) -> Sequence[ChatEvent]:
        fields = self._fields
        details = pack_details({"caller": fields.caller, "toolset_name": fields.toolset_name}) or ""
        return (
            ToolCallDelta(choice=0, index=self._number, id=fields.id or "", name=fields.name or "", signature=details),
        )

    def add(self, delta: Delta, data: bytes) -> Sequence[ChatEvent]:
        if not delta.partial_json:
            return ()
        self._has_pieces = True
        return (ToolCallDelta(choice=0, index=self._number, arguments=delta.partial_json),)

    def end(self) -> Sequence[ChatEvent]:
        if self._has_pieces:
            return ()
        return (ToolCallDelta(choice=0, index=self._number, arguments=to_arguments(self._fields.input or {})),)


class _OpaqueBlock(Block):
    """A block that only this dialect has, put together from its pieces whatever they are called."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value
        self._input: list[str] = []
        self._texts: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def add(self, delta: Delta, data: bytes) -> Sequence[ChatEvent]:
        if delta.partial_json is not None:
            self._input.append(delta.partial_json)
            return ()
        for name, piece in (msgspec.json.decode(data).get("delta") or {}).items():
            if name != "type":
                self._add_piece(name, piece)
        return ()

    def _add_piece(self, name: str, piece: Any) -> None:
        if name == "citation":
            self._citations.append(piece)
        elif isinstance(self._value.get(name), str) and isinstance(piece, str):
            self._texts.setdefault(name, []).append(piece)
        else:
            self._value[name] = piece

    def end(self) -> Sequence[ChatEvent]:
        for name, pieces in self._texts.items():
            self._value[name] += "".join(pieces)
        if self._citations:
            self._value["citations"] = [*(self._value.get("citations") or ()), *self._citations]
        if given := "".join(self._input):
            self._value["input"] = msgspec.json.decode(given)
        return (OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=self._value)),)


_KINDS: Mapping[str, Callable[[_Fields, Position], Block]] = MappingProxyType(
    {
        "text": _TextBlock,
        "thinking": _ThinkingBlock,
        "redacted_thinking": _RedactedBlock,
        "tool_use": _CallBlock,
    }
)
