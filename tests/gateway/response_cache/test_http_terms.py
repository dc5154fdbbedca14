"""For whom and how long answers are that pass through, by their own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.response_cache.http_terms import AnswerTerms, answer_terms, headers_in_key, is_keepable


def terms(*answered: tuple[str, str], status: int = 200, asked: dict[bytes, bytes] | None = None, stale_s: float = 0.0,
          is_known: bool = False) -> AnswerTerms:  # fmt: skip
    headers = [(name.encode(), value.encode()) for name, value in answered]
    return answer_terms(status, headers, asked or {}, is_known=is_known, ttl_s=300.0, stale_s=stale_s)


@pytest.mark.parametrize(
    ("answered", "fresh_s"),
    [
        ([], 300),
        ([("cache-control", "max-age=60")], 60),
        ([("cache-control", "Max-Age=60, S-MaxAge=30")], 30),
        ([("cache-control", 'max-age="60"')], 60),
        ([("cache-control", "max-age=6000")], 300),
        ([("cache-control", "public")], 300),
        ([("cache-control", "max-age=60"), ("age", "20")], 40),
        ([("cache-control", "max-age=60, max-age=20")], 20),
        ([("cache-control", "max-age=60"), ("cache-control", "public")], 60),
        ([("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], 60),
        ([("vary", "Accept, accept-encoding")], 300),
    ],
    ids=str,
)
def test_how_long_an_answer_is_fresh(answered: list[tuple[str, str]], fresh_s: float) -> None:
    assert terms(*answered) == AnswerTerms(True, fresh_s, fresh_s)


def test_stale_answers_are_given_unless_that_is_forbidden() -> None:
    assert terms(("cache-control", "max-age=60"), stale_s=10).keep_s == 70
    for directive in ("must-revalidate", "proxy-revalidate", "s-maxage=60"):
        assert terms(("cache-control", f"max-age=60, {directive}"), stale_s=10).keep_s == 60


@pytest.mark.parametrize("name", [b"authorization", b"cookie"])
def test_answer_to_credentials_that_went_on_is_kept_only_if_it_is_for_all(name: bytes) -> None:
    asked = {name: b"x"}
    assert not terms(asked=asked).is_shared
    assert terms(asked=asked, is_known=True).is_shared
    assert terms(("cache-control", "public"), asked=asked).is_shared


@given(
    st.text(st.characters(max_codepoint=255), max_size=40), st.sampled_from(["cache-control", "vary", "expires", "age"])
)
def test_whatever_an_answer_says_it_is_no_longer_fresh_than_the_policy_has_it(said: str, name: str) -> None:
    told = answer_terms(200, [(name.encode(), said.encode("latin-1"))], {}, is_known=False, ttl_s=300.0, stale_s=5.0)
    assert told.fresh_s <= 300
    assert told.is_shared == (told.fresh_s > 0)


def test_what_takes_part() -> None:
    assert is_keepable("GET", {b"accept": b"*/*"})
    assert not is_keepable("HEAD", {})
    assert not is_keepable("GET", {b"range": b"bytes=0-1"})
    assert headers_in_key({b"accept": b"a", b"user-agent": b"b", b"cookie": b"c"}) == {b"accept": b"a", b"cookie": b"c"}
