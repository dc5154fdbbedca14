"""Thoughts with their signatures in OpenAI's messages, in the form that OpenRouter made known: `reasoning_details`.

In a stream each piece of a thought is a detail of its own with the number of the thought. Clients send back what they
got: one detail for each thought if they join them, or all the pieces.
"""

from collections.abc import Iterable
from typing import Any

from gateway.types import ReasoningPart

_TEXT = "reasoning.text"
_ENCRYPTED = "reasoning.encrypted"


def reasoning_details(thoughts: Iterable[ReasoningPart], first: int | None = None) -> list[dict[str, Any]]:
    """The thoughts in their order. Pieces of thoughts are numbered, from `first` on."""
    if first is None:
        return [_detail(thought) for thought in thoughts]
    return [{**_detail(thought), "index": number} for number, thought in enumerate(thoughts, first)]


def read_reasoning_details(details: object) -> list[ReasoningPart]:
    """The thoughts in a message; what is not understood is passed over, for nobody must send it."""
    thoughts: list[ReasoningPart] = []
    before: object = None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict) or (thought := _thought(detail)) is None:
            continue
        number = detail.get("index")
        if thoughts and _is_open(thoughts[-1]) and thought.redacted is None and number == before:
            thoughts[-1] = ReasoningPart(text=thoughts[-1].text + thought.text, signature=thought.signature)
        else:
            thoughts.append(thought)
        before = number
    return thoughts


def _is_open(thought: ReasoningPart) -> bool:
    return thought.signature is None and thought.redacted is None


def _detail(thought: ReasoningPart) -> dict[str, Any]:
    if thought.redacted is not None:
        return {"type": _ENCRYPTED, "data": thought.redacted}
    detail = {"type": _TEXT, "text": thought.text}
    return detail if thought.signature is None else {**detail, "signature": thought.signature}


def _thought(detail: dict[str, Any]) -> ReasoningPart | None:
    text = detail.get("text")
    match detail:
        case {"type": "reasoning.encrypted", "data": str(data)}:
            return ReasoningPart(redacted=data)
        case {"type": "reasoning.text", "signature": str(signature)} if signature:
            return ReasoningPart(text=text if isinstance(text, str) else "", signature=signature)
        case {"type": "reasoning.text", "text": str(text)}:
            return ReasoningPart(text=text)
        case _:
            return None
