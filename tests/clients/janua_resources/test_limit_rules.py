"""When rate limits and budgets make sense."""

from typing import Any

import pytest

from tests.clients.janua_resources.test_policy_rules import faults

WINDOW = {"window": "60s"}


def of(limit: dict[str, Any], *others: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"rate_limit": {"limits": [limit, *others], **fields}}


@pytest.mark.parametrize(
    ("limit", "field", "text"),
    [
        ({"limit": 0, **WINDOW}, "limit", "must be a whole number"),
        ({"limit": 1.5, **WINDOW}, "limit", "must be a whole number"),
        ({"limit": 1e16, **WINDOW}, "limit", "at most 10^15"),
        ({"unit": "COST_USD", "limit": 1e-10, **WINDOW}, "limit", "10^-9"),
        ({"unit": "COST_USD", "limit": 2e6, **WINDOW}, "limit", "10^6 US dollars"),
        ({"limit": 1}, "window", "is required"),
        ({"limit": 1, "window": "999ms"}, "window", "at least 1 s"),
        ({"limit": 1, "window": "745h"}, "window", "at most 31 days"),
        ({"unit": "CONCURRENCY", "limit": 1, **WINDOW}, "window", "has no effect"),
        ({"limit": 1, **WINDOW, "key": "HEADER"}, "header", "is required"),
        ({"limit": 1, **WINDOW, "header": "x-a"}, "header", "has no effect"),
        ({"limit": 1, **WINDOW, "key": "HEADER", "header": "a b"}, "header", "is not the name"),
        ({"limit": 1, **WINDOW, "key": "HEADER", "header": "Api-Key"}, "header", "credential"),
        ({"limit": 1, **WINDOW, "key": "EXPRESSION"}, "expression", "is required"),
        ({"limit": 1, **WINDOW, "key": "EXPRESSION", "expression": "1 +"}, "expression", "is not an expression of CEL"),
    ],
)
def test_a_limit_that_cannot_work_is_wrong(limit: dict[str, Any], field: str, text: str) -> None:
    ((found, message),) = faults(of(limit))
    assert found == f"rate_limit.limits[0].{field}"
    assert text in message


@pytest.mark.parametrize(
    ("policy", "field", "text"),
    [
        ({"rate_limit": {}}, "rate_limit.limits", "needs at least one limit"),
        (
            of({"limit": 1, **WINDOW}, {"unit": "REQUESTS", "limit": 2, "key": "CONSUMER", **WINDOW}),
            "rate_limit.limits[1]",
            "counts the same as limits[0]",
        ),
        (of({"limit": 1, **WINDOW}, on_store_failure="DENY"), "rate_limit.on_store_failure", "has no effect without"),
        (of({"limit": 1, **WINDOW, "key": "SERVICE"}), "policies[0]", "counts by SERVICE, which is for services"),
        ({"budget": {}}, "budget", "needs one of amount_usd and tokens"),
        ({"budget": {"amount_usd": 1, "tokens": 1}}, "budget.tokens", "cannot be given together"),
        ({"budget": {"amount_usd": -1}}, "budget.amount_usd", "at least 10^-9"),
        ({"budget": {"tokens": 10**16}}, "budget.tokens", "at most 10^15"),
        ({"budget": {"tokens": 1, "key": "HEADER"}}, "budget.header", "is required"),
    ],
)
def test_a_policy_that_cannot_work_is_wrong(policy: dict[str, Any], field: str, text: str) -> None:
    ((found, message),) = faults(policy)
    assert found == field
    assert text in message


@pytest.mark.parametrize(
    "policy",
    [
        of({"limit": 1, **WINDOW}, {"limit": 2, "window": "1s"}, {"unit": "CONCURRENCY", "limit": 3}),
        of({"unit": "COST_USD", "limit": 0.5, "window": "24h", "key": "GROUP"}),
        of({"limit": 1, **WINDOW}, scope="CLUSTER", on_store_failure="DENY"),
        {"budget": {"amount_usd": 100, "period": "MONTH", "key": "GROUP", "mode": "HARD"}},
        {"budget": {"tokens": 5, "key": "EXPRESSION", "expression": "consumer.labels.team"}},
    ],
)
def test_what_works_is_right(policy: dict[str, Any]) -> None:
    assert faults(policy) == []
