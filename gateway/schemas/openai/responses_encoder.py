"""Canonical events to answers of OpenAI's responses, whole and as streams of typed events."""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

import msgspec

from gateway.framing.sse import encode_event
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai.responses_citations import annotation_fields
from gateway.schemas.openai.responses_growing import (
    GrowingCall,
    GrowingMessage,
    GrowingPart,
    GrowingThought,
    logprob_fields,
    usage_fields,
)
from gateway.schemas.openai.responses_reasoning import (
    call_fields,
    own_fields,
    reasoning_item,
    redacted_fields,
    signed_fields,
)
from gateway.schemas.openai.responses_wire import NAME
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

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: its events folded."""
    encoder = ResponseEncoder(settings, is_streaming=False)
    encoder.encode(events)
    encoder.finish()
    return msgspec.json.encode(encoder.response())


class ResponseEncoder:
    """Makes one answer: its items one after another, each begun, filled and ended by events of its own.

    Calls whose arguments come by turns are open beside each other, for none can be opened again. The event that ends
    the stream has the whole answer.
    """

    def __init__(self, settings: AnswerSettings, *, is_streaming: bool = True) -> None:
        self._settings = settings
        self._is_streaming = is_streaming
        self._started = AnswerStarted(id="", model="", created=0)
        self._has_started = False
        self._sequence = 0
        self._status = "in_progress"
        self._output: list[dict[str, Any]] = []
        self._message: GrowingMessage | None = None
        self._thought: GrowingThought | None = None
        self._calls: dict[int, GrowingCall] = {}
        self._open_calls: list[GrowingCall] = []
        self._text: str = ""
        self._usage: Usage | None = None
        self._finished: ChoiceFinished | None = None
        self._out: list[bytes] = []

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """The bytes to send now; texts that came together are one event."""
        for event in events:
            self._add(event)
        self._send_text(())
        return self._taken()

    def finish(self) -> bytes:
        """The end of the stream, with the whole answer."""
        self._start()
        self._close_all("completed")
        reason = self._finished.reason if self._finished is not None else None
        self._status = "incomplete" if reason in _INCOMPLETE else "completed"
        self._send(f"response.{self._status}", response=self.response())
        return self._taken()

    def response(self) -> dict[str, Any]:
        """The answer as far as it has come. What was asked is not repeated: other dialects asked it otherwise."""
        reason = self._finished.reason if self._finished is not None else None
        why = _INCOMPLETE.get(reason) if reason is not None and self._status == "incomplete" else None
        return {
            "id": self._id("resp"),
            "object": "response",
            "created_at": self._started.created,
            "status": self._status,
            "background": False,
            "error": None,
            "incomplete_details": None if why is None else {"reason": why},
            "instructions": None,
            "max_output_tokens": None,
            "model": self._settings.model,
            "output": self._output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": None if self._usage is None else usage_fields(self._usage),
            "user": None,
            "metadata": {},
        }

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _send(self, kind: str, **fields: Any) -> None:
        if self._is_streaming:
            data = {"type": kind, "sequence_number": self._sequence, **fields}
            self._sequence += 1
            self._out.append(encode_event(msgspec.json.encode(data), kind))

    def _add(self, event: ChatEvent) -> None:
        match event:
            case TextDelta(choice=0, text=text):
                self._text += text
                return
            case LogprobsDelta(choice=0, tokens=tokens):
                self._send_text(tokens)
                return
        self._send_text(())
        match event:
            case AnswerStarted():
                if not self._has_started:
                    self._started = event
                self._start()
            case UsageReported(usage=usage):
                self._usage = usage
            case _ if event.choice != 0:
                pass  # an answer has one alternative here
            case TextDelta() | LogprobsDelta():
                raise AssertionError("these came before")
            case RefusalDelta(text=text):
                if text:
                    self._add_refusal(text)
            case CitationAdded(citation=citation):
                self._add_citation(citation)
            case ReasoningDelta(text=text):
                if text:
                    self._add_thought(text)
            case ReasoningSigned(signature=signature):
                self._sign(signature)
            case ReasoningRedacted(data=data):
                self._add_item(self._whole_thought(redacted_fields(data)))
            case ToolCallDelta():
                self._add_call(event)
            case OpaqueAdded(part=part):
                if part.dialect == NAME:
                    self._add_item(dict(part.value))
            case ChoiceFinished(reason=reason):
                self._finished = event
                self._close_all("incomplete" if reason in _INCOMPLETE else "completed")
            case _:
                assert_never(event)

    def _id(self, kind: str, number: int | None = None) -> str:
        """An id that is the same whenever the same answer is written."""
        base = self._started.id
        if number is None:
            return base or f"{kind}_0"
        return f"{kind}_{base.removeprefix('resp_')}_{number}"

    def _start(self) -> None:
        if not self._has_started:
            self._has_started = True
            for kind in ("response.created", "response.in_progress"):
                self._send(kind, response=self.response())

    # Items.

    def _begin(self) -> int:
        """The place of a new item, after those that are complete."""
        self._start()
        self._close_message("completed")
        self._close_thought({})
        still_open: list[GrowingCall] = []
        for call in self._open_calls:
            if call.arguments.is_whole():
                self._close_call(call, "completed")
            else:
                still_open.append(call)
        self._open_calls = still_open
        self._output.append({})
        return len(self._output) - 1

    def _added(self, output_index: int, item: Mapping[str, Any]) -> None:
        self._send("response.output_item.added", output_index=output_index, item=item)

    def _done(self, output_index: int, item: dict[str, Any]) -> None:
        self._output[output_index] = item
        self._send("response.output_item.done", output_index=output_index, item=item)

    def _add_item(self, item: dict[str, Any]) -> None:
        output_index = self._begin()
        self._added(output_index, item)
        self._done(output_index, item)

    def _close_all(self, status: str) -> None:
        """Ends what is open, after what calls have that came late: a name that never did, a signature."""
        for number, call in self._calls.items():
            if call.output_index is None:
                self._begin_call(call, number)
        self._close_message(status)
        self._close_thought({})
        self._open_calls = []
        for call in self._calls.values():
            if not call.is_closed:
                self._close_call(call, status)
        for call in self._calls.values():
            self._send_signature(call)

    # Messages.

    def _open_part(self, kind: str) -> tuple[GrowingMessage, GrowingPart]:
        message = self._message
        if message is None:
            output_index = self._begin()
            message = self._message = GrowingMessage(output_index, self._id("msg", output_index))
            self._added(output_index, message.item("in_progress"))
        if message.part is None or message.part.kind != kind:
            self._close_part(message)
            message.part = GrowingPart(kind, len(message.content))
            self._send("response.content_part.added", **self._place(message, message.part), part=message.part.fields())
        return message, message.part

    def _place(self, message: GrowingMessage, part: GrowingPart) -> dict[str, Any]:
        return {"item_id": message.id, "output_index": message.output_index, "content_index": part.index}

    def _send_text(self, tokens: tuple[TokenLogprob, ...]) -> None:
        """The text that waits for its probabilities, with these."""
        text, self._text = self._text, ""
        if not text and not tokens:
            return
        message, part = self._open_part("output_text")
        logprobs = [logprob_fields(token) for token in tokens]
        part.text.append(text)
        part.length += len(text)
        part.logprobs += logprobs
        self._send("response.output_text.delta", **self._place(message, part), delta=text, logprobs=logprobs)

    def _add_refusal(self, text: str) -> None:
        message, part = self._open_part("refusal")
        part.text.append(text)
        self._send("response.refusal.delta", **self._place(message, part), delta=text)

    def _add_citation(self, citation: Citation) -> None:
        message, part = self._open_part("output_text")
        annotation = annotation_fields(citation, part.length)
        place = {**self._place(message, part), "annotation_index": len(part.annotations)}
        part.annotations.append(annotation)
        self._send("response.output_text.annotation.added", **place, annotation=annotation)

    def _close_part(self, message: GrowingMessage) -> None:
        part, message.part = message.part, None
        if part is None:
            return
        fields, place = part.fields(), self._place(message, part)
        message.content.append(fields)
        if part.kind == "refusal":
            self._send("response.refusal.done", **place, refusal=fields["refusal"])
        else:
            self._send("response.output_text.done", **place, text=fields["text"], logprobs=part.logprobs)
        self._send("response.content_part.done", **place, part=fields)

    def _close_message(self, status: str) -> None:
        message, self._message = self._message, None
        if message is not None:
            self._close_part(message)
            self._done(message.output_index, message.item(status))

    # Thoughts.

    def _whole_thought(self, fields: dict[str, str]) -> dict[str, Any]:
        return reasoning_item("", {"id": self._id("rs", len(self._output)), **fields})

    def _add_thought(self, text: str) -> None:
        thought = self._thought
        if thought is None:
            output_index = self._begin()
            thought = self._thought = GrowingThought(output_index, self._id("rs", output_index))
            self._added(output_index, reasoning_item("", {"id": thought.id}))
            part = {"type": "summary_text", "text": ""}
            self._send("response.reasoning_summary_part.added", **self._thought_place(thought), part=part)
        thought.text.append(text)
        self._send("response.reasoning_summary_text.delta", **self._thought_place(thought), delta=text)

    def _thought_place(self, thought: GrowingThought) -> dict[str, Any]:
        return {"item_id": thought.id, "output_index": thought.output_index, "summary_index": 0}

    def _sign(self, signature: str) -> None:
        if self._thought is None:
            self._add_item(self._whole_thought(own_fields(signature) or signed_fields(signature)))
        else:
            self._close_thought(signed_fields(signature))  # its id has been told

    def _close_thought(self, fields: dict[str, str]) -> None:
        thought, self._thought = self._thought, None
        if thought is None:
            return
        text, place = "".join(thought.text), self._thought_place(thought)
        self._send("response.reasoning_summary_text.done", **place, text=text)
        part = {"type": "summary_text", "text": text}
        self._send("response.reasoning_summary_part.done", **place, part=part)
        self._done(thought.output_index, reasoning_item(text, {"id": thought.id, **fields}))

    # Calls.

    def _add_call(self, event: ToolCallDelta) -> None:
        call = self._calls.setdefault(event.index, GrowingCall())
        call.id = call.id or event.id
        call.name = call.name or event.name
        call.signature = call.signature or event.signature
        if call.is_closed:
            return
        call.arguments.add(event.arguments)
        if call.output_index is None:
            if call.name:
                self._begin_call(call, event.index)
        elif event.arguments:
            self._send_arguments(call, event.arguments)

    def _begin_call(self, call: GrowingCall, number: int) -> None:
        call.id = call.id or self._id("call", number)
        self._send_signature(call)
        call.output_index = self._begin()
        self._open_calls.append(call)
        self._added(call.output_index, self._call_item(call, "", "in_progress"))
        if call.arguments:
            self._send_arguments(call, call.arguments.text())

    def _call_item(self, call: GrowingCall, arguments: str, status: str) -> dict[str, Any]:
        return {
            "id": self._id("fc", call.output_index),
            "type": "function_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments,
        }

    def _call_place(self, call: GrowingCall) -> dict[str, Any]:
        return {"item_id": self._id("fc", call.output_index), "output_index": call.output_index}

    def _send_arguments(self, call: GrowingCall, arguments: str) -> None:
        self._send("response.function_call_arguments.delta", **self._call_place(call), delta=arguments)

    def _send_signature(self, call: GrowingCall) -> None:
        """In an item of its own, for that of the call has no place for it."""
        if call.signature and not call.is_signature_sent:
            call.is_signature_sent = True
            self._add_item(self._whole_thought(call_fields(call.id, call.signature)))

    def _close_call(self, call: GrowingCall, status: str) -> None:
        call.is_closed = True
        if call.output_index is None:
            return
        if not call.arguments:  # clients read JSON
            call.arguments.add("{}")
            self._send_arguments(call, "{}")
        arguments = call.arguments.text()
        place = self._call_place(call)
        self._send("response.function_call_arguments.done", **place, name=call.name, arguments=arguments)
        self._done(call.output_index, self._call_item(call, arguments, status))
