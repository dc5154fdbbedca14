"""What a token must say, and what is taken from it. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.config.snapshot import JwtAuthConfig

_MAX_SUBJECT = 256
_MISSING = object()

Claims = Mapping[str, Any]


class ClaimsError(Exception):
    """The token is not one that is wanted. The text shows nothing of it; `is_expired`: it was once."""

    def __init__(self, message: str, *, is_expired: bool = False) -> None:
        super().__init__(message)
        self.is_expired = is_expired


def check_claims(claims: Claims, config: JwtAuthConfig, now: float) -> None:
    """Whether the token is of this issuer, for us, and within its time; `now` is in seconds since 1970.

    Raises `ClaimsError`.
    """
    if claims.get("iss") != config.issuer:
        raise ClaimsError("the token is of another issuer")
    if config.audiences and config.audiences.isdisjoint(_texts(claims.get("aud"))):
        raise ClaimsError("the token is for another audience")
    _check_time(claims, config.leeway_s, now)
    for name, wanted in config.required_claims.items():
        if not _has_value(claim(claims, name), wanted):
            raise ClaimsError(f"the token's claim '{name}' is not what is required here")


def subject(claims: Claims, config: JwtAuthConfig) -> str:
    """Whom the token is about, prefix and all. Raises `ClaimsError`."""
    found = claim(claims, config.consumer_claim)
    if not isinstance(found, str) or not 0 < len(found) <= _MAX_SUBJECT:
        text = f"the token's claim '{config.consumer_claim}' must be a text of 1 to {_MAX_SUBJECT} characters"
        raise ClaimsError(text)
    return config.subject_prefix + found


def groups(claims: Claims, config: JwtAuthConfig) -> frozenset[str]:
    """The groups that the token tells. What is no text is none."""
    return frozenset(_texts(claim(claims, config.groups_claim))) if config.groups_claim else frozenset()


def claim(claims: Claims, name: str) -> Any:
    """The value of the claim of this name, or else of what dots lead to; None if it is not there."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _check_time(claims: Claims, leeway_s: float, now: float) -> None:
    expires = _moment(claims, "exp")
    if expires is None:
        raise ClaimsError("the token does not tell when it expires")
    if expires + leeway_s <= now:
        raise ClaimsError("the token has expired", is_expired=True)
    for name in ("nbf", "iat"):
        moment = _moment(claims, name)
        if moment is not None and moment - leeway_s > now:
            raise ClaimsError("the token is not valid yet")


def _moment(claims: Claims, name: str) -> float | None:
    value = claims.get(name, _MISSING)
    if value is _MISSING:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimsError(f"the token's claim '{name}' is not a number")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _has_value(value: Any, wanted: str) -> bool:
    if isinstance(value, list):
        return any(_as_text(each) == wanted for each in value)
    return _as_text(value) == wanted


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, bool | int | float) else None
