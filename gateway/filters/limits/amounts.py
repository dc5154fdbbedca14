"""How much of a unit a request takes: before it is answered by estimate, afterwards as the backend has counted."""

from typing import Final

from gateway.config.limits import NANO, LimitUnit
from gateway.config.prices import PricedModel, cost
from gateway.context import RequestContext
from gateway.types import Demand, Usage

ASSUMED_OUTPUT_TOKENS: Final = 1024
"""What a request is taken to write that sets no bound."""

TOKENS: Final = frozenset({LimitUnit.INPUT_TOKENS, LimitUnit.OUTPUT_TOKENS, LimitUnit.TOTAL_TOKENS})
ESTIMATED: Final = TOKENS | {LimitUnit.COST_USD}
"""The units of which nobody knows before how much a request takes."""


def estimate(unit: LimitUnit, demand: Demand, priced: PricedModel | None, limit: int) -> int:
    """What to set aside, 0 for a request that takes none of the unit.

    Only for what a request asks for itself it is more than the limit, never for what is assumed of it.
    """
    if not (demand.input_tokens or demand.output_tokens or demand.output_tokens is None):
        return 0
    is_bounded = demand.output_tokens is not None
    read, written = demand.input_tokens, ASSUMED_OUTPUT_TOKENS if demand.output_tokens is None else demand.output_tokens
    match unit:
        case LimitUnit.INPUT_TOKENS:
            return max(1, read)
        case LimitUnit.OUTPUT_TOKENS:
            return written if is_bounded else min(written, limit)
        case LimitUnit.TOTAL_TOKENS:
            return max(1, read + written if is_bounded else max(read, min(read + written, limit)))
        case _:
            price = priced.price if priced is not None else None
            usd = cost(Usage(input_tokens=read, output_tokens=written), price) if price is not None else None
            # Nobody has asked for a sum of money: it is a guess, which is no reason to refuse for ever.
            return max(1, min(round((usd or 0.0) * NANO), limit))


def used(unit: LimitUnit, context: RequestContext, taken: int) -> int:
    """What a request that has ended has really taken.

    Where nobody has counted, an answer has taken what was estimated; a request without one, and one that the caller
    has left, nothing.
    """
    if unit is LimitUnit.REQUESTS:
        return taken
    if unit is LimitUnit.CONCURRENCY:
        return 0
    if unit is LimitUnit.COST_USD:
        if context.cost_usd is not None:
            return round(context.cost_usd * NANO)
    elif (usage := context.usage) is not None and (usage.input_tokens or usage.output_tokens):
        if unit is LimitUnit.INPUT_TOKENS:
            return usage.input_tokens
        return usage.output_tokens + (usage.input_tokens if unit is LimitUnit.TOTAL_TOKENS else 0)
    return taken if context.is_answered and context.attempts else 0
