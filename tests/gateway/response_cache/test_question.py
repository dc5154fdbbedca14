"""What may be said in other words, and that all else makes another question."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.response_cache.question import Question, question_of
from gateway.schemas.table import OPENAI_CHAT
from gateway.types import ChatRequest, ImagePart, Message, Role, TextPart, Tool, ToolResult

WORDS = st.text(st.characters(exclude_categories=["Cs", "Nd"]), min_size=1, max_size=20)


def asked(words: str, **fields: Any) -> ChatRequest:
    messages = (
        Message(role=Role.SYSTEM, content=(TextPart(text="Be brief."),)),
        Message(role=Role.USER, content=(TextPart(text=words),)),
    )
    return ChatRequest(**{"model": "m", "messages": messages, **fields})


def of_body(body: Any) -> Question | None:
    written = json.dumps(body).encode()
    return question_of(OPENAI_CHAT.decode_request(written, "m"), written)


def conversation(words: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": words}], **fields}


@given(one=WORDS, other=WORDS)
def test_the_last_words_alone_make_no_difference(one: str, other: str) -> None:
    first, second = question_of(asked(one), None), question_of(asked(other), None)
    assert (first is None) == (not one.strip())
    if first is not None and second is not None:
        assert (first.words, second.words) == (one, other)
        assert first.rest == second.rest


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m2"},
        {"temperature": 0.0},
        {"seed": 1},
        {"user": "bob"},
        {"tools": (Tool(name="f"),)},
        {"extra": {"x": 1}},
        {"messages": (Message(role=Role.USER, content=(TextPart(text="hello"),)),)},
        {
            "messages": (
                Message(role=Role.SYSTEM, content=(TextPart(text="Be brief!"),)),
                Message(role=Role.USER, content=(TextPart(text="hello"),)),
            )
        },
    ],
)
def test_all_else_makes_another_question(fields: dict[str, Any]) -> None:
    plain, other = question_of(asked("hello"), None), question_of(asked("hello", **fields), None)
    assert plain is not None
    assert other is not None
    assert plain.rest != other.rest


def test_numbers_must_be_the_same_and_in_the_same_order() -> None:
    def rest(words: str) -> bytes:
        question = question_of(asked(words), None)
        assert question is not None
        return question.rest

    assert rest("order 17 of 20") == rest("the 17th of 20 orders")
    different = (
        "order 17",
        "order 18",
        "order 1 7",
        "order",
        "17 17",
        "7 1",
        "1 7 0",
        "order \N{ARABIC-INDIC DIGIT ONE}",
    )
    assert len({rest(words) for words in different}) == len(different)


@pytest.mark.parametrize(
    "last",
    [
        Message(role=Role.ASSISTANT, content=(TextPart(text="hello"),)),
        Message(role=Role.TOOL, content=(ToolResult(call_id="1", content=(TextPart(text="hello"),)),)),
        Message(role=Role.USER, content=(ImagePart(url="https://pictures.example/1.png"),)),
        Message(role=Role.USER, content=(TextPart(text=" \n"),)),
        Message(role=Role.USER),
    ],
)
def test_only_a_user_s_words_can_be_others(last: Message) -> None:
    before = asked("hello").messages
    assert question_of(asked("", messages=(*before, last)), None) is None


def test_no_message_asks_nothing() -> None:
    assert question_of(asked("", messages=()), None) is None


def test_parts_beside_the_words_count() -> None:
    def rest(url: str, words: str) -> bytes:
        content = (TextPart(text=words), ImagePart(url=url))
        question = question_of(asked("", messages=(Message(role=Role.USER, content=content),)), None)
        assert question is not None
        return question.rest

    assert rest("https://a.example", "what is it?") == rest("https://a.example", "tell what it is")
    assert rest("https://a.example", "what is it?") != rest("https://b.example", "what is it?")


@given(one=WORDS, other=WORDS, unknown=st.none() | st.integers() | WORDS)
def test_fields_that_nobody_knows_count(one: str, other: str, unknown: Any) -> None:
    first, second = of_body(conversation(one, x_own={"deep": [unknown]})), of_body(conversation(other))
    if first is not None and second is not None:
        assert first.rest != second.rest


def test_words_that_stand_elsewhere_too_are_not_taken_out() -> None:
    """Else two bodies that differ in an unknown field, each with its own words in it, would be one."""
    assert of_body(conversation("hello", x_own="hello")) is None
    assert (
        of_body(conversation("hello", messages=[{"role": "user", "content": each} for each in ("hello",) * 2])) is None
    )
    assert of_body(conversation("hello", x_own="hallo")) is not None


def test_words_in_several_parts() -> None:
    def parts(*texts: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text} for text in texts]

    question = of_body(conversation(parts("one", "two")))
    assert question is not None
    assert question.words == "one\ntwo"
    other = of_body(conversation(parts("three", "three")))
    assert other is not None
    assert other.rest == question.rest
    whole = of_body(conversation("one\ntwo"))
    assert whole is not None
    assert whole.rest != question.rest


def test_rest_is_as_long_as_what_it_is_made_of() -> None:
    question = of_body(conversation("hello"))
    assert question is not None
    assert b"hello" not in question.rest
    assert msgspec.msgpack.decode(question.rest)[2] == []


def test_numbers_of_any_size_count_or_nothing_is_kept() -> None:
    def rest(number: int) -> bytes | None:
        said = {"role": "user", "content": [{"type": "text", "text": "hello", "x_own": number}]}
        question = of_body(conversation("", messages=[said]))
        return None if question is None else question.rest

    assert len({rest(number) for number in (1, 2, 2**63, 2**63 + 1)} - {None}) == 4
    assert rest(2**70) is None
