"""What every dialect must carry of an answer and of a request, in one form that can be compared whatever way it went.

Details that only some dialects have are tested where these are.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.types import (
    AudioPart,
    ChatEvent,
    ChatRequest,
    ContentPart,
    FilePart,
    FinishReason,
    ImagePart,
    Message,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
)
from tests.gateway.schemas.folded_answers import Alternative, fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one alternative of an answer says. `refuses` is told beside its words by few dialects, and not compared."""

    text: str
    calls: tuple[tuple[str, Any], ...]
    finish: FinishReason
    refuses: bool = field(default=False, compare=False)


def said(alternative: Alternative) -> Said:
    """The meaning of a folded alternative. A refusal is text, as most dialects have it."""
    ((reason, _),) = alternative.finishes
    if reason in (None, FinishReason.STOP, FinishReason.TOOL_CALLS):
        reason = FinishReason.TOOL_CALLS if alternative.calls else FinishReason.STOP
    if alternative.refusal:
        reason = FinishReason.CONTENT_FILTER
    return Said(
        text=alternative.text + alternative.refusal,
        calls=tuple((call.name, arguments(call.arguments)) for call in alternative.calls.values()),
        finish=reason,
        refuses=bool(alternative.refusal),
    )


def answered(events: Iterable[ChatEvent]) -> tuple[list[Said], tuple[int, int] | None]:
    """What all alternatives say, and what was read and written in tokens."""
    folded = fold(events)
    usage = (folded.usages[-1].input_tokens, folded.usages[-1].output_tokens) if folded.usages else None
    return [said(folded.choices[index]) for index in sorted(folded.choices)], usage


def arguments(text: str) -> Any:
    """The arguments of a call, which dialects write with or without white space; none are an empty object."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request says: the words of each side, calls and what they gave, how much other content there is."""

    system: str
    user: str
    assistant: str
    calls: tuple[tuple[str, Any], ...]
    results: tuple[str, ...]
    media: int
    tools: tuple[tuple[str, Any], ...]
    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: tuple[str, ...]


def asked(request: ChatRequest) -> Asked:
    """The meaning of a request."""
    return Asked(
        system=_words(request.messages, Role.SYSTEM, Role.DEVELOPER),
        user=_words(request.messages, Role.USER),
        assistant=_words(request.messages, Role.ASSISTANT),
        calls=tuple((part.name, arguments(part.arguments)) for part in _parts(request) if isinstance(part, ToolCall)),
        results=tuple(_result(part) for part in _parts(request) if isinstance(part, ToolResult)),
        media=sum(isinstance(part, ImagePart | AudioPart | FilePart) for part in _parts(request)),
        tools=tuple((tool.name, _schema(tool)) for tool in request.tools if isinstance(tool, Tool)),
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=request.stop,
    )


def _parts(request: ChatRequest) -> list[ContentPart]:
    """All parts, those within results too."""
    parts: list[ContentPart] = [part for message in request.messages for part in message.content]
    return parts + [inner for part in parts if isinstance(part, ToolResult) for inner in part.content]


def _words(messages: Sequence[Message], *roles: Role) -> str:
    """All that these say, without white space: some dialects join texts, others refuse texts of nothing else."""
    parts = (part for message in messages if message.role in roles for part in message.content)
    return "".join("".join(part.text.split()) for part in parts if isinstance(part, TextPart | RefusalPart))


def _result(result: ToolResult) -> str:
    return "".join("".join(part.text.split()) for part in result.content if isinstance(part, TextPart))


def _schema(tool: Tool) -> Any:
    return {"type": "object", **(tool.parameters or {})}
