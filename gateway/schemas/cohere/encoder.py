"""Canonical events to answers of Cohere's `/v2/chat`, whole and streamed.

Signatures of thoughts and calls, of which this API knows nothing, stand in fields of their own, so that clients who
send an answer back unchanged bring them along.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from gateway.framing.sse import encode_event
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.cohere.citations import encode_citations
from gateway.schemas.cohere.usage import usage_fields
from gateway.schemas.cohere.wire import DONE, NAME
from gateway.schemas.growing_arguments import GrowingArguments
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    OpaqueAdded,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: the events of its first alternative folded."""
    answer = _Answer()
    for event in events:
        answer.add(event)
    return msgspec.json.encode(answer.fields())


@dataclass(slots=True)
class _Call:
    """A call; `is_open` in a stream between its start and its end."""

    id: str = ""
    name: str = ""
    signature: str = ""
    arguments: GrowingArguments = field(default_factory=GrowingArguments)
    has_begun: bool = False
    is_open: bool = False

    def add(self, event: ToolCallDelta) -> None:
        self.id = self.id or event.id
        self.name = self.name or event.name
        self.signature = self.signature or event.signature
        self.arguments.add(event.arguments)

    def fields(self, number: int, arguments: str) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "id": self.id or f"call_{number}",
            "type": "function",
            "function": {"name": self.name, "arguments": arguments},
        }
        return {**fields, "signature": self.signature} if self.signature else fields


@dataclass(slots=True)
class _Cited:
    """The text so far, as far as sources need it: where the words begin that have none yet."""

    start: int = 0
    pieces: list[str] = field(default_factory=list)
    count: int = 0

    def encode(self, citations: Iterable[Citation]) -> list[dict[str, Any]]:
        """The sources of the words before them."""
        return encode_citations(citations, text="".join(self.pieces), start=self.start)

    def add(self, text: str, *, is_first: bool) -> None:
        """More text; the first after sources begins other words."""
        if is_first:
            self.start += sum(map(len, self.pieces))
            self.pieces = []
        self.pieces.append(text)


def _reason(finished: ChoiceFinished | None, *, has_calls: bool) -> str:
    """Cohere's word. Some backends call an answer with calls a plain stop; clients of this API look for the reason."""
    match finished.reason if finished is not None else None:
        case FinishReason.LENGTH:
            return "MAX_TOKENS"
        case FinishReason.CONTENT_FILTER:
            return "ERROR_TOXIC"
        case FinishReason.TOOL_CALLS:
            return "TOOL_CALL"
        case FinishReason.STOP | None:
            if has_calls:
                return "TOOL_CALL"
            return "STOP_SEQUENCE" if finished is not None and finished.stop_sequence is not None else "COMPLETE"


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    """The numbers of tokens are known to nobody but the model."""
    return {"text": token.token, "token_ids": [], "logprobs": [token.logprob]}


class _Answer:
    """What has come of an answer: its blocks in order, and its calls."""

    def __init__(self) -> None:
        self._id = ""
        self._content: list[dict[str, Any]] = []
        self._texts = _Cited()
        self._cited: list[Citation] = []
        self._citations: list[dict[str, Any]] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[dict[str, Any]] = []
        self._usage = Usage()
        self._finished: ChoiceFinished | None = None

    def add(self, event: ChatEvent) -> None:
        match event:
            case AnswerStarted(id=identifier):
                self._id = identifier
            case UsageReported(usage=usage):
                self._usage = usage
            case _ if event.choice != 0:
                pass  # an answer has one alternative here
            case TextDelta(text=text) | RefusalDelta(text=text):
                if text:
                    self._add_text(text)
            case CitationAdded(citation=citation):
                self._cited.append(citation)
            case ReasoningDelta(text=text):
                if text:
                    self._thought()["thinking"] += text
            case ReasoningSigned(signature=signature):
                self._thought()["signature"] = signature
            case ReasoningRedacted(data=data):
                self._content.append({"type": "thinking", "thinking": "", "redacted": data})
            case ToolCallDelta():
                self._calls.setdefault(event.index, _Call()).add(event)
            case LogprobsDelta(tokens=tokens):
                self._logprobs += map(_logprob, tokens)
            case OpaqueAdded(part=part):
                if part.dialect == NAME:
                    self._content.append(dict(part.value))
            case ChoiceFinished():
                self._finished = event
            case _:
                assert_never(event)

    def _add_text(self, text: str) -> None:
        self._texts.add(text, is_first=self._cite())
        last = self._content[-1] if self._content else None
        if last is not None and last["type"] == "text":
            last["text"] += text
        else:
            self._content.append({"type": "text", "text": text})

    def _cite(self) -> bool:
        """Writes the sources that have come; whether there were any."""
        cited, self._cited = self._cited, []
        if cited:
            self._citations += self._texts.encode(cited)
        return bool(cited)

    def _thought(self) -> dict[str, Any]:
        last = self._content[-1] if self._content else {"type": ""}
        if last["type"] != "thinking" or "signature" in last or "redacted" in last:
            last = {"type": "thinking", "thinking": ""}
            self._content.append(last)
        return last

    def fields(self) -> dict[str, Any]:
        """The JSON of the answer."""
        self._cite()
        message: dict[str, Any] = {"role": "assistant"}
        if self._content:
            message["content"] = self._content
        if self._calls:
            calls = sorted(self._calls.items())
            message["tool_calls"] = [call.fields(number, call.arguments.text()) for number, call in calls]
        if self._citations:
            message["citations"] = self._citations
        fields: dict[str, Any] = {
            "id": self._id,
            "finish_reason": _reason(self._finished, has_calls=bool(self._calls)),
            "message": message,
            "usage": usage_fields(self._usage),
        }
        return {**fields, "logprobs": self._logprobs} if self._logprobs else fields


