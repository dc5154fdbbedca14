"""What callers are told of limits: headers of every answer, and the error when one is reached."""

import math
from typing import TYPE_CHECKING, Final

from gateway.config.limits import NANO, LimitKey, LimitUnit
from gateway.errors import ExceededQuota, RateLimitedError
from gateway.filters.limits.meter import NEVER, Reading

if TYPE_CHECKING:
    from gateway.filters.limits.rule import Rule

_FAMILIES: Final = {
    LimitUnit.REQUESTS: b"requests",
    LimitUnit.INPUT_TOKENS: b"tokens",
    LimitUnit.OUTPUT_TOKENS: b"tokens",
    LimitUnit.TOTAL_TOKENS: b"tokens",
}
_NAMES: Final = {
    family: tuple(b"x-ratelimit-" + part + b"-" + family for part in (b"limit", b"remaining", b"reset"))
    for family in (b"requests", b"tokens")
}
BUDGET_HEADER: Final = b"x-janua-budget-exceeded"

_UNITS: Final = {
    LimitUnit.REQUESTS: "requests",
    LimitUnit.INPUT_TOKENS: "input tokens",
    LimitUnit.OUTPUT_TOKENS: "output tokens",
    LimitUnit.TOTAL_TOKENS: "tokens",
    LimitUnit.CONCURRENCY: "requests at a time",
}


def tell(headers: list[tuple[bytes, bytes]], unit: LimitUnit, limit: int, reading: Reading) -> None:
    """Adds a limit to the headers of an answer, unless they have a tighter one of the kind. Times are whole seconds."""
    family = _FAMILIES.get(unit)
    if family is None:
        return
    names = _NAMES[family]
    for name, value in headers:
        if name == names[1]:
            if int(value) <= reading.remaining:
                return
            headers[:] = [header for header in headers if header[0] not in names]
            break
    values = (limit, reading.remaining, math.ceil(reading.reset_s))
    headers.extend((name, b"%d" % value) for name, value in zip(names, values, strict=True))


def refusal(rule: "Rule", wait_s: float, amount: int) -> RateLimitedError:
    """The error for a request that would be over a limit, to be raised."""
    allowed = f"policy '{rule.policy}' allows {_amount(rule.unit, rule.limit)}{rule.span}{_for_whom(rule.key)}"
    if wait_s == NEVER:
        text = f"the request asks for up to {_amount(rule.unit, amount)}, and {allowed}: ask for less"
        return RateLimitedError(text, reason="REQUEST_OVER_LIMIT", exceeded=(ExceededQuota(rule.policy, allowed),))
    reason = "BUDGET_EXCEEDED" if rule.is_budget else "RATE_LIMITED"
    again = f"try again in {_duration(wait_s)}"
    return RateLimitedError(
        f"{allowed}, which {'is' if rule.is_budget else 'are'} used up; {again}",
        reason=reason,
        retry_after_s=wait_s,
        exceeded=(ExceededQuota(rule.policy, allowed),),
    )


def _amount(unit: LimitUnit, amount: int) -> str:
    if unit is LimitUnit.COST_USD:
        return f"{amount / NANO:g} US dollars"
    return f"{amount} {_UNITS[unit]}"


def _for_whom(key: LimitKey) -> str:
    return " in all" if key is LimitKey.ROUTE else f" for each {key.name.lower()}"


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{math.ceil(whole / 60)} min"
    return f"{math.ceil(whole / 3600)} h"
