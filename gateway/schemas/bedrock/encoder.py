"""Canonical events to answers of Bedrock's Converse, whole and streamed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from gateway.framing.aws_event_stream import encode_frame
from gateway.schemas.anthropic.arguments import to_input
from gateway.schemas.bedrock.blocks import tool_id
from gateway.schemas.bedrock.citations import encode_citation
from gateway.schemas.bedrock.reasoning import encode_reasoning, write_redacted
from gateway.schemas.bedrock.usage import usage_fields
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.folded_answer import FoldedAnswer, FoldedCall, FoldedText, FoldedThought
from gateway.schemas.growing_arguments import GrowingArguments
from gateway.schemas.stop_reasons import BEDROCK
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    CitationAdded,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: the events of its first alternative folded."""
    answer = FoldedAnswer(NAME)
    for event in events:
        answer.add(event)
    return msgspec.json.encode(_fields(answer))


def _fields(answer: FoldedAnswer) -> dict[str, Any]:
    """The JSON of the answer. How long it took is not known here."""
    finished = answer.finished
    return {
        "output": {"message": {"role": "assistant", "content": list(_content(answer))}},
        "stopReason": BEDROCK.write(
            finished.reason, finished.stop_sequence, has_calls=answer.has_calls, is_refused=answer.is_refused
        ),
        **_own_fields(finished),
        "usage": usage_fields(answer.usage),
        "metrics": {"latencyMs": 0},
    }


def _content(answer: FoldedAnswer) -> Iterator[dict[str, Any]]:
    for block in answer.blocks:
        match block:
            case FoldedText(text=text, citations=[]):
                yield {"text": text}
            case FoldedText(text=text, citations=citations):
                cited = [encode_citation(citation) for citation in citations]
                yield {"citationsContent": {"content": [{"text": text}], "citations": cited}}
            case FoldedThought(text=text, signature=signature):
                yield encode_reasoning(ReasoningPart(text=text, signature=signature))
            case FoldedCall(number=number, id=identifier, name=name):
                yield {"toolUse": {**_head(number, identifier, name), "input": to_input(block.arguments)}}
            case ReasoningRedacted(data=data):
                yield encode_reasoning(ReasoningPart(redacted=data))
            case OpaquePart(value=value):
                yield dict(value)
            case _:
                assert_never(block)


def _head(number: int, identifier: str, name: str) -> dict[str, Any]:
    return {"toolUseId": tool_id(identifier or f"tooluse_{number}"), "name": name}


def _own_fields(finished: ChoiceFinished) -> dict[str, Any]:
    """What ended the answer, under the name that Claude has for it."""
    if finished.stop_sequence is None:
        return {}
    return {"additionalModelResponseFields": {"stop_sequence": finished.stop_sequence}}


@dataclass(slots=True)
class _Call:
    """A call whose block is open, or waits for the call's name."""

    id: str = ""
    name: str = ""
    arguments: GrowingArguments = field(default_factory=GrowingArguments)
    block: int | None = None
    is_closed: bool = False

    def add(self, event: ToolCallDelta) -> None:
        self.id = self.id or event.id
        self.name = self.name or event.name
        self.arguments.add(event.arguments)


