"""Canonical events to streamed answers of Anthropic's messages."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from gateway.framing.sse import encode_event
from gateway.schemas.anthropic.answer_parts import call_block, made_call_id, message_fields, signature_carrier
from gateway.schemas.anthropic.citations import encode_citation
from gateway.schemas.anthropic.usage import usage_fields
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.growing_arguments import GrowingArguments
from gateway.schemas.stop_reasons import ANTHROPIC
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    CitationAdded,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)


@dataclass(slots=True)
class _Call:
    """A call whose block is open, or waits for the call's name."""

    id: str = ""
    name: str = ""
    signature: str = ""
    block: int | None = None
    arguments: GrowingArguments = field(default_factory=GrowingArguments)
    is_closed: bool = False
    is_signature_sent: bool = False


class EventEncoder:
    """Makes the events of one streamed answer: one start, blocks one after another, why it ended and what it cost.

    Blocks of calls whose arguments come by turns are open beside each other, for none can be opened again. What ends
    the answer waits for the usage, which stands beside it.
    """

    def __init__(self, settings: AnswerSettings) -> None:
        self._settings = settings
        self._started: AnswerStarted | None = None
        self._has_started = False
        self._has_ended = False
        self._blocks = 0
        self._open: str | None = None  # text or thinking: the block made last
        self._is_cited = False
        self._calls: dict[int, _Call] = {}
        self._open_calls: list[_Call] = []
        self._usage: Usage | None = None
        self._finished: ChoiceFinished | None = None
        self._is_refused = False
        self._out: list[bytes] = []

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """The bytes to send now."""
        for event in events:
            self._add(event)
        return self._taken()

    def finish(self) -> bytes:
        """The end of the stream."""
        self._end()
        self._send("message_stop")
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _send(self, kind: str, **fields: Any) -> None:
        self._out.append(encode_event(msgspec.json.encode({"type": kind, **fields}), kind))

    def _add(self, event: ChatEvent) -> None:
        match event:
            case AnswerStarted():
                self._started = self._started or event
                self._start()
            case UsageReported(usage=usage):
                self._usage = usage
                if self._finished is not None:
                    self._end()
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
                self._send_delta({"type": "citations_delta", "citation": encode_citation(citation)})
            case ReasoningDelta(text=text):
                if text:
                    self._ensure_open("thinking")
                    self._send_delta({"type": "thinking_delta", "thinking": text})
            case ReasoningSigned(signature=signature):
                self._ensure_open("thinking")
                self._send_delta({"type": "signature_delta", "signature": signature})
                self._close_open()
            case ReasoningRedacted(data=data):
                self._add_whole({"type": "redacted_thinking", "data": data})
            case ToolCallDelta():
                self._add_call(event)
            case OpaqueAdded(part=part):
                self._add_opaque(part)
            case LogprobsDelta():
                pass  # nothing like it here, and not asked for
            case ChoiceFinished():
                self._finish(event)
            case _:
                assert_never(event)

    def _start(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._send("message_start", message=message_fields(self._started, self._settings.model, self._usage))

    def _add_text(self, text: str) -> None:
        """More text, in a block of its own after one that has sources."""
        if text:
            if self._is_cited:
                self._close_open()
            self._ensure_open("text")
            self._send_delta({"type": "text_delta", "text": text})

    def _send_delta(self, delta: dict[str, Any]) -> None:
        self._send("content_block_delta", index=self._blocks - 1, delta=delta)

    def _ensure_open(self, kind: str) -> None:
        if self._open != kind:
            self._begin({"type": "text", "text": ""} if kind == "text" else _THINKING)
            self._open = kind

    def _begin(self, block: dict[str, Any]) -> int:
        """Opens a block after those that are complete."""
        self._start()
        self._close_open()
        self._close_calls(are_all_whole=False)
        index = self._blocks
        self._blocks += 1
        self._send("content_block_start", index=index, content_block=block)
        return index

    def _close_open(self) -> None:
        if self._open is not None:
            self._open = None
            self._is_cited = False
            self._close(self._blocks - 1)

    def _close(self, index: int) -> None:
        self._send("content_block_stop", index=index)

    def _close_calls(self, *, are_all_whole: bool) -> None:
        still_open: list[_Call] = []
        for call in self._open_calls:
            if call.block is not None and (are_all_whole or call.arguments.is_whole()):
                call.is_closed = True
                self._close(call.block)
            else:
                still_open.append(call)
        self._open_calls = still_open

    def _add_whole(self, block: dict[str, Any]) -> None:
        self._close(self._begin(block))

    def _add_opaque(self, part: OpaquePart) -> None:
        if part.dialect != NAME:
            return
        block = dict(part.value)
        if not isinstance(given := block.get("input"), dict):
            self._add_whole(block)
            return
        index = self._begin({**block, "input": {}})
        pieces = {"type": "input_json_delta", "partial_json": msgspec.json.encode(given).decode()}
        self._send("content_block_delta", index=index, delta=pieces)
        self._close(index)

    def _add_call(self, event: ToolCallDelta) -> None:
        call = self._calls.setdefault(event.index, _Call())
        call.id = call.id or event.id
        call.name = call.name or event.name
        call.signature = call.signature or event.signature
        if call.is_closed:
            return
        call.arguments.add(event.arguments)
        if call.block is None:
            if call.name:
                self._begin_call(call, event.index)
        elif event.arguments:
            self._send_arguments(call, event.arguments)

    def _begin_call(self, call: _Call, number: int) -> None:
        call.id = call.id or made_call_id(self._started, number)
        self._send_signature(call)
        call.block = self._begin(call_block(call.id, call.name, call.signature, {}))
        self._open_calls.append(call)
        if call.arguments:
            self._send_arguments(call, call.arguments.text())

    def _send_arguments(self, call: _Call, arguments: str) -> None:
        delta = {"type": "input_json_delta", "partial_json": arguments}
        self._send("content_block_delta", index=call.block, delta=delta)

    def _send_signature(self, call: _Call) -> None:
        carrier = signature_carrier(call.id, call.signature)
        if carrier is not None and not call.is_signature_sent:
            call.is_signature_sent = True
            index = self._begin(_THINKING)
            delta = {"type": "signature_delta", "signature": carrier["signature"]}
            self._send("content_block_delta", index=index, delta=delta)
            self._close(index)

    def _finish(self, event: ChoiceFinished) -> None:
        self._finished = event
        self._close_blocks()
        if self._usage is not None:
            self._end()

    def _close_blocks(self) -> None:
        """Ends what is open, after what calls have that came late: a name that never did, a signature."""
        for number, call in self._calls.items():
            if call.block is None:
                self._begin_call(call, number)
        self._close_open()
        self._close_calls(are_all_whole=True)
        for call in self._calls.values():
            self._send_signature(call)

    def _end(self) -> None:
        """Tells once why the answer ended and what it cost."""
        if self._has_ended:
            return
        self._has_ended = True
        self._start()
        self._close_blocks()
        finished = self._finished or ChoiceFinished(choice=0, reason=None)
        reason = ANTHROPIC.write(
            finished.reason, finished.stop_sequence, has_calls=bool(self._calls), is_refused=self._is_refused
        )
        delta = {"stop_reason": reason, "stop_sequence": finished.stop_sequence}
        self._send("message_delta", delta=delta, usage=usage_fields(self._usage or Usage()))


_THINKING: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
