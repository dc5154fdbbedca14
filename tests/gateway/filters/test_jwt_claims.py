"""Claims of tokens: issuer, audience, time, what is required, who is meant."""

from typing import Any

import pytest

from gateway.config.snapshot import JwtAuthConfig
from gateway.filters.jwt_claims import ClaimsError, check_claims, claim, groups, subject
from tests.support.tokens import AUDIENCE, ISSUER, claims

NOW = 1_800_000_000.0
LEEWAY = 30


def config(**changes: Any) -> JwtAuthConfig:
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "algorithms": frozenset({"ES256"}),
        "audiences": frozenset({AUDIENCE}),
        "leeway_s": LEEWAY,
    }
    return JwtAuthConfig(**(fields | changes))


def fault(said: dict[str, Any], **changes: Any) -> str:
    """Why the claims are refused; empty if they are not."""
    try:
        check_claims(said, config(**changes), NOW)
    except ClaimsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
def test_good_claims(audience: Any) -> None:
    assert fault(claims(now=NOW, aud=audience)) == ""


@pytest.mark.parametrize("issuer", [None, "https://id.example/", "https://ID.example", [ISSUER], 5])
def test_other_issuer(issuer: Any) -> None:
    assert fault(claims(now=NOW, iss=issuer)) == "the token is of another issuer"


@pytest.mark.parametrize("audience", [None, "other", [], ["other"], {"ai": 1}, 5, "AI", [["ai"]]])
def test_other_audience(audience: Any) -> None:
    assert fault(claims(now=NOW, aud=audience)) == "the token is for another audience"


@pytest.mark.parametrize(("after", "is_right"), [(-LEEWAY, False), (-LEEWAY + 1, True), (0, True), (600, True)])
def test_expiry(after: int, is_right: bool) -> None:
    assert (fault(claims(now=NOW, exp=NOW + after)) == "") == is_right


def test_expired_is_told_from_other_faults() -> None:
    with pytest.raises(ClaimsError) as expired:
        check_claims(claims(now=NOW, exp=NOW - 100), config(), NOW)
    assert expired.value.is_expired
    with pytest.raises(ClaimsError) as early:
        check_claims(claims(now=NOW, nbf=NOW + 100), config(), NOW)
    assert not early.value.is_expired


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize(("after", "is_right"), [(LEEWAY, True), (LEEWAY + 1, False), (1e12, False)])
def test_not_valid_yet(name: str, after: float, is_right: bool) -> None:
    assert (fault({**claims(now=NOW), name: NOW + after}) == "") == is_right


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1800000600", True, [], {}, "soon"])
def test_times_are_numbers(name: str, value: Any) -> None:
    assert fault({**claims(now=NOW), name: value}) == f"the token's claim '{name}' is not a number"


def test_token_must_expire_and_need_not_tell_when_it_was_made() -> None:
    assert fault(claims(now=NOW, exp=None)) == "the token does not tell when it expires"
    assert fault(claims(now=NOW, iat=None, nbf=None)) == ""


@pytest.mark.parametrize(
    ("value", "is_right"),
    [("yes", True), (["no", "yes"], True), ("no", False), (None, False), ({"yes": 1}, False), ([], False)],
)
def test_required_claims(value: Any, is_right: bool) -> None:
    assert (fault(claims(now=NOW, tier=value), required_claims={"tier": "yes"}) == "") == is_right


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (5, "5"), (1.5, "1.5")])
def test_required_numbers_and_truths_are_as_json_writes_them(value: Any, text: str) -> None:
    assert fault(claims(now=NOW, email_verified=value), required_claims={"email_verified": text}) == ""
    assert fault(claims(now=NOW, email_verified=value), required_claims={"email_verified": "no"}) != ""


def test_dots_lead_into_objects_where_no_claim_has_the_name() -> None:
    said = {"realm": {"roles": ["a"], "x": "deep"}, "realm.x": "flat"}
    assert claim(said, "realm.x") == "flat"
    assert claim(said, "realm.roles") == ["a"]
    assert claim(said, "realm.roles.a") is None
    assert claim(said, "https://a.example/roles") is None


@pytest.mark.parametrize("value", [None, "", 5, ["alice"], {}, "x" * 257])
def test_subject_must_be_a_text(value: Any) -> None:
    with pytest.raises(ClaimsError, match="'sub'"):
        subject({"sub": value}, config())


def test_subject_has_its_prefix() -> None:
    assert subject({"mail": "a"}, config(consumer_claim="mail", subject_prefix="corp/")) == "corp/a"


@pytest.mark.parametrize(
    ("value", "found"),
    [("a", {"a"}), (["a", "b", 5, None], {"a", "b"}), (None, set()), (5, set()), ({"a": 1}, set())],
)
def test_groups(value: Any, found: set[str]) -> None:
    assert groups({"g": value}, config(groups_claim="g")) == found
    assert groups({"g": value}, config()) == set()
