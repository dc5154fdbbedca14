"""Canonical events to whole answers of Anthropic's messages."""

from collections.abc import Iterable, Iterator
from typing import Any, assert_never

import msgspec

from gateway.schemas.anthropic.answer_parts import call_block, made_call_id, message_fields, signature_carrier
from gateway.schemas.anthropic.arguments import to_input
from gateway.schemas.anthropic.citations import encode_citation
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.folded_answer import FoldedAnswer, FoldedCall, FoldedText, FoldedThought
from gateway.schemas.stop_reasons import ANTHROPIC
from gateway.types import ChatEvent, OpaquePart, ReasoningRedacted


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: the events of its first alternative folded."""
    answer = FoldedAnswer(NAME)
    for event in events:
        answer.add(event)
    return msgspec.json.encode(_fields(answer, settings.model))


def _fields(answer: FoldedAnswer, model: str) -> dict[str, Any]:
    finished = answer.finished
    return {
        **message_fields(answer.started, model, answer.usage),
        "content": list(_content(answer)),
        "stop_reason": ANTHROPIC.write(
            finished.reason, finished.stop_sequence, has_calls=answer.has_calls, is_refused=answer.is_refused
        ),
        "stop_sequence": finished.stop_sequence,
    }


def _content(answer: FoldedAnswer) -> Iterator[dict[str, Any]]:
    for block in answer.blocks:
        match block:
            case FoldedText(text=text, citations=citations):
                cited = {"citations": [encode_citation(citation) for citation in citations]} if citations else {}
                yield {"type": "text", "text": text, **cited}
            case FoldedThought(text=text, signature=signature):
                yield {"type": "thinking", "thinking": text, "signature": signature or ""}
            case FoldedCall():
                yield from _call(block, block.id or made_call_id(answer.started, block.number))
            case ReasoningRedacted(data=data):
                yield {"type": "redacted_thinking", "data": data}
            case OpaquePart(value=value):
                yield dict(value)
            case _:
                assert_never(block)


def _call(call: FoldedCall, call_id: str) -> Iterator[dict[str, Any]]:
    """The call, after what carries its signature."""
    if (carrier := signature_carrier(call_id, call.signature)) is not None:
        yield carrier
    yield call_block(call_id, call.name, call.signature, to_input(call.arguments))
