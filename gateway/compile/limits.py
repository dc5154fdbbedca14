"""`RateLimit` and `Budget` messages to values."""

from types import MappingProxyType

from janua.config.v1 import policy_pb2

from gateway.compile.durations import seconds
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

_Limits = policy_pb2.RateLimit

_UNITS = MappingProxyType(
    {
        _Limits.Limit.UNIT_UNSPECIFIED: LimitUnit.REQUESTS,
        _Limits.Limit.UNIT_REQUESTS: LimitUnit.REQUESTS,
        _Limits.Limit.UNIT_INPUT_TOKENS: LimitUnit.INPUT_TOKENS,
        _Limits.Limit.UNIT_OUTPUT_TOKENS: LimitUnit.OUTPUT_TOKENS,
        _Limits.Limit.UNIT_TOTAL_TOKENS: LimitUnit.TOTAL_TOKENS,
        _Limits.Limit.UNIT_COST_USD: LimitUnit.COST_USD,
        _Limits.Limit.UNIT_CONCURRENCY: LimitUnit.CONCURRENCY,
    }
)
_KEYS = MappingProxyType(
    {
        policy_pb2.LIMIT_KEY_UNSPECIFIED: LimitKey.CONSUMER,
        policy_pb2.LIMIT_KEY_CONSUMER: LimitKey.CONSUMER,
        policy_pb2.LIMIT_KEY_GROUP: LimitKey.GROUP,
        policy_pb2.LIMIT_KEY_ROUTE: LimitKey.ROUTE,
        policy_pb2.LIMIT_KEY_SERVICE: LimitKey.SERVICE,
        policy_pb2.LIMIT_KEY_MODEL: LimitKey.MODEL,
        policy_pb2.LIMIT_KEY_IP: LimitKey.IP,
        policy_pb2.LIMIT_KEY_HEADER: LimitKey.HEADER,
        policy_pb2.LIMIT_KEY_EXPRESSION: LimitKey.EXPRESSION,
    }
)


def compile_rate_limit(message: policy_pb2.RateLimit) -> RateLimitConfig:
    """The value of a message."""
    is_bucket = message.algorithm == _Limits.ALGORITHM_TOKEN_BUCKET
    return RateLimitConfig(
        limits=tuple(_limit(each) for each in message.limits),
        algorithm=LimitAlgorithm.TOKEN_BUCKET if is_bucket else LimitAlgorithm.SLIDING_WINDOW,
        is_shared=message.scope == _Limits.SCOPE_CLUSTER,
        denies_without_store=message.on_store_failure == _Limits.ON_STORE_FAILURE_DENY,
    )


def compile_budget(message: policy_pb2.Budget) -> BudgetConfig:
    """The value of a message."""
    is_money = bool(message.amount_usd)
    return BudgetConfig(
        unit=LimitUnit.COST_USD if is_money else LimitUnit.TOTAL_TOKENS,
        amount=round(message.amount_usd * NANO) if is_money else message.tokens,
        period=BudgetPeriod.DAY if message.period == policy_pb2.Budget.PERIOD_DAY else BudgetPeriod.MONTH,
        key=_key(message),
        is_hard=message.mode != policy_pb2.Budget.MODE_WARN,
    )


def _limit(message: policy_pb2.RateLimit.Limit) -> LimitConfig:
    unit = _UNITS[message.unit]
    return LimitConfig(
        unit=unit,
        limit=round(message.limit * (NANO if unit is LimitUnit.COST_USD else 1)),
        window_s=seconds(message, "window", 0.0),
        key=_key(message),
    )


def _key(message: policy_pb2.RateLimit.Limit | policy_pb2.Budget) -> KeyConfig:
    return KeyConfig(kind=_KEYS[message.key], header=message.header.lower(), expression=message.expression)
