"""Thoughts with signatures in OpenAI's messages: in whole, in pieces, and as clients send them back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.openai.reasoning import read_reasoning_details, reasoning_details
from gateway.types import ReasoningPart

SIGNED = ReasoningPart(text="hm", signature="s")
REDACTED = ReasoningPart(redacted="x")


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": words, **fields}


def test_thoughts() -> None:
    details = [text("hm", signature="s"), {"type": "reasoning.encrypted", "data": "x"}, text("so")]
    assert reasoning_details([SIGNED, REDACTED, ReasoningPart(text="so")]) == details
    assert read_reasoning_details(details) == [SIGNED, REDACTED, ReasoningPart(text="so")]


def test_pieces_are_numbered() -> None:
    assert [detail["index"] for detail in reasoning_details([SIGNED, REDACTED], 2)] == [2, 3]


@pytest.mark.parametrize(
    ("details", "thoughts"),
    [
        # The pieces of a stream as they came, and joined by their number.
        ([text("h", index=0), text("m", index=0), text("", signature="s", index=0)], [SIGNED]),
        ([text("hm", signature="s", index=0), text("so", index=1)], [SIGNED, ReasoningPart(text="so")]),
        # Servers that leave out the text, or the numbers.
        ([text("hm"), {"type": "reasoning.text", "signature": "s"}], [SIGNED]),
        ([text("a", index=0), text("b", index=1)], [ReasoningPart(text="a"), ReasoningPart(text="b")]),
        (
            [text("a"), {"type": "reasoning.encrypted", "data": "x"}, text("b")],
            [ReasoningPart(text="a"), REDACTED, ReasoningPart(text="b")],
        ),
        ([text("a", signature=None)], [ReasoningPart(text="a")]),
        ([text("a", signature="")], [ReasoningPart(text="a")]),
    ],
)
def test_what_clients_send_back(details: list[Any], thoughts: list[ReasoningPart]) -> None:
    assert read_reasoning_details(details) == thoughts


@pytest.mark.parametrize("details", [None, "hm", {}, [], [5], [{"type": "reasoning.summary", "summary": "x"}], [{}]])
def test_what_is_not_understood_is_passed_over(details: object) -> None:
    assert read_reasoning_details(details) == []


ENDED = st.builds(ReasoningPart, text=st.text(max_size=3), signature=st.text(min_size=1, max_size=3)) | st.builds(
    ReasoningPart, redacted=st.text(max_size=3)
)


@given(st.lists(ENDED, max_size=4))
def test_thoughts_written_and_read_again(thoughts: list[ReasoningPart]) -> None:
    assert read_reasoning_details(reasoning_details(thoughts)) == thoughts
    assert read_reasoning_details(reasoning_details(thoughts, 0)) == thoughts
