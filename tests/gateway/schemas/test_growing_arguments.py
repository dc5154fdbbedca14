"""Arguments of calls that come in pieces: when they are whole, however they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.anthropic.arguments import is_object
from gateway.schemas.growing_arguments import GrowingArguments

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\{}[]é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='b"\\{', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
NEARLY_JSON = st.text(alphabet='{}[]"\\:a1, ', max_size=12)


@given(JSON.map(json.dumps) | NEARLY_JSON, st.sets(st.integers(0, 60)))
def test_text_is_whole_when_it_is_an_object_however_it_is_cut(text: str, asked_after: set[int]) -> None:
    arguments = GrowingArguments()
    for place, character in enumerate(text):
        arguments.add(character)
        if place in asked_after:
            assert arguments.is_whole() is is_object(text[: place + 1])
    assert arguments.is_whole() is is_object(text)
    assert arguments.text() == text


def test_nothing_has_come() -> None:
    arguments = GrowingArguments()
    arguments.add("")
    assert not arguments
    assert not arguments.is_whole()
    assert arguments.text() == ""


@pytest.mark.parametrize("text", ["{}", ' {"a": "\\\\"}\n', '{"a":{"b":[1]}}'])
def test_nothing_can_be_added_to_an_object(text: str) -> None:
    arguments = GrowingArguments()
    arguments.add(text)
    assert arguments.is_whole()
    arguments.add("x")
    assert not arguments.is_whole()
