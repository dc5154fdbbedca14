"""The blocks of an answer of Bedrock's Converse, whole or from their beginning to their end, as canonical events."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.schemas.anthropic.arguments import to_arguments
from gateway.schemas.bedrock.citations import decode_citation
from gateway.schemas.bedrock.reasoning import read_redacted
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.openai.fields import UNREADABLE
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


class Start(msgspec.Struct, rename="camel"):
    """How a block begins; those of text and thoughts begin without it."""

    tool_use: dict[str, Any] | None = None
    tool_result: dict[str, Any] | None = None
    image: dict[str, Any] | None = None


class Position(msgspec.Struct):
    """How far an answer has come: its calls, and the characters of its text."""

    calls: int = 0
    text_length: int = 0


class Block:
    """A block of a kind that is not known: it says nothing."""

    @property
    def is_known(self) -> bool:
        """Whether it is of a kind that says something."""
        return type(self) is not Block

    def begin(self) -> Sequence[ChatEvent]:
        """The events of its beginning."""
        return ()

    def add(self, delta: Mapping[str, Any]) -> Sequence[ChatEvent]:
        """The events of more of it."""
        return ()

    def end(self) -> Sequence[ChatEvent]:
        """The events of its end."""
        return ()


def open_block(start: Start, delta: Mapping[str, Any], position: Position) -> Block:
    """A block by how it begins, or else by its first delta."""
    if start.tool_use is not None:
        if _is_run_by_backend(start.tool_use):
            return _OpaqueBlock("toolUse", start.tool_use)
        return _CallBlock(start.tool_use, position)
    if start.tool_result is not None:
        return _OpaqueBlock("toolResult", start.tool_result)
    if start.image is not None:
        return _OpaqueBlock("image", start.image)
    if "reasoningContent" in delta:
        return _ThoughtBlock()
    if "text" in delta or "citation" in delta:
        return _TextBlock(position)
    return Block()


def _is_run_by_backend(call: Mapping[str, Any]) -> bool:
    return call.get("type") not in (None, "tool_use")


class _TextBlock(Block):
    """Text. Its sources may be told before it, yet are of all of it."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self._start = position.text_length
        self._citations: list[Mapping[str, Any]] = []

    def add(self, delta: Mapping[str, Any]) -> Sequence[ChatEvent]:
        match delta:
            case {"text": str(text)} if text:
                self._position.text_length += len(text)
                return (TextDelta(choice=0, text=text),)
            case {"citation": dict(citation)}:
                self._citations.append(citation)
        return ()

    def end(self) -> Sequence[ChatEvent]:
        extent = (self._start, self._position.text_length)
        return [CitationAdded(choice=0, citation=decode_citation(each, extent=extent)) for each in self._citations]


class _ThoughtBlock(Block):
    """A thought and its signature, or one that only the backend can read."""

    def __init__(self) -> None:
        self._signature = ""
        self._redacted: list[str] = []

    def add(self, delta: Mapping[str, Any]) -> Sequence[ChatEvent]:
        match delta.get("reasoningContent"):
            case {"text": str(text)} if text:
                return (ReasoningDelta(choice=0, text=text),)
            case {"signature": str(signature)}:
                self._signature += signature
            case {"redactedContent": str(redacted)}:
                self._redacted.append(redacted)
        return ()

    def end(self) -> Sequence[ChatEvent]:
        if self._redacted:
            return (ReasoningRedacted(choice=0, data=read_redacted(_joined(self._redacted))),)
        return (ReasoningSigned(choice=0, signature=self._signature),) if self._signature else ()


def _joined(pieces: Sequence[str]) -> str:
    """Pieces of base64 as one."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)


class _CallBlock(Block):
    """A call, whose arguments come in pieces; those of a call that needs none, at its end."""

    def __init__(self, fields: Mapping[str, Any], position: Position) -> None:
        self._fields = fields
        self._number = position.calls
        self._has_pieces = False
        position.calls += 1

    def begin(self) -> Sequence[ChatEvent]:
        return (_call(self._fields, self._number, ""),)

    def add(self, delta: Mapping[str, Any]) -> Sequence[ChatEvent]:
        match delta.get("toolUse"):
            case {"input": str(piece)} if piece:
                self._has_pieces = True
                return (ToolCallDelta(choice=0, index=self._number, arguments=piece),)
        return ()

    def end(self) -> Sequence[ChatEvent]:
        return () if self._has_pieces else (ToolCallDelta(choice=0, index=self._number, arguments="{}"),)


class _OpaqueBlock(Block):
    """What the backend did itself, or made that is no text, put together from its pieces."""

    def __init__(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._kind = kind
        self._fields = dict(fields)
        self._input: list[str] = []

    def add(self, delta: Mapping[str, Any]) -> Sequence[ChatEvent]:
        match delta:
            case {"toolUse": {"input": str(piece)}}:
                self._input.append(piece)
            case {"toolResult": [*content]}:
                self._fields["content"] = [*self._fields.get("content", ()), *content]
            case {"image": dict(image)}:
                self._fields |= image
        return ()

    def end(self) -> Sequence[ChatEvent]:
        if self._kind == "toolUse":
            self._fields["input"] = _input_of("".join(self._input))
        return (_opaque({self._kind: self._fields}),)


def _input_of(given: str) -> Any:
    try:
        return msgspec.json.decode(given or "{}")
    except UNREADABLE:
        return {}


def block_events(block: Mapping[str, Any], position: Position) -> Iterator[ChatEvent]:
    """The events of a block of a whole answer."""
    match block:
        case {"text": str(text)}:
            yield from _text_events(text, (), position)
        case {"citationsContent": dict(cited)}:
            pieces = [piece.get("text") for piece in _objects(cited.get("content"))]
            text = "".join(piece for piece in pieces if isinstance(piece, str))
            yield from _text_events(text, _objects(cited.get("citations")), position)
        case {"toolUse": dict(call)} if not _is_run_by_backend(call):
            given = call.get("input")
            yield _call(call, position.calls, to_arguments(given if isinstance(given, dict) else {}))
            position.calls += 1
        case {"reasoningContent": {"redactedContent": str(redacted)}}:
            yield ReasoningRedacted(choice=0, data=read_redacted(redacted))
        case {"reasoningContent": {"reasoningText": dict(thought)}}:
            if isinstance(words := thought.get("text"), str) and words:
                yield ReasoningDelta(choice=0, text=words)
            if isinstance(signature := thought.get("signature"), str) and signature:
                yield ReasoningSigned(choice=0, signature=signature)
        case _ if block:
            yield _opaque(block)


def _text_events(text: str, citations: Sequence[Mapping[str, Any]], position: Position) -> Iterator[ChatEvent]:
    start = position.text_length
    position.text_length += len(text)
    if text:
        yield TextDelta(choice=0, text=text)
    for citation in citations:
        yield CitationAdded(choice=0, citation=decode_citation(citation, extent=(start, position.text_length)))


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _call(fields: Mapping[str, Any], number: int, arguments: str) -> ToolCallDelta:
    identifier, name = fields.get("toolUseId"), fields.get("name")
    return ToolCallDelta(
        choice=0,
        index=number,
        id=identifier if isinstance(identifier, str) else "",
        name=name if isinstance(name, str) else "",
        arguments=arguments,
    )


def _opaque(value: Mapping[str, Any]) -> OpaqueAdded:
    return OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=value))