class EventEncoder:
    """Makes the events of one streamed answer: one start, blocks one after another, why it ended, what it cost.

    Blocks of calls whose arguments come by turns are open beside each other, for none can be opened again.
    """

    def __init__(self, settings: AnswerSettings) -> None:
        self._has_started = False
        self._has_ended = False
        self._is_usage_told = False
        self._blocks = 0
        self._open: str | None = None  # text or thought: the block made last
        self._is_cited = False
        self._calls: dict[int, _Call] = {}
        self._open_calls: list[_Call] = []
        self._usage: Usage | None = None
        self._is_refused = False
        self._out: list[bytes] = []

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """The bytes to send now."""
        for event in events:
            self._add(event)
        return self._taken()

    def finish(self) -> bytes:
        """The end of the stream."""
        self._end(ChoiceFinished(choice=0, reason=None))
        self._tell_usage(self._usage or Usage())
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _send(self, kind: str, **fields: Any) -> None:
        self._out.append(encode_frame(msgspec.json.encode(fields), kind))

    def _add(self, event: ChatEvent) -> None:
        match event:
            case AnswerStarted():
                self._start()
            case UsageReported(usage=usage):
                self._usage = usage
                if self._has_ended:
                    self._tell_usage(usage)
            case _ if event.choice != 0 or self._has_ended:
                pass  # an answer has one alternative here
            case TextDelta(text=text):
                self._add_text(text)
            case RefusalDelta(text=text):
                self._is_refused = True
                self._add_text(text)
            case CitationAdded(citation=citation):
                self._ensure_open("text")
                self._is_cited = True
                self._send_delta({"citation": encode_citation(citation)})
            case ReasoningDelta(text=text):
                if text:
                    self._ensure_open("thought")
                    self._send_delta({"reasoningContent": {"text": text}})
            case ReasoningSigned(signature=signature):
                self._ensure_open("thought")
                self._send_delta({"reasoningContent": {"signature": signature}})
                self._close_open()
            case ReasoningRedacted(data=data):
                self._close_open()
                self._ensure_open("redacted")
                self._send_delta({"reasoningContent": {"redactedContent": write_redacted(data)}})
                self._close_open()
            case ToolCallDelta():
                self._add_call(event)
            case OpaqueAdded(part=part):
                self._add_opaque(part)
            case LogprobsDelta():
                pass  # nothing like it here, and not asked for
            case ChoiceFinished():
                self._end(event)
                if self._usage is not None:
                    self._tell_usage(self._usage)
            case _:
                assert_never(event)

    def _start(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._send("messageStart", role="assistant")

    def _add_text(self, text: str) -> None:
        """More text, in a block of its own after one that has sources."""
        if text:
            if self._is_cited:
                self._close_open()
            self._ensure_open("text")
            self._send_delta({"text": text})

    def _send_delta(self, delta: dict[str, Any]) -> None:
        self._send("contentBlockDelta", contentBlockIndex=self._blocks - 1, delta=delta)

    def _ensure_open(self, kind: str) -> None:
        if self._open != kind:
            self._begin()
            self._open = kind

    def _begin(self) -> int:
        """A block after those that are complete; of text and thoughts nothing is sent before their first piece."""
        self._start()
        self._close_open()
        self._close_calls(are_all_whole=False)
        self._blocks += 1
        return self._blocks - 1

    def _close_open(self) -> None:
        if self._open is not None:
            self._open = None
            self._is_cited = False
            self._close(self._blocks - 1)

    def _close(self, index: int) -> None:
        self._send("contentBlockStop", contentBlockIndex=index)

    def _close_calls(self, *, are_all_whole: bool) -> None:
        still_open: list[_Call] = []
        for call in self._open_calls:
            if call.block is not None and (are_all_whole or call.arguments.is_whole()):
                call.is_closed = True
                self._close(call.block)
            else:
                still_open.append(call)
        self._open_calls = still_open

    def _add_opaque(self, part: OpaquePart) -> None:
        """A block that this dialect streams: the call of a tool that the backend runs itself, its result, a picture."""
        if part.dialect != NAME:
            return
        match part.value:
            case {"toolUse": dict(call)}:
                given = msgspec.json.encode(call.get("input", {})).decode()
                self._add_whole({"toolUse": _without(call, "input")}, {"toolUse": {"input": given}})
            case {"toolResult": dict(result)}:
                self._add_whole({"toolResult": _without(result, "content")}, {"toolResult": result.get("content", [])})
            case {"image": dict(image)}:
                self._add_whole({"image": {"format": image.get("format")}}, {"image": _without(image, "format")})

    def _add_whole(self, start: dict[str, Any], delta: dict[str, Any]) -> None:
        index = self._begin()
        self._send("contentBlockStart", contentBlockIndex=index, start=start)
        self._send_delta(delta)
        self._close(index)

    def _add_call(self, event: ToolCallDelta) -> None:
        call = self._calls.setdefault(event.index, _Call())
        if call.is_closed:
            return
        call.add(event)
        if call.block is None:
            if call.name:
                self._begin_call(call, event.index)
        elif event.arguments:
            self._send_arguments(call, event.arguments)

    def _begin_call(self, call: _Call, number: int) -> None:
        call.block = self._begin()
        self._send(
            "contentBlockStart", contentBlockIndex=call.block, start={"toolUse": _head(number, call.id, call.name)}
        )
        self._open_calls.append(call)
        if call.arguments:
            self._send_arguments(call, call.arguments.text())

    def _send_arguments(self, call: _Call, arguments: str) -> None:
        self._send("contentBlockDelta", contentBlockIndex=call.block, delta={"toolUse": {"input": arguments}})

    def _end(self, finished: ChoiceFinished) -> None:
        """Tells once why the answer ended, after all that is open."""
        if self._has_ended:
            return
        self._has_ended = True
        self._start()
        for number, call in self._calls.items():
            if call.block is None:  # its name never came
                self._begin_call(call, number)
        self._close_open()
        self._close_calls(are_all_whole=True)
        reason = BEDROCK.write(
            finished.reason, finished.stop_sequence, has_calls=bool(self._calls), is_refused=self._is_refused
        )
        self._send("messageStop", stopReason=reason, **_own_fields(finished))

    def _tell_usage(self, usage: Usage) -> None:
        if not self._is_usage_told:
            self._is_usage_told = True
            self._send("metadata", usage=usage_fields(usage), metrics={"latencyMs": 0})


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in fields.items() if each != name}
