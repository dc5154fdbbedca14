"""What one request wants of its limits, and holds of them until it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.context import RequestContext
from gateway.errors import RateLimitedError
from gateway.filters.limits.amounts import used
from gateway.filters.limits.meter import Meter, Reading
from gateway.filters.limits.rule import Rule
from gateway.filters.limits.settlements import Settlement, Settlements
from gateway.filters.limits.shared import SharedKind, SharedMeter
from gateway.filters.limits.told import BUDGET_HEADER, refusal, tell


@dataclass(slots=True)
class Claim:
    """An amount under one key of one limit of this node. `mark` is what its meter wants to know at the end."""

    rule: Rule
    meter: Meter
    amount: int
    mark: int = 0


@dataclass(slots=True)
class SharedClaim:
    """The same in the store. `taken` is 0 where the store was not there to be asked."""

    rule: Rule
    meter: SharedMeter
    amount: int
    taken: int = 0
    mark: int = 0


class Hold:
    """What a request holds of this node's limits."""

    __slots__ = ("_claims", "_clock")

    def __init__(self, claims: Sequence[Claim], clock: Callable[[], float]) -> None:
        self._claims = claims
        self._clock = clock

    def settle(self, context: RequestContext) -> None:
        """Counts what was really used."""
        now = self._clock()
        for claim in self._claims:
            rule = claim.rule
            real = used(rule.unit, context, claim.amount)
            claim.meter.settle(now, claim.mark, claim.amount, real, rule.limit)

    def give_back(self) -> None:
        """Counts nothing of it."""
        now = self._clock()
        for claim in self._claims:
            claim.meter.settle(now, claim.mark, claim.amount, 0, claim.rule.limit)


class SharedHold:
    """What a request holds of the store's limits."""

    __slots__ = ("_claims", "_lease", "_settlements")

    def __init__(self, claims: Sequence[SharedClaim], lease: str, settlements: Settlements) -> None:
        self._claims = claims
        self._lease = lease
        self._settlements = settlements
        for claim in claims:
            if claim.meter.is_leased and claim.taken:
                settlements.hold(claim.meter, lease, claim.taken)

    def settle(self, context: RequestContext) -> None:
        """Has counted what was really used."""
        for claim in self._claims:
            self._settle(claim, used(claim.rule.unit, context, claim.amount))

    def give_back(self) -> None:
        """Has counted nothing of it."""
        for claim in self._claims:
            self._settle(claim, 0)

    def _settle(self, claim: SharedClaim, real: int) -> None:
        # What ran while the store was away is no matter of a window any more, but spent all the same.
        is_over = not claim.taken and claim.meter.kind is not SharedKind.PURSE
        if is_over or (real == claim.taken and not claim.meter.is_leased):
            return
        self._settlements.add(Settlement(claim.meter, claim.taken, real, claim.rule.limit, claim.mark, self._lease))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of one claim: how long it would have to wait, and what is left."""

    rule: Rule
    amount: int
    wait_s: float
    reading: Reading


def answered(context: RequestContext, outcomes: Sequence[Outcome]) -> RateLimitedError | None:
    """Tells the caller what is left, and gives the error if there is not enough: that of the longest wait."""
    worst: Outcome | None = None
    for outcome in outcomes:
        rule = outcome.rule
        tell(context.answer_headers, rule.unit, rule.limit, outcome.reading)
        if not outcome.wait_s:
            continue
        if not rule.is_enforced:
            context.answer_headers.append((BUDGET_HEADER, rule.policy.encode()))
        elif worst is None or outcome.wait_s > worst.wait_s:
            worst = outcome
    return None if worst is None else refusal(worst.rule, worst.wait_s, worst.amount)
