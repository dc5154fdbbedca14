"""Canonical events to answers of OpenAI's chat completions, whole and streamed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from gateway.framing.sse import encode_event
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai.reasoning import reasoning_details
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
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_ChoiceEvent = (
    TextDelta
    | CitationAdded
    | RefusalDelta
    | ReasoningDelta
    | ReasoningSigned
    | ReasoningRedacted
    | ToolCallDelta
    | LogprobsDelta
    | OpaqueAdded
    | ChoiceFinished
)


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: its events folded."""
    answer = _Head(model=settings.model).fields("chat.completion")
    choices: dict[int, _Choice] = {}
    usage: Usage | None = None
    for event in events:
        match event:
            case AnswerStarted():
                answer |= _Head(settings.model, event).fields("chat.completion")
            case UsageReported():
                usage = event.usage
            case _:
                choices.setdefault(event.choice, _Choice(event.choice)).add(event)
    answer["choices"] = [choices[index].folded() for index in sorted(choices)]
    if usage is not None:
        answer["usage"] = usage_fields(usage)
    return msgspec.json.encode(answer)


class ChunkEncoder:
    """Makes the chunks of one streamed answer."""

    def __init__(self, settings: AnswerSettings) -> None:
        self._settings = settings
        self._head = _Head(settings.model)
        self._begun: set[int] = set()
        self._thoughts: dict[int, int] = {}

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """One chunk for what came together of each alternative, and one for the usage."""
        out: list[bytes] = []
        choices: dict[int, _Choice] = {}
        for event in events:
            match event:
                case AnswerStarted():
                    self._head = _Head(self._settings.model, event)
                case UsageReported():
                    out += self._chunks(choices)
                    choices = {}
                    if self._settings.includes_usage:
                        out.append(self._chunk([], usage=usage_fields(event.usage)))
                case _:
                    choices.setdefault(event.choice, _Choice(event.choice)).add(event)
        out += self._chunks(choices)
        return b"".join(out)

    def finish(self) -> bytes:
        """The end mark."""
        return b"data: [DONE]\n\n"

    def _chunks(self, choices: Mapping[int, "_Choice"]) -> Iterable[bytes]:
        for index, choice in choices.items():
            is_first = index not in self._begun
            self._begun.add(index)
            thought = self._thoughts.get(index, 0)
            self._thoughts[index] = thought + choice.ended_thoughts
            if (fields := choice.delta(is_first=is_first, thought=thought)) is not None:
                yield self._chunk([fields])

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        fields = self._head.fields("chat.completion.chunk") | {"choices": choices} | more
        return encode_event(msgspec.json.encode(fields))


@dataclass(frozen=True, slots=True)
class _Head:
    """What stands in the answer and in every chunk."""

    model: str
    started: AnswerStarted = field(default_factory=lambda: AnswerStarted(id="", model="", created=0))

    def fields(self, kind: str) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "id": self.started.id,
            "object": kind,
            "created": self.started.created,
            "model": self.model,
        }
        if self.started.system_fingerprint:
            fields["system_fingerprint"] = self.started.system_fingerprint
        return fields


