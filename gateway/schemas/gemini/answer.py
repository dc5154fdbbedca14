"""Answers of Gemini's `generateContent`, whole or piece by piece: both have the same form."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.gemini.request import NAME
from gateway.schemas.gemini.usage import UsageFields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningSigned,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReported,
)

# The field with what a search found: as a part of its own dialect, and to mark the citations that are made of it.
GROUNDING = "groundingMetadata"

_FINISH_REASONS: dict[object, FinishReason] = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    # As numbers, where a caller asked for them.
    1: FinishReason.STOP,
    2: FinishReason.LENGTH,
    3: FinishReason.CONTENT_FILTER,
    4: FinishReason.CONTENT_FILTER,
    6: FinishReason.CONTENT_FILTER,
    7: FinishReason.CONTENT_FILTER,
    8: FinishReason.CONTENT_FILTER,
}
_UNSPECIFIED = (None, "", "FINISH_REASON_UNSPECIFIED", 0)

# No server has more alternatives in one answer; a larger number would only cost memory.
_Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=4096)]


class _FunctionCall(msgspec.Struct):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _Token(msgspec.Struct, rename="camel"):
    token: str | None = None
    log_probability: float | None = None


class _TopTokens(msgspec.Struct):
    candidates: list[_Token] | None = None


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_TopTokens] | None = None


class _Content(msgspec.Struct):
    parts: list[dict[str, msgspec.Raw]] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | int | None = None
    index: _Index | None = None
    citation_metadata: Any = None
    grounding_metadata: Any = None
    logprobs_result: _Logprobs | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | int | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: UsageFields | None = None
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str | None)
_truth_decoder = msgspec.json.Decoder(bool | None)
_call_decoder = msgspec.json.Decoder(_FunctionCall)
_value_decoder = msgspec.json.Decoder()


def decode_answer(body: bytes) -> Sequence[ChatEvent]:
    """The events of a whole answer, also of a stream that came as one array of its pieces.

    Raises `BadGatewayError` for what is no answer.
    """
    decoder = AnswerDecoder()
    if body.lstrip().startswith(b"["):
        events = [event for piece in _pieces(body) for event in decoder.decode_piece(piece)]
    else:
        events = list(decoder.decode_piece(body))
    if not any(isinstance(event, ChoiceFinished) for event in events):
        raise malformed("it has neither an end nor a reason why there is no answer")
    return events


def _pieces(body: bytes) -> list[msgspec.Raw]:
    try:
        return _array_decoder.decode(body)
    except UNREADABLE as error:
        raise malformed(error) from None


class AnswerDecoder:
    """Turns the pieces of one answer into events; a whole answer is one piece."""

    def __init__(self) -> None:
        self._id = ""
        self._open: set[int] = set()
        self._calls: dict[int, int] = {}
        self._sources: dict[int, set[str]] = {}
        self._usage: UsageFields | None = None
        self._is_usage_new = False

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events of one piece. Raises `BadGatewayError`."""
        return self.decode_piece(event.data) if event.data else ()

    def decode_piece(self, data: bytes | msgspec.Raw) -> Sequence[ChatEvent]:
        """The same for its data."""
        try:
            return list(self._events(_decoder.decode(data), data))
        except UNREADABLE as error:
            raise malformed(error) from None

    def _events(self, answer: _Answer, data: bytes | msgspec.Raw) -> Iterator[ChatEvent]:
        if answer.error is not None:
            message = answer.error.get("message") if isinstance(answer.error, dict) else None
            text = f"the upstream failed: {message}" if isinstance(message, str) else "the upstream failed"
            raise BadGatewayError(text, reason="UPSTREAM_FAILED")
        if not self._id:
            # The ids of calls are made of it, and must not be those of another answer.
            self._id = answer.response_id or hashlib.blake2s(data, digest_size=12).hexdigest()
            yield AnswerStarted(
                id=answer.response_id or "", model=answer.model_version or "", created=_created(answer.create_time)
            )
        for candidate in answer.candidates or ():
            yield from self._candidate_events(candidate)
        if answer.prompt_feedback is not None and answer.prompt_feedback.block_reason and not answer.candidates:
            yield ChoiceFinished(choice=0, reason=FinishReason.CONTENT_FILTER)
        # It stands in every piece, and only the last counts.
        if answer.usage_metadata is not None and answer.usage_metadata != self._usage:
            self._usage = answer.usage_metadata
            self._is_usage_new = True
        if self._usage is not None and self._is_usage_new and not self._open:
            self._is_usage_new = False
            yield UsageReported(usage=self._usage.to_usage())

    def _candidate_events(self, candidate: _Candidate) -> Iterator[ChatEvent]:
        choice = candidate.index or 0
        self._open.add(choice)
        for part in (candidate.content.parts if candidate.content else None) or ():
            yield from self._part_events(choice, part)
        yield from self._source_events(choice, candidate)
        if candidate.logprobs_result is not None:
            yield from _logprob_events(choice, candidate.logprobs_result)
        if candidate.finish_reason not in _UNSPECIFIED:
            self._open.discard(choice)
            reason = _FINISH_REASONS.get(candidate.finish_reason)
            # Gemini ends an answer that calls functions like any other.
            if reason is FinishReason.STOP and self._calls.get(choice):
                reason = FinishReason.TOOL_CALLS
            yield ChoiceFinished(choice=choice, reason=reason)

    def _part_events(self, choice: int, part: dict[str, msgspec.Raw]) -> Iterator[ChatEvent]:
        signature = _text_decoder.decode(part["thoughtSignature"]) if "thoughtSignature" in part else None
        if "functionCall" in part:
            yield self._call_event(choice, _call_decoder.decode(part["functionCall"]), signature)
        elif "text" in part:
            text = _text_decoder.decode(part["text"])
            is_thought = "thought" in part and _truth_decoder.decode(part["thought"])
            if text:
                yield ReasoningDelta(choice=choice, text=text) if is_thought else TextDelta(choice=choice, text=text)
            if signature:
                yield ReasoningSigned(choice=choice, signature=signature)
        elif part.keys() - {"thoughtSignature", "thought"}:
            value = {name: _value_decoder.decode(raw) for name, raw in part.items()}
            yield OpaqueAdded(choice=choice, part=OpaquePart(dialect=NAME, value=value))
        elif signature:
            yield ReasoningSigned(choice=choice, signature=signature)

    def _call_event(self, choice: int, call: _FunctionCall, signature: str | None) -> ToolCallDelta:
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        arguments = bytes(call.args).decode()
        return ToolCallDelta(
            choice=choice,
            index=index,
            id=call.id or f"call_{self._id}_{choice}_{index}",
            name=call.name or "",
            arguments="{}" if arguments == "null" else arguments,
            signature=signature or "",
        )

    def _source_events(self, choice: int, candidate: _Candidate) -> Iterator[ChatEvent]:
        """The sources, each as a citation. What a search found is kept as it is beside them, for Gemini's clients."""
        if candidate.citation_metadata is not None:
            yield from _quotations(choice, candidate.citation_metadata)
        if not isinstance(found := candidate.grounding_metadata, dict) or not found:
            return
        known = self._sources.setdefault(choice, set())
        for citation in _found_sources(found):
            if citation.url not in known:
                known.add(citation.url)
                yield CitationAdded(choice=choice, citation=citation)
        yield OpaqueAdded(choice=choice, part=OpaquePart(dialect=NAME, value={GROUNDING: found}))


