"""Canonical events to answers of OpenAI's completions, whole and streamed. They are text and nothing else."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.framing.sse import encode_event
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai.chat_encoder import usage_fields
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    FinishReason,
    LogprobsDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    Usage,
    UsageReported,
)


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: its events folded."""
    answer = _Answer(settings)
    for event in events:
        answer.add(event)
    choices = [answer.choices[index].take(index, is_whole=True) for index in sorted(answer.choices)]
    more = {} if answer.usage is None else {"usage": usage_fields(answer.usage)}
    return msgspec.json.encode({**answer.head(), "choices": choices, **more})


class ChunkEncoder:
    """Makes the chunks of one streamed answer."""

    def __init__(self, settings: AnswerSettings) -> None:
        self._settings = settings
        self._answer = _Answer(settings)

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """One chunk for what came together of each alternative, and one for the usage."""
        answer = self._answer
        for event in events:
            answer.add(event)
        out = [
            encode_event(msgspec.json.encode({**answer.head(), "choices": [choice.take(index, is_whole=False)]}))
            for index, choice in answer.choices.items()
            if choice.has_news
        ]
        usage, answer.usage = answer.usage, None
        if usage is not None and self._settings.includes_usage:
            out.append(
                encode_event(msgspec.json.encode({**answer.head(), "choices": [], "usage": usage_fields(usage)}))
            )
        return b"".join(out)

    def finish(self) -> bytes:
        """The end mark."""
        return b"data: [DONE]\n\n"


@dataclass(slots=True)
class _Choice:
    """What has come of one alternative and has not been sent."""

    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finished: ChoiceFinished | None = None
    offset: int = 0

    @property
    def has_news(self) -> bool:
        return bool(self.text or self.logprobs or self.finished)

    def take(self, index: int, *, is_whole: bool) -> dict[str, Any]:
        """The alternative as it goes out now."""
        reason = self.finished.reason if self.finished is not None else None
        is_finished = is_whole or self.finished is not None
        fields = {
            "text": "".join(self.text),
            "index": index,
            "logprobs": self._logprobs() if self.logprobs else None,
            "finish_reason": _finish_reason(reason) if is_finished else None,
        }
        self.text, self.logprobs, self.finished = [], [], None
        return fields

    def _logprobs(self) -> dict[str, Any]:
        offsets = []
        for token in self.logprobs:
            offsets.append(self.offset)
            self.offset += len(token.token)
        return {
            "tokens": [token.token for token in self.logprobs],
            "token_logprobs": [token.logprob for token in self.logprobs],
            "top_logprobs": [{other.token: other.logprob for other in token.top} for token in self.logprobs],
            "text_offset": offsets,
        }


def _finish_reason(reason: FinishReason | None) -> str:
    """Of a reason that this dialect does not have at least the end must be told."""
    if reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER):
        return reason.value
    return FinishReason.STOP.value


class _Answer:
    """An answer as far as it has come."""

    def __init__(self, settings: AnswerSettings) -> None:
        self._model = settings.model
        self._started = AnswerStarted(id="", model="", created=0)
        self.choices: dict[int, _Choice] = {}
        self.usage: Usage | None = None

    def head(self) -> dict[str, Any]:
        """What stands in the answer and in every chunk."""
        started = self._started
        fields = {"id": started.id, "object": "text_completion", "created": started.created, "model": self._model}
        return {**fields, "system_fingerprint": started.system_fingerprint} if started.system_fingerprint else fields

    def add(self, event: ChatEvent) -> None:
        """One event; thoughts, calls and sources have no place in a text."""
        match event:
            case AnswerStarted():
                self._started = event
            case UsageReported(usage=usage):
                self.usage = usage
            case TextDelta() | RefusalDelta():
                self._choice(event.choice).text.append(event.text)
            case LogprobsDelta():
                self._choice(event.choice).logprobs += event.tokens
            case ChoiceFinished():
                self._choice(event.choice).finished = event
            case _:
                pass

    def _choice(self, index: int) -> _Choice:
        return self.choices.setdefault(index, _Choice())
