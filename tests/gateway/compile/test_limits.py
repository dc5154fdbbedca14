"""`RateLimit` and `Budget` messages."""

import pytest
from google.protobuf.json_format import ParseDict
from janua.config.v1.policy_pb2 import Policy

from gateway.compile.policy import compile_policy
from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config.limits import (
    NANO,
    BudgetConfig,
    BudgetPeriod,
    KeyConfig,
    LimitAlgorithm,
    LimitConfig,
    LimitKey,
    LimitUnit,
    RateLimitConfig,
)
from gateway.config.snapshot import PolicySpec
from tests.gateway.compile.resources import resource


def compiled(spec: dict[str, object]) -> PolicySpec:
    return compile_policy(ParseDict({"name": "p", **spec}, Policy())).spec


def test_defaults() -> None:
    assert compiled({"rate_limit": {"limits": [{"limit": 5, "window": "60s"}]}}) == RateLimitConfig(
        limits=(LimitConfig(unit=LimitUnit.REQUESTS, limit=5, window_s=60.0),),
        algorithm=LimitAlgorithm.SLIDING_WINDOW,
        is_shared=False,
        denies_without_store=False,
    )
    assert compiled({"budget": {"tokens": 7}}) == BudgetConfig(
        unit=LimitUnit.TOTAL_TOKENS, amount=7, period=BudgetPeriod.MONTH, key=KeyConfig(), is_hard=True
    )


def test_everything_said() -> None:
    limit = {"unit": "UNIT_COST_USD", "limit": 0.5, "window": "1.5s", "key": "LIMIT_KEY_HEADER", "header": "X-Team"}
    spec = {
        "limits": [limit],
        "algorithm": "ALGORITHM_TOKEN_BUCKET",
        "scope": "SCOPE_CLUSTER",
        "on_store_failure": "ON_STORE_FAILURE_DENY",
    }
    key = KeyConfig(kind=LimitKey.HEADER, header="x-team")
    assert compiled({"rate_limit": spec}) == RateLimitConfig(
        limits=(LimitConfig(unit=LimitUnit.COST_USD, limit=NANO // 2, window_s=1.5, key=key),),
        algorithm=LimitAlgorithm.TOKEN_BUCKET,
        is_shared=True,
        denies_without_store=True,
    )
    budget = {"amount_usd": 0.1, "period": "PERIOD_DAY", "mode": "MODE_WARN", "key": "LIMIT_KEY_GROUP"}
    assert compiled({"budget": budget}) == BudgetConfig(
        unit=LimitUnit.COST_USD,
        amount=NANO // 10,
        period=BudgetPeriod.DAY,
        key=KeyConfig(kind=LimitKey.GROUP),
        is_hard=False,
    )


@pytest.mark.parametrize("has_store", [True, False])
def test_a_limit_over_all_nodes_needs_a_shared_store(has_store: bool) -> None:
    table = ResourceTable(SecretReader(), has_shared_store=has_store)
    limits = [{"limit": 5, "window": "60s"}]
    policy = resource("policy", "p", rate_limit={"limits": limits, "scope": "SCOPE_CLUSTER"})
    table.update(policy.type_url, [policy], ())
    found = [(each.reason, each.field) for each in table.all_rejections]
    assert found == ([] if has_store else [("SHARED_STORE_MISSING", "rate_limit.scope")])
