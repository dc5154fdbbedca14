"""When a rate limit or a budget makes sense."""

from collections.abc import Iterator
from typing import Final

from janua.config.v1 import policy_pb2
from janua.config.v1.policy_pb2 import Budget, Policy, RateLimit

from janua_resources.durations import to_nanos
from janua_resources.expressions import check_expression
from janua_resources.headers import CREDENTIALS, is_header_name
from janua_resources.quoting import quoted
from janua_resources.violations import Problem

_Limit = RateLimit.Limit

_MIN_WINDOW_NS: Final = 10**9
_MAX_WINDOW_NS: Final = 31 * 86_400 * 10**9
_MOST: Final = 10**15
_MOST_USD: Final = 10**6
_LEAST_USD: Final = 1e-9


def check_rate_limit(spec: RateLimit) -> Iterator[Problem]:
    """What is wrong with a `rate_limit`."""
    if not spec.limits:
        yield Problem(field="rate_limit.limits", message="needs at least one limit")
    if spec.on_store_failure and spec.scope != RateLimit.SCOPE_CLUSTER:
        yield Problem(field="rate_limit.on_store_failure", message="has no effect without scope: CLUSTER")
    seen: dict[bytes, int] = {}
    for index, limit in enumerate(spec.limits):
        field = f"rate_limit.limits[{index}]"
        yield from _limit(limit, field)
        yield from _key(limit, field)
        what = _what_is_counted(limit)
        if (before := seen.setdefault(what, index)) != index:
            yield Problem(field=field, message=f"counts the same as limits[{before}]: only the lower one has an effect")


def check_budget(spec: Budget) -> Iterator[Problem]:
    """What is wrong with a `budget`."""
    if not spec.amount_usd and not spec.tokens:
        yield Problem(field="budget", message="needs one of amount_usd and tokens")
    if spec.amount_usd and spec.tokens:
        yield Problem(field="budget.tokens", message="cannot be given together with amount_usd: take two policies")
    if spec.amount_usd and not _LEAST_USD <= spec.amount_usd <= _MOST_USD:
        yield Problem(field="budget.amount_usd", message="must be at least 10^-9 and at most 10^6")
    if spec.tokens > _MOST:
        yield Problem(field="budget.tokens", message="must be at most 10^15")
    yield from _key(spec, "budget")


def counts_by_service(policy: Policy) -> bool:
    """Whether a policy counts by service, which is known only where a service names it."""
    keys = (policy.budget.key, *(limit.key for limit in policy.rate_limit.limits))
    return policy_pb2.LIMIT_KEY_SERVICE in keys


def _limit(limit: _Limit, field: str) -> Iterator[Problem]:
    if limit.unit == _Limit.UNIT_COST_USD:
        if not _LEAST_USD <= limit.limit <= _MOST_USD:
            yield Problem(field=f"{field}.limit", message="must be at least 10^-9 and at most 10^6 US dollars")
    elif not 1 <= limit.limit <= _MOST or limit.limit != int(limit.limit):
        yield Problem(field=f"{field}.limit", message="must be a whole number, at least 1 and at most 10^15")
    if limit.unit == _Limit.UNIT_CONCURRENCY:
        if limit.HasField("window"):
            yield Problem(field=f"{field}.window", message="has no effect with unit: CONCURRENCY")
    elif not limit.HasField("window"):
        yield Problem(field=f"{field}.window", message="is required")
    elif not _MIN_WINDOW_NS <= to_nanos(limit.window) <= _MAX_WINDOW_NS:
        yield Problem(field=f"{field}.window", message="must be at least 1 s and at most 31 days")


def _key(spec: _Limit | Budget, field: str) -> Iterator[Problem]:
    for name, kind in (("header", policy_pb2.LIMIT_KEY_HEADER), ("expression", policy_pb2.LIMIT_KEY_EXPRESSION)):
        if spec.key == kind and not getattr(spec, name):
            yield Problem(field=f"{field}.{name}", message=f"is required with key: {name.upper()}")
        elif spec.key != kind and getattr(spec, name):
            yield Problem(field=f"{field}.{name}", message=f"has no effect without key: {name.upper()}")
    if spec.header and not is_header_name(spec.header):
        yield Problem(field=f"{field}.header", message=f"{quoted(spec.header)} is not the name of a header")
    elif spec.header.lower() in CREDENTIALS:
        yield Problem(field=f"{field}.header", message="is a credential: count by CONSUMER")
    yield from check_expression(spec.expression, f"{field}.expression")


def _what_is_counted(limit: _Limit) -> bytes:
    """The same for two limits that count the same."""
    named = _Limit()
    named.CopyFrom(limit)
    named.limit = 0
    named.unit = named.unit or _Limit.UNIT_REQUESTS
    named.key = named.key or policy_pb2.LIMIT_KEY_CONSUMER
    named.header = named.header.lower()
    return named.SerializeToString(deterministic=True)
