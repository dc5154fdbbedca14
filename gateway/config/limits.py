"""Limits and budgets as frozen values. Amounts are whole numbers: requests, tokens, or billionths of a US dollar."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

NANO: Final = 1_000_000_000
"""Units of an amount of money in one US dollar."""


class LimitUnit(Enum):
    """What is counted."""

    REQUESTS = auto()
    INPUT_TOKENS = auto()
    OUTPUT_TOKENS = auto()
    TOTAL_TOKENS = auto()
    COST_USD = auto()
    CONCURRENCY = auto()


class LimitKey(Enum):
    """For whom or what it is counted apart."""

    CONSUMER = auto()
    GROUP = auto()
    ROUTE = auto()
    SERVICE = auto()
    MODEL = auto()
    IP = auto()
    HEADER = auto()
    EXPRESSION = auto()


class LimitAlgorithm(Enum):
    """How what was taken becomes free again."""

    SLIDING_WINDOW = auto()
    TOKEN_BUCKET = auto()


class BudgetPeriod(Enum):
    """Of the calendar, in UTC."""

    DAY = auto()
    MONTH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyConfig:
    """How requests are told apart. `header` is in lower case, `expression` one of CEL; each of its kind only."""

    kind: LimitKey = LimitKey.CONSUMER
    header: str = ""
    expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """At most `limit` of a unit in any `window_s`, which of CONCURRENCY is 0: at most so many at a time."""

    unit: LimitUnit
    limit: int
    window_s: float
    key: KeyConfig = KeyConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitConfig:
    """Limits that all must hold. `is_shared`: over all nodes, in the shared store."""

    limits: tuple[LimitConfig, ...] = ()
    algorithm: LimitAlgorithm = LimitAlgorithm.SLIDING_WINDOW
    is_shared: bool = False
    denies_without_store: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """At most `amount` of `unit` (COST_USD or TOTAL_TOKENS) in a period. `is_hard`: what is beyond is refused."""

    unit: LimitUnit
    amount: int
    period: BudgetPeriod = BudgetPeriod.MONTH
    key: KeyConfig = KeyConfig()
    is_hard: bool = True
