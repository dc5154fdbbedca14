"""Texts that come piece by piece: how they are cut makes no difference, and no more is held than must be."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config.guardrail import GuardrailAction, PersonalData, TextRule
from gateway.errors import GuardrailDeniedError
from gateway.filters.text_window import TextWindow
from tests.gateway.filters.guarding import EVERY_KIND, Counted, data_rule, regex_rule

SECRETS = (
    "ann@example.com", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "+49 30 901820", "192.0.2.1",
    "2001:db8::1", "sk-abcdefghijklmnopqrstuvwx", "secret",
)  # fmt: skip
TEXTS = st.lists(
    st.sampled_from([*SECRETS, " ", ", ", "\n", "é", "😀", "plain words that say nothing ", "1", "a", "@", "."])
    | st.text(max_size=10),
    max_size=30,
).map("".join)
RULES = (*EVERY_KIND, regex_rule("(?i)secret|s[a-z ]+y", replacement="#"))


def pieces_of(text: str, cuts: Iterable[int]) -> list[str]:
    places = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


def streamed(pieces: Iterable[str], *rules: TextRule, window: int = 128) -> tuple[str, dict[tuple[str, str], int]]:
    counted = Counted(*rules, window=window)
    over = TextWindow(counted.rules)
    return "".join((*map(over.feed, pieces), over.finish())), dict(counted.found)


@given(TEXTS, st.lists(st.integers(0, 2000), max_size=40))
@example("x" * 130 + "ann@example.com" + "y" * 200, list(range(130, 150)))
def test_how_a_text_is_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    assert streamed(pieces_of(text, cuts), *RULES) == streamed([text], *RULES) == streamed(list(text), *RULES)


@given(TEXTS, st.lists(st.integers(0, 2000), max_size=40))
def test_streamed_text_is_masked_like_a_whole_one(text: str, cuts: list[int]) -> None:
    rules = (*EVERY_KIND, regex_rule("secret", replacement="#"))
    whole = Counted(*rules)
    assert streamed(pieces_of(text, cuts), *rules) == (whole.rules.mask(text), dict(whole.found))


@given(st.text(), st.lists(st.integers(0, 2000), max_size=20))
def test_text_without_matches_comes_through_as_it_is(text: str, cuts: list[int]) -> None:
    assert streamed(pieces_of(text, cuts), regex_rule("\x00never\x00")) == (text, {})


def test_what_is_reported_across_steps_is_counted_once() -> None:
    rule = data_rule(PersonalData.EMAIL, GuardrailAction.REPORT)
    text = "x" * 10 + " someone.with.a.name@example.com " + "y" * 200
    assert streamed(list(text), rule) == (text, {("EMAIL", "REPORT"): 1})


def test_no_more_is_held_than_a_match_can_be_long_and_a_step() -> None:
    over = TextWindow(Counted(regex_rule("never"), window=32).rules)
    shown = 0
    for count in range(1, 500):
        shown += len(over.feed("a"))
        assert count - shown < 32 + 16


def test_what_denies_lets_out_nothing_of_the_match() -> None:
    over = TextWindow(Counted(data_rule(PersonalData.EMAIL, GuardrailAction.DENY)).rules)
    shown: list[str] = []
    with pytest.raises(GuardrailDeniedError):
        shown.extend(over.feed(character) for character in "w " * 100 + "ann@example.com" + " w" * 100)
    assert set("".join(shown)) == {"w", " "}


def test_places_of_masks_are_those_of_the_text_as_it_came() -> None:
    over = TextWindow(Counted(data_rule(PersonalData.EMAIL)).rules)
    text = "w" * 100 + " ann@example.com " + "w" * 100 + " bob@example.com"
    over.feed(text)
    over.finish()
    assert [text[start:end] for start, end in over.masks] == ["ann@example.com", "bob@example.com"]
    assert over.decided == len(text)