@dataclass(slots=True)
class _Choice:
    """What has come of one alternative: all of it, or what came together."""

    index: int
    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    thoughts: list[ReasoningPart] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finished: ChoiceFinished | None = None

    def add(self, event: _ChoiceEvent) -> None:
        match event:
            case TextDelta():
                self.text.append(event.text)
            case RefusalDelta():
                self.refusal.append(event.text)
            case ReasoningDelta() | ReasoningSigned() | ReasoningRedacted():
                self._add_thought(event)
            case CitationAdded():
                self.citations.append(event.citation)
            case ToolCallDelta():
                self._add_call(event)
            case LogprobsDelta():
                self.logprobs += event.tokens
            case OpaqueAdded():
                pass  # what a backend has done by itself is no part of this dialect
            case ChoiceFinished():
                self.finished = event
            case _:
                assert_never(event)

    def _add_thought(self, event: ReasoningDelta | ReasoningSigned | ReasoningRedacted) -> None:
        if isinstance(event, ReasoningRedacted):
            self.thoughts.append(ReasoningPart(redacted=event.data))
            return
        text, signature = ("", event.signature) if isinstance(event, ReasoningSigned) else (event.text, None)
        if self.thoughts and (last := self.thoughts[-1]).signature is None and last.redacted is None:
            self.thoughts[-1] = ReasoningPart(text=last.text + text, signature=signature)
        else:
            self.thoughts.append(ReasoningPart(text=text, signature=signature))

    def _add_call(self, event: ToolCallDelta) -> None:
        call = self.calls.setdefault(event.index, {"index": event.index, "id": "", "name": "", "arguments": []})
        call["id"] = call["id"] or event.id
        call["name"] = call["name"] or event.name
        call["signature"] = event.signature or call.get("signature")
        call["arguments"].append(event.arguments)

    @property
    def ended_thoughts(self) -> int:
        """How many thoughts have come to their end: those that are signed, or cannot be read."""
        return sum(thought.signature is not None or thought.redacted is not None for thought in self.thoughts)

    def folded(self) -> dict[str, Any]:
        """The alternative of a whole answer."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.text) if self.text or not self.calls else None,
            "refusal": "".join(self.refusal) or None,
        }
        message |= self._common()
        if self.ended_thoughts:
            message["reasoning_details"] = reasoning_details(self.thoughts)
        if self.calls:
            message["tool_calls"] = [_call(call, is_whole=True) for _, call in sorted(self.calls.items())]
        return {
            "index": self.index,
            "message": message,
            "logprobs": self._logprobs(),
            "finish_reason": self._finish_reason() or FinishReason.STOP.value,
        }

    def delta(self, *, is_first: bool, thought: int) -> dict[str, Any] | None:
        """The alternative of a chunk; None if nothing has come that this dialect has.

        `thought` is the number of the thought that goes on. Whether one will be signed in the end nobody knows yet, so
        that all are told in the form that has signatures too.
        """
        delta: dict[str, Any] = {"role": "assistant", "content": ""} if is_first else {}
        if self.text:
            delta["content"] = "".join(self.text)
        if self.refusal:
            delta["refusal"] = "".join(self.refusal)
        delta |= self._common()
        if self.thoughts:
            delta["reasoning_details"] = reasoning_details(self.thoughts, thought)
        if self.calls:
            delta["tool_calls"] = [_call(call, is_whole=False) for _, call in sorted(self.calls.items())]
        reason = self._finish_reason()
        if not delta and reason is None and not self.logprobs:
            return None
        fields = {"index": self.index, "delta": delta, "finish_reason": reason}
        return {**fields, "logprobs": self._logprobs()} if self.logprobs else fields

    def _common(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if text := "".join(thought.text for thought in self.thoughts):
            fields["reasoning_content"] = text
        if self.citations:
            fields["annotations"] = [_annotation(citation) for citation in self.citations]
        return fields

    def _finish_reason(self) -> str | None:
        if self.finished is None:
            return None
        # Of a reason that nobody knows at least the end must be told.
        return (self.finished.reason or FinishReason.STOP).value

    def _logprobs(self) -> dict[str, Any] | None:
        return {"content": [_logprob(token) for token in self.logprobs], "refusal": None} if self.logprobs else None


def _call(call: dict[str, Any], *, is_whole: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": "".join(call["arguments"])}
    if is_whole or call["name"]:
        function["name"] = call["name"]
    fields: dict[str, Any] = {} if is_whole else {"index": call["index"]}
    if is_whole or call["id"] or call["name"]:
        fields |= {"id": call["id"], "type": "function"}
    fields["function"] = function
    if call["signature"]:
        fields["extra_content"] = {"google": {"thought_signature": call["signature"]}}
    return fields


def _annotation(citation: Citation) -> dict[str, Any]:
    known = {name: value for name, value in (citation.extra or {}).items() if name in ("start_index", "end_index")}
    return {"type": "url_citation", "url_citation": {"url": citation.url, "title": citation.title, **known}}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.bytes),
        "top_logprobs": [
            {"token": other.token, "logprob": other.logprob, "bytes": list(other.bytes)} for other in token.top
        ],
    }


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI writes it; what was written to a cache stands beside what was read, under OpenRouter's name."""
    prompt = {
        "cached_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_creation_tokens,
        "audio_tokens": usage.audio_input_tokens,
    }
    completion = {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {name: count for name, count in prompt.items() if count or name == "cached_tokens"},
        "completion_tokens_details": {
            name: count for name, count in completion.items() if count or name == "reasoning_tokens"
        },
    }