class EventEncoder:
    """Makes the events of one streamed answer: one start, blocks and calls, why it ended and what it cost.

    The reason to end waits for the usage, which stands beside it.
    """

    def __init__(self, settings: AnswerSettings) -> None:
        self._id = ""
        self._has_started = False
        self._has_ended = False
        self._blocks = 0
        self._open: str | None = None
        self._texts = _Cited()
        self._is_cited = False
        self._citations = 0
        self._calls: dict[int, _Call] = {}
        self._open_calls: list[int] = []
        self._usage: Usage | None = None
        self._finished: ChoiceFinished | None = None
        self._out: list[bytes] = []

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """The bytes to send now."""
        for event in events:
            self._add(event)
        return self._taken()

    def finish(self) -> bytes:
        """The end of the stream."""
        self._end()
        self._out.append(encode_event(DONE))
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _send(self, kind: str, **fields: Any) -> None:
        self._start()
        self._out.append(encode_event(msgspec.json.encode({"type": kind, **fields}), kind))

    def _start(self) -> None:
        if not self._has_started:
            self._has_started = True
            message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
            start = {"id": self._id, "type": "message-start", "delta": {"message": message}}
            self._out.append(encode_event(msgspec.json.encode(start), "message-start"))

    def _add(self, event: ChatEvent) -> None:
        match event:
            case AnswerStarted(id=identifier):
                self._id = self._id or identifier
                self._start()
            case UsageReported(usage=usage):
                self._usage = usage
                if self._finished is not None:
                    self._end()
            case _ if event.choice != 0 or self._has_ended:
                pass  # an answer has one alternative here
            case TextDelta(text=text) | RefusalDelta(text=text):
                if text:
                    self._texts.add(text, is_first=self._is_cited)
                    self._is_cited = False
                    self._send_content("text", text=text)
            case CitationAdded(citation=citation):
                self._cite(citation)
            case ReasoningDelta(text=text):
                if text:
                    self._send_content("thinking", thinking=text)
            case ReasoningSigned(signature=signature):
                self._send_content("thinking", thinking="", signature=signature)
                self._close()
            case ReasoningRedacted(data=data):
                self._close()
                self._send_content("thinking", thinking="", redacted=data)
                self._close()
            case ToolCallDelta():
                self._add_call(event)
            case LogprobsDelta(tokens=tokens):
                self._ensure_open("text")
                for token in tokens:
                    self._send_delta({"text": ""}, logprobs=_logprob(token))
            case OpaqueAdded():
                pass  # what only another backend has, and blocks of this one come whole only in whole answers
            case ChoiceFinished():
                self._finished = event
                self._close_all()
                if self._usage is not None:
                    self._end()
            case _:
                assert_never(event)

    def _send_content(self, kind: str, **content: Any) -> None:
        self._ensure_open(kind)
        self._send_delta(content)

    def _send_delta(self, content: dict[str, Any], **more: Any) -> None:
        self._send("content-delta", index=self._blocks - 1, delta={"message": {"content": content}}, **more)

    def _ensure_open(self, kind: str) -> None:
        if self._open != kind:
            self._close()
            self._open = kind
            self._blocks += 1
            content = {"type": kind, kind: ""}
            self._send("content-start", index=self._blocks - 1, delta={"message": {"content": content}})

    def _close(self) -> None:
        if self._open is not None:
            self._open = None
            self._send("content-end", index=self._blocks - 1)

    def _cite(self, citation: Citation) -> None:
        self._is_cited = True
        for encoded in self._texts.encode([citation]):
            self._send("citation-start", index=self._citations, delta={"message": {"citations": encoded}})
            self._send("citation-end", index=self._citations)
            self._citations += 1

    def _add_call(self, event: ToolCallDelta) -> None:
        """A call begins when it has a name, and takes what has come of its arguments by then."""
        call = self._calls.setdefault(event.index, _Call())
        call.add(event)
        if not call.has_begun:
            if call.name:
                self._begin_call(event.index, call)
        elif call.is_open and event.arguments:
            self._send_arguments(event.index, event.arguments)

    def _begin_call(self, number: int, call: _Call) -> None:
        self._close()
        self._end_calls(are_all_whole=False)
        call.has_begun = call.is_open = True
        self._open_calls.append(number)
        self._send("tool-call-start", index=number, delta={"message": {"tool_calls": call.fields(number, "")}})
        if call.arguments:
            self._send_arguments(number, call.arguments.text())

    def _send_arguments(self, number: int, arguments: str) -> None:
        more = {"function": {"arguments": arguments}}
        self._send("tool-call-delta", index=number, delta={"message": {"tool_calls": more}})

    def _end_calls(self, *, are_all_whole: bool) -> None:
        still_open: list[int] = []
        for number in self._open_calls:
            call = self._calls[number]
            if are_all_whole or call.arguments.is_whole():
                call.is_open = False
                self._send("tool-call-end", index=number)
            else:
                still_open.append(number)
        self._open_calls = still_open

    def _close_all(self) -> None:
        """Ends what is open, after calls whose name never came."""
        for number, call in self._calls.items():
            if not call.has_begun:
                self._begin_call(number, call)
        self._close()
        self._end_calls(are_all_whole=True)

    def _end(self) -> None:
        """Tells once why the answer ended and what it cost."""
        if self._has_ended:
            return
        self._close_all()
        self._has_ended = True
        reason = _reason(self._finished, has_calls=bool(self._calls))
        delta = {"finish_reason": reason, "usage": usage_fields(self._usage or Usage())}
        self._send("message-end", id=self._id, delta=delta)
