"""One limit or budget of a policy, ready for requests."""

from dataclasses import dataclass
from typing import TypeAlias

from gateway.config.limits import (
    BudgetConfig,
    BudgetPeriod,
    KeyConfig,
    LimitAlgorithm,
    LimitConfig,
    LimitKey,
    LimitUnit,
    RateLimitConfig,
)
from gateway.filters.limits.keys import KeysOf, keys_of
from gateway.filters.limits.meter_table import MeterTable
from gateway.filters.limits.places import Places
from gateway.filters.limits.shared import SharedKind, SharedMeters
from gateway.filters.limits.sliding_window import SlidingWindow
from gateway.filters.limits.state import LimitState
from gateway.filters.limits.token_bucket import TokenBucket

Identity: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is counted where: in `meters` of this node, or in `shared` ones.

    `span` says in words how long. What is not `is_enforced` refuses nothing.
    """

    policy: str
    unit: LimitUnit
    limit: int
    span: str
    key: LimitKey
    keys_of: KeysOf
    meters: MeterTable | SharedMeters
    denies_without_store: bool = False
    is_budget: bool = False
    is_enforced: bool = True


def rules_of_limits(policy: str, config: RateLimitConfig, state: LimitState) -> tuple[Rule, ...]:
    """The rules of a `rate_limit` policy."""
    return tuple(
        Rule(
            policy=policy,
            unit=limit.unit,
            limit=limit.limit,
            span=f" in {limit.window_s:g} s" if limit.window_s else "",
            key=limit.key.kind,
            keys_of=keys_of(limit.key),
            meters=_meters(policy, config, limit, state),
            denies_without_store=config.denies_without_store,
        )
        for limit in config.limits
    )


def rule_of_budget(policy: str, config: BudgetConfig, state: LimitState) -> Rule:
    """The rule of a `budget` policy."""
    identity = (policy, "budget", config.unit.name, config.period.name, *_key_identity(config.key))
    shared = state.shared(identity, SharedKind.PURSE, period=config.period)
    return Rule(
        policy=policy,
        unit=config.unit,
        limit=config.amount,
        span=" a day" if config.period is BudgetPeriod.DAY else " a month",
        key=config.key.kind,
        keys_of=keys_of(config.key),
        meters=shared or state.budgets.table(identity, config.period),
        is_budget=True,
        is_enforced=config.is_hard,
    )


def _meters(policy: str, config: RateLimitConfig, limit: LimitConfig, state: LimitState) -> MeterTable | SharedMeters:
    """Where it is counted. A limit that is only raised or lowered goes on with what was counted."""
    kind = _kind(config, limit)
    identity = (policy, kind.name, limit.unit.name, str(limit.window_s), *_key_identity(limit.key))
    if config.is_shared:
        shared = state.shared(identity, kind, window_s=limit.window_s)
        assert shared is not None, "a node without a store refuses the policy"
        return shared
    window_s = limit.window_s
    match kind:
        case SharedKind.PLACES:
            return state.table(identity, lambda _: Places())
        case SharedKind.BUCKET:
            return state.table(identity, lambda _: TokenBucket(window_s))
        case _:
            return state.table(identity, lambda _: SlidingWindow(window_s))


def _kind(config: RateLimitConfig, limit: LimitConfig) -> SharedKind:
    if limit.unit is LimitUnit.CONCURRENCY:
        return SharedKind.PLACES
    return SharedKind.BUCKET if config.algorithm is LimitAlgorithm.TOKEN_BUCKET else SharedKind.WINDOW


def _key_identity(key: KeyConfig) -> Identity:
    return key.kind.name, key.header, key.expression
