import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from janua_resources.environment import escape, expand

ENVIRON = {"NAME": "value", "EMPTY": "", "DOLLAR": "${NAME}", "_1": "x"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("a-${NAME}-${_1}", "a-value-x"),
        ("${NAME:-default}", "value"),
        ("${UNSET:-default}", "default"),
        ("${UNSET:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-a:-b $ {c}", "a:-b $ {c"),
        ("${DOLLAR}", "${NAME}"),
        ("$${NAME}", "${NAME}"),
        ("$$", "$"),
        ("$$$", "$$"),
        ("^/v1$", "^/v1$"),
        ("$NAME", "$NAME"),
        ("a$ b", "a$ b"),
    ],
)
def test_variables_are_expanded_once(text: str, expanded: str) -> None:
    assert expand(text, ENVIRON) == expanded


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${UNSET}", r"UNSET is not set; set it, or write \$\{UNSET:-default\}"),
        ("${}", "not a variable"),
        ("${1A}", "not a variable"),
        ("${A B}", "not a variable"),
        ("${NAME", "not a variable"),
        ("${NAME-x}", r"not a variable; write \$\{NAME\}, or \$\$"),
    ],
)
def test_what_cannot_be_expanded_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        expand(text, ENVIRON)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="BAD is not UTF-8"):
        expand("${BAD}", {"BAD": "\udcff"})


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(alphabet="$${}A:-b"))
def test_escaped_text_comes_back(text: str) -> None:
    assert expand(escape(text), {"A": "wrong"}) == text


def test_only_what_must_be_escaped_is() -> None:
    assert escape("^/v1$ $5 ${A} $$") == "^/v1$ $5 $${A} $$$"
