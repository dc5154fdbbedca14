"""Answers of OpenAI's chat completions: JSON and stream chunks to canonical events."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from gateway.errors import BadGatewayError
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE, UsageFields
from gateway.schemas.openai.reasoning import read_reasoning_details
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReported,
)

_FINISH_REASONS = {reason.value: reason for reason in FinishReason} | {
    "function_call": FinishReason.TOOL_CALLS,
    "eos": FinishReason.STOP,
    "model_length": FinishReason.LENGTH,
}

# No server has more alternatives or calls in one answer; a larger number would only cost memory.
_Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=4096)]
_Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]

_LAST_CREATED = 2**53


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: _Index | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None

    @property
    def signature(self) -> str:
        """Google's, for the next turn."""
        google = self.extra_content.get("google") if isinstance(self.extra_content, dict) else None
        signature = google.get("thought_signature") if isinstance(google, dict) else None
        return signature if isinstance(signature, str) else ""


class _Part(msgspec.Struct):
    """A part of content, as Mistral's reasoning models write it: text, or thinking in parts of text."""

    text: str | None = None
    thinking: "list[_Part] | str | None" = None


class _Message(msgspec.Struct):
    """The message of a choice, or in a stream its delta. `function_call` is what came before `tool_calls`."""

    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    annotations: Any = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[_Byte] | None = None
    top_logprobs: "list[_Logprob] | None" = None

    def to_token(self) -> TokenLogprob:
        top = tuple(other.to_token() for other in self.top_logprobs or ())
        return TokenLogprob(token=self.token, logprob=self.logprob, bytes=bytes(self.bytes or ()), top=top)


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    index: _Index = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    """An answer, or a chunk of one: they differ in `message` and `delta` only."""

    id: str | None = None
    model: str | None = None
    created: float | None = None
    choices: list[_Choice] | None = None
    usage: UsageFields | None = None
    system_fingerprint: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)


def decode_events(data: bytes, *, is_first: bool) -> list[ChatEvent]:
    """The events of a whole answer or of one stream chunk. `is_first` asks for the event that starts an answer.

    A chunk with neither id nor choices, such as Azure sends ahead of a stream, does not start it yet.

    Raises `BadGatewayError` for what is not an answer in this format, and for an error within a stream.
    """
    if data == b"[DONE]":
        return []
    try:
        answer = _decoder.decode(data)
    except UNREADABLE as error:
        raise malformed(error) from None
    if answer.error is not None:
        raise BadGatewayError(_error_text(answer.error), reason="UPSTREAM_FAILED")
    events: list[ChatEvent] = []
    if is_first and (answer.id or answer.choices):
        started = AnswerStarted(
            id=answer.id or "",
            model=answer.model or "",
            created=_created(answer.created),
            system_fingerprint=answer.system_fingerprint or "",
        )
        events.append(started)
    for choice in answer.choices or ():
        events += _choice_events(choice)
    if answer.usage is not None:
        events.append(UsageReported(usage=answer.usage.to_usage()))
    return events


def _created(told: float | None) -> int:
    return int(told) if told is not None and 0 < told < _LAST_CREATED else int(time.time())


def _error_text(error: object) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f"the upstream failed: {message}" if isinstance(message, str) else "the upstream failed"


def _choice_events(choice: _Choice) -> Iterator[ChatEvent]:
    message = choice.message or choice.delta
    number = choice.index
    if message is not None:
        if message.reasoning_details or message.reasoning_content or message.reasoning:
            yield from _reasoning_events(number, message)
        content = message.content
        if not isinstance(content, str):
            yield from _content_events(number, content or ())
        elif content:
            yield TextDelta(choice=number, text=content)
        if message.annotations:
            yield from _citation_events(number, message.annotations)
        if message.refusal:
            yield RefusalDelta(choice=number, text=message.refusal)
        for position, call in enumerate(_calls(message)):
            function = call.function or _Function()
            # The calls of a whole message are all there, in order, whatever they are numbered.
            index = None if choice.message else call.index
            yield ToolCallDelta(
                choice=number,
                index=position if index is None else index,
                id=call.id or "",
                name=function.name or "",
                arguments=function.arguments or "",
                signature=call.signature,
            )
    if choice.logprobs and choice.logprobs.content:
        yield LogprobsDelta(choice=number, tokens=tuple(token.to_token() for token in choice.logprobs.content))
    if choice.finish_reason:
        yield ChoiceFinished(choice=number, reason=_FINISH_REASONS.get(choice.finish_reason))


def _reasoning_events(number: int, message: _Message) -> Iterator[ChatEvent]:
    """Thoughts, from their details where there are signatures, else from the plain text."""
    thoughts = read_reasoning_details(message.reasoning_details)
    if any(thought.signature or thought.redacted for thought in thoughts):
        for thought in thoughts:
            if thought.text:
                yield ReasoningDelta(choice=number, text=thought.text)
            if thought.signature is not None:
                yield ReasoningSigned(choice=number, signature=thought.signature)
            if thought.redacted is not None:
                yield ReasoningRedacted(choice=number, data=thought.redacted)
    elif reasoning := message.reasoning_content or message.reasoning or "".join(thought.text for thought in thoughts):
        yield ReasoningDelta(choice=number, text=reasoning)


def _citation_events(number: int, annotations: object) -> Iterator[ChatEvent]:
    for annotation in annotations if isinstance(annotations, list) else ():
        match annotation:
            case {"type": "url_citation", "url_citation": {"url": str(url)} as source}:
                title = source.get("title")
                extra = {name: value for name, value in source.items() if name not in ("url", "title")}
                citation = Citation(url=url, title=title if isinstance(title, str) else "", extra=extra or None)
                yield CitationAdded(choice=number, citation=citation)


def _content_events(number: int, content: Iterable[_Part]) -> Iterator[ChatEvent]:
    for part in content:
        if thought := _thought(part.thinking):
            yield ReasoningDelta(choice=number, text=thought)
        if part.text:
            yield TextDelta(choice=number, text=part.text)


def _thought(thinking: list[_Part] | str | None) -> str:
    return thinking if isinstance(thinking, str) else "".join(part.text or "" for part in thinking or ())


def _calls(message: _Message) -> Sequence[_ToolCall]:
    if message.tool_calls or message.function_call is None:
        return message.tool_calls or ()
    return (_ToolCall(function=message.function_call),)