def _quotations(choice: int, metadata: object) -> Iterator[ChatEvent]:
    match metadata:
        case {"citations": [*citations]} | {"citationSources": [*citations]}:
            for citation in citations:
                if isinstance(citation, dict) and isinstance(uri := citation.get("uri"), str):
                    extra = {name: value for name, value in citation.items() if name not in ("uri", "title")}
                    source = Citation(url=uri, title=_str(citation.get("title")), extra=extra or None)
                    yield CitationAdded(choice=choice, citation=source)


def _found_sources(found: dict[str, Any]) -> Iterator[Citation]:
    chunks = found.get("groundingChunks")
    for chunk in chunks if isinstance(chunks, list) else ():
        for source in chunk.values() if isinstance(chunk, dict) else ():
            if isinstance(source, dict) and isinstance(uri := source.get("uri"), str):
                yield Citation(
                    url=uri,
                    title=_str(source.get("title")),
                    cited_text=_str(source.get("text")),
                    extra={GROUNDING: True},
                )


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _created(written: str | None) -> int:
    try:
        return int(datetime.fromisoformat(written or "").timestamp())
    except (ValueError, OverflowError, OSError):
        return int(time.time())


def _logprob_events(choice: int, logprobs: _Logprobs) -> Iterator[ChatEvent]:
    tops = logprobs.top_candidates or []
    tokens = [
        _token(token, tops[index].candidates if index < len(tops) else None)
        for index, token in enumerate(logprobs.chosen_candidates or ())
    ]
    if tokens:
        yield LogprobsDelta(choice=choice, tokens=tuple(tokens))


def _token(token: _Token, top: list[_Token] | None) -> TokenLogprob:
    text = token.token or ""
    return TokenLogprob(
        token=text,
        logprob=token.log_probability or 0.0,
        bytes=text.encode("utf-8", "surrogatepass"),
        top=tuple(_token(other, None) for other in top or ()),
    )
