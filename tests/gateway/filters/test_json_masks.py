"""Masked arguments of calls stay JSON, wherever something is masked and however they come."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.guardrail import PersonalData
from gateway.filters.json_masks import JsonMasks
from gateway.filters.text_window import TextWindow
from tests.gateway.filters.guarding import Counted, data_rule, regex_rule

CARD = "4111111111111111"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('ab7\x07\u0777"\\\n[]{}:, '), max_size=8)
    | st.sampled_from([int(CARD), -int(CARD), CARD, f"a {CARD} b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab7"\\', max_size=4), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("ab", max_size=3), VALUES, max_size=4)


def through(rules: Counted, text: str, cuts: list[int] | None = None, *, is_whole: bool = False) -> str:
    window = TextWindow(rules.rules, is_whole=is_whole, json=JsonMasks())
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts or ()), len(text)]
    pieces = [window.feed(text[start:end]) for start, end in pairwise(places)]
    return "".join(pieces) + window.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{"a":{CARD}}}', {"a": "[CREDIT_CARD]"}),
        (f'{{"a":-{CARD}.5e3,"b":1}}', {"a": "-[CREDIT_CARD].5e3", "b": 1}),
        (f'{{"a":"my {CARD}"}}', {"a": "my [CREDIT_CARD]"}),
        (f'{{"a":[1,{CARD},true]}}', {"a": [1, "[CREDIT_CARD]", True]}),
        (f'{{"{CARD}":{CARD}}}', {"[CREDIT_CARD]": "[CREDIT_CARD]"}),
    ],
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_number_that_is_masked_becomes_a_text(text: str, expected: Any, is_whole: bool) -> None:
    rules = Counted(data_rule(PersonalData.CREDIT_CARD))
    assert json.loads(through(rules, text, is_whole=is_whole)) == expected


@given(OBJECTS, st.lists(st.integers(0, 1000), max_size=6), st.booleans())
def test_arguments_stay_json_however_they_come(value: Any, cuts: list[int], is_whole: bool) -> None:
    rules = Counted(data_rule(PersonalData.CREDIT_CARD), regex_rule("7+", replacement='"\\'))
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        told = through(rules, text, cuts, is_whole=is_whole)
        read = json.loads(told)
        if not rules.found:
            assert read == value


@given(OBJECTS, st.lists(st.integers(0, 1000), max_size=6))
def test_what_is_not_masked_says_the_same_however_it_comes(value: Any, cuts: list[int]) -> None:
    plain = json.dumps(value, ensure_ascii=False)
    for text in (json.dumps(value), plain):
        assert through(Counted(regex_rule("zzz")), text, cuts) == plain


ESCAPED = [
    (r"ann\u0040example.com", "ann@example.com"),
    (r"\u0061nn@example\u002ecom", "ann@example.com"),
    (r"to\nann@example.com", "to\nann@example.com"),
    (r"\ud83d\ude00 ann@example.com \/", "😀 ann@example.com /"),
    (r"\\u0040 ann@example.com", "\\u0040 ann@example.com"),
    (r"\ud83d\n \u0022\u005c\u0007 ann@example.com", None),
]


@pytest.mark.parametrize(("written", "said"), ESCAPED)
@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_escapes_hide_nothing(written: str, said: str | None, step: int) -> None:
    text = f'{{"a": "{written}"}}'
    told = through(Counted(data_rule(PersonalData.EMAIL)), text, list(range(0, len(text), step)))
    expected = json.loads(text)["a"] if said is None else said
    assert json.loads(told) == {"a": expected.replace("ann@example.com", "[EMAIL]")}


@pytest.mark.parametrize("text", [f"pay with {CARD} now", CARD, f"  {CARD}"])
def test_what_is_no_object_is_masked_as_text(text: str) -> None:
    assert through(Counted(data_rule(PersonalData.CREDIT_CARD)), text) == text.replace(CARD, "[CREDIT_CARD]")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ('"ann"', '{"a":"ann"}', '{"a":"#"}'),
        ('"an', '{"a":"ann"}', '{"a":"#n"}'),
        ('nn"', '{"a":"ann"}', '{"a":"a#"}'),
        ("true", '{"a":true}', '{"a":"#"}'),
        ("00e", r'{"a":"\u00e9"}', '{"a":"é"}'),
        (r"b\sc", r'{"a":"b\nc"}', '{"a":"#"}'),
        (r"b\\", r'{"a":"b\\c"}', '{"a":"#c"}'),
    ],
)
def test_expression_that_takes_quotes_along(pattern: str, text: str, expected: str) -> None:
    assert through(Counted(regex_rule(pattern)), text) == expected
