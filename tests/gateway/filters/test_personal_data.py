"""What is taken for personal data, and what only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.guardrail import PersonalData
from tests.gateway.filters.guarding import EVERY_KIND, Counted, data_rule
from tests.support.linear_time import assert_linear


def masked(text: str) -> str:
    return Counted().rules.mask(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to ann@example.com.", "to [EMAIL]."),
        ("<bob.b+x@sub.example.co.uk>", "<[EMAIL]>"),
        ("é ann@example.com é", "é [EMAIL] é"),
        ("4111 1111 1111 1111", "[CREDIT_CARD]"),
        ("4111-1111-1111-1111.", "[CREDIT_CARD]."),
        ("card:4111111111111111, ok", "card:[CREDIT_CARD], ok"),
        ("378282246310005", "[CREDIT_CARD]"),
        ("7 4111 1111 1111 1111 12", "7 [CREDIT_CARD] 12"),
        ("DE89 3704 0044 0532 0130 00 AND MORE", "[IBAN] AND MORE"),
        ("gb82west12345698765432", "[IBAN]"),
        ("call +49 30 901820 or (415) 555-2671", "call [PHONE] or [PHONE]"),
        ("+1 (555) 123-4567", "[PHONE]"),
        ("at 192.0.2.1.", "at [IP_ADDRESS]."),
        ("ip:10.0.0.1:80, 10.0.0.1-10.0.0.9", "ip:[IP_ADDRESS]:80, [IP_ADDRESS]-[IP_ADDRESS]"),
        ("[2001:db8::1]:443", "[[IP_ADDRESS]]:443"),
        ("::1 and ::ffff:192.0.2.1", "[IP_ADDRESS] and [IP_ADDRESS]"),
        ("sk-abcdefghijklmnopqrstuvwx", "[API_KEY]"),
        ("AKIAIOSFODNN7EXAMPLE ghp_0123456789abcdefghijABCDEFGHIJ012345", "[API_KEY] [API_KEY]"),
    ],
)
def test_data_is_found(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann@ example.com, @ann, a@b",
        "4111 1111 1111 1112 and 41111111111111111111111",
        "DE88 3704 0044 0532 0130 00, DE8937040044053201300, ZZ89370400440532013000",
        "2024-01-02 12:30:45, 100000000 things, version 1.2.3",
        "1.2.3.4.5, 999.1.1.1, 1:2:3:4:5:6:7:8:9, x1.2.3.4, std::abs(a::b), face::",
        "sk-short, a sk- alone, disk-abcdefghijklmnopqrstuvwx",
    ],
)
def test_what_only_looks_like_data_is_left_alone(text: str) -> None:
    assert masked(text) == text


@given(st.text())
def test_text_without_anything_comes_through_as_it_is(text: str) -> None:
    rules = Counted()
    result = rules.rules.mask(text)
    if not rules.found:
        assert result is text


@given(st.text("0123456789 -", max_size=60))
def test_no_card_that_passes_the_check_is_left(text: str) -> None:
    once = Counted(data_rule(PersonalData.CREDIT_CARD)).rules.mask(text)
    assert Counted(data_rule(PersonalData.CREDIT_CARD)).rules.mask(once) == once


@pytest.mark.parametrize("unit", ["1", "1 ", "a@", "a.", "f:", "DE89 ", "+1 ", "sk-", "@", "4111 1111 1111 1112 "])
def test_time_grows_with_the_text_and_not_faster(unit: str) -> None:
    rules = Counted(*EVERY_KIND).rules
    text = unit * 64_000
    assert_linear(lambda: rules.mask(text[:8_000]), lambda: rules.mask(text[:64_000]), most=20)
