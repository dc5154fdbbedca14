"""What HTTP's own rules say of keeping answers (RFC 9111), as far as they are followed here. Pure.

The key has the few headers that answers mostly vary by. An answer that varies by another is not kept, rather than asked
for by a second key.
"""

from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

Headers = Mapping[bytes, bytes]

_IN_KEY: Final = (
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cookie",
    b"origin",
)
# A request with one of these wants something other than the whole answer of now.
_OF_PARTS: Final = frozenset(
    {b"range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"upgrade"}
)
_NOT_TO_BE_KEPT: Final = (b"no-store", b"private", b"no-cache")
_CREDENTIALS: Final = (b"authorization", b"cookie")


class AnswerTerms(msgspec.Struct, frozen=True, array_like=True):
    """For whom an answer is, and for how long. With `is_shared` false it is for the one who asked, and not kept;
    `fresh_s` is how long it is as good as new, `keep_s` how long it is of any use."""

    is_shared: bool
    fresh_s: float = 0.0
    keep_s: float = 0.0


_PRIVATE = AnswerTerms(False)


def is_keepable(method: str, headers: Headers) -> bool:
    """Whether the answer to a request without a body may be kept at all."""
    return method == "GET" and _OF_PARTS.isdisjoint(headers)


def headers_in_key(headers: Headers) -> dict[bytes, bytes]:
    """Those of a request's headers that answers may vary by."""
    return {name: headers[name] for name in _IN_KEY if name in headers}


def answer_terms(
    status: int,
    answered: Iterable[tuple[bytes, bytes]],
    asked: Headers,
    *,
    is_known: bool,
    ttl_s: float,
    stale_s: float,
) -> AnswerTerms:
    """The terms of an answer to a request with these headers. `is_known`: the caller is, and its credentials went no
    further. What the answer says of its time can only shorten `ttl_s`."""
    told: dict[bytes, bytes] = {}
    for name, value in answered:
        told[name] = b"%b, %b" % (told[name], value) if name in told else value
    directives = _directives(told.get(b"cache-control", b""))
    if status != 200 or b"set-cookie" in told or not directives.keys().isdisjoint(_NOT_TO_BE_KEPT):
        return _PRIVATE
    varies = {name.strip().lower() for name in told.get(b"vary", b"").split(b",") if name.strip()}
    if not varies <= set(_IN_KEY):
        return _PRIVATE
    is_for_all = b"public" in directives or b"s-maxage" in directives
    if not is_known and not is_for_all and any(name in asked for name in _CREDENTIALS):
        return _PRIVATE
    fresh_s = min(ttl_s, _told_s(told, directives, ttl_s) - (_seconds(told.get(b"age")) or 0.0))
    if fresh_s <= 0:
        return _PRIVATE
    must_be_fresh = not directives.keys().isdisjoint((b"must-revalidate", b"proxy-revalidate", b"s-maxage"))
    return AnswerTerms(True, fresh_s, fresh_s if must_be_fresh else fresh_s + stale_s)


def _told_s(told: Headers, directives: Headers, default_s: float) -> float:
    """How long the answer says that it is fresh. What cannot be understood is stale."""
    for name in (b"s-maxage", b"max-age"):
        if name in directives:
            return _seconds(directives[name]) or 0.0
    if b"expires" in told:
        try:
            until = parsedate_to_datetime(told[b"expires"].decode("latin-1"))
            since = parsedate_to_datetime(told[b"date"].decode("latin-1"))
            return (until - since).total_seconds()
        except (ValueError, TypeError, KeyError, OverflowError):
            return 0.0
    return default_s


def _seconds(text: bytes | None) -> float | None:
    text = text.strip() if text else b""
    return float(text) if text.isdigit() and len(text) <= 10 else None


def _directives(sent: bytes) -> dict[bytes, bytes]:
    """By name, in lower case, with their arguments. One that stands twice counts with the shorter time."""
    found: dict[bytes, bytes] = {}
    for part in sent.lower().split(b","):
        name, _, value = part.partition(b"=")
        name, value = name.strip(), value.strip().strip(b'"')
        if name in found and (_seconds(found[name]) or 0.0) < (_seconds(value) or 0.0):
            continue
        found[name] = value
    return found
