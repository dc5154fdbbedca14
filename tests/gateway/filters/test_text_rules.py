"""Which of several rules counts, and what becomes of what is found."""

import pytest

from gateway.config.guardrail import GuardrailAction, PersonalData
from gateway.errors import GuardrailDeniedError
from tests.gateway.filters.guarding import Counted, data_rule, regex_rule

DENY, MASK, REPORT = GuardrailAction.DENY, GuardrailAction.MASK, GuardrailAction.REPORT


def test_what_begins_first_counts() -> None:
    rules = Counted(regex_rule("bc", replacement="2"), regex_rule("ab", replacement="1"))
    assert rules.rules.mask("abc bc") == "1c 2"


def test_at_the_same_place_denying_comes_first_then_the_order_of_rules() -> None:
    assert Counted(regex_rule("ab", replacement="1"), regex_rule("abc", replacement="2")).rules.mask("abc") == "1c"
    with pytest.raises(GuardrailDeniedError):
        Counted(regex_rule("ab"), regex_rule("abc", DENY)).rules.mask("abc")


def test_what_is_only_reported_hides_nothing_and_is_counted_once() -> None:
    rules = Counted(regex_rule("[a-z]+", REPORT, name="WORDS"), regex_rule("b", replacement="#"))
    assert rules.rules.mask("abc de") == "a#c de"
    assert rules.found == {("WORDS", "REPORT"): 2, ("REGEX", "MASK"): 1}


def test_refusal_names_the_guardrail_and_the_rule_and_not_what_was_found() -> None:
    with pytest.raises(GuardrailDeniedError) as caught:
        Counted(data_rule(PersonalData.EMAIL, DENY)).rules.mask("ann@example.com")
    assert caught.value.message == "the guardrail guard does not let this pass: EMAIL"
    assert caught.value.reason == "GUARDRAIL_DENIED"


def test_matches_of_nothing_are_none() -> None:
    assert Counted(regex_rule(r"\b")).rules.mask("a b") == "a b"


def test_expressions_see_what_stands_before() -> None:
    assert Counted(regex_rule(r"\bab")).rules.mask("ab xab ab") == "# xab #"
    assert Counted(regex_rule(r"^a")).rules.mask("aa") == "#a"
