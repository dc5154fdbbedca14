"""Answers of OpenAI's completions, whole or chunk by chunk: both have the same form."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE, UsageFields
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    FinishReason,
    LogprobsDelta,
    TextDelta,
    TokenLogprob,
    UsageReported,
)

_FINISH_REASONS = {reason.value: reason for reason in FinishReason} | {
    "eos": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
}
_LAST_CREATED = 2**53

# No server has more alternatives in one answer; a larger number would only cost memory.
_Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=4096)]


class _Logprobs(msgspec.Struct):
    """Tokens, and in rows beside them what is known of each."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    index: _Index = 0
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: float | None = None
    choices: list[_Choice] | None = None
    usage: UsageFields | None = None
    system_fingerprint: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)


class AnswerDecoder:
    """Turns the chunks of one answer into events; a whole answer is one chunk."""

    def __init__(self) -> None:
        self._has_started = False

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events of one chunk. Raises `BadGatewayError`."""
        return self.decode_data(event.data) if event.data and event.data != b"[DONE]" else ()

    def decode_data(self, data: bytes) -> Sequence[ChatEvent]:
        """The same for its data."""
        try:
            answer = _decoder.decode(data)
        except UNREADABLE as error:
            raise malformed(error) from None
        return list(self._events(answer))

    def _events(self, answer: _Answer) -> Iterator[ChatEvent]:
        if answer.error is not None:
            message = answer.error.get("message") if isinstance(answer.error, dict) else answer.error
            text = f"the upstream failed: {message}" if isinstance(message, str) else "the upstream failed"
            raise BadGatewayError(text, reason="UPSTREAM_FAILED")
        if not self._has_started:
            self._has_started = True
            created = answer.created or 0
            yield AnswerStarted(
                id=answer.id or "",
                model=answer.model or "",
                created=int(created) if 0 < created < _LAST_CREATED else int(time.time()),
                system_fingerprint=answer.system_fingerprint or "",
            )
        for choice in answer.choices or ():
            yield from _choice_events(choice)
        if answer.usage is not None:
            yield UsageReported(usage=answer.usage.to_usage())


def _choice_events(choice: _Choice) -> Iterator[ChatEvent]:
    if choice.text:
        yield TextDelta(choice=choice.index, text=choice.text)
    if choice.logprobs is not None and (tokens := tuple(_tokens(choice.logprobs))):
        yield LogprobsDelta(choice=choice.index, tokens=tokens)
    if choice.finish_reason:
        yield ChoiceFinished(choice=choice.index, reason=_FINISH_REASONS.get(choice.finish_reason))


def _tokens(logprobs: _Logprobs) -> Iterator[TokenLogprob]:
    known = logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or []
    for place, token in enumerate(logprobs.tokens or ()):
        # The first token of an echoed prompt has none.
        if place < len(known) and (logprob := known[place]) is not None:
            others = (tops[place] if place < len(tops) else None) or {}
            top = tuple(_token(other, value) for other, value in others.items())
            yield _token(token, logprob, top)


def _token(token: str, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(token=token, logprob=logprob, bytes=token.encode("utf-8", "surrogatepass"), top=top)
