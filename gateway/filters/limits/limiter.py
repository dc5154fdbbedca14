"""Counts requests against limits and budgets: the `rate_limit` and `budget` policies."""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from gateway.context import RequestContext
from gateway.errors import UnavailableError
from gateway.filters.limits.amounts import ESTIMATED, estimate
from gateway.filters.limits.claims import Claim, Hold, Outcome, SharedClaim, SharedHold, answered
from gateway.filters.limits.rule import Rule
from gateway.filters.limits.settlements import Settlements
from gateway.filters.limits.shared import RESERVE, SharedMeters, Verdict
from gateway.filters.limits.state import LimitState
from gateway.filters.phases import Demanding, Limiter
from gateway.shared_store import SharedStore, StoreUnavailableError
from gateway.types import Demand

_NOTHING: Final = Demand(output_tokens=0)


class Limits(Limiter):
    """All limits that a request meets at one place: all are looked at before any is taken.

    Those of the node are taken first, at once; then those of the store, in one call. If that refuses, the node's are
    given back.
    """

    def __init__(self, rules: Iterable[Rule], state: LimitState) -> None:
        self._rules = tuple(rules)
        self._state = state
        self._needs_estimate = any(rule.unit in ESTIMATED for rule in self._rules)
        self._policies = tuple({rule.policy: rule.is_budget for rule in self._rules}.items())

    def joined(self, other: Limiter) -> "Limits | None":
        """The limits of both."""
        return Limits((*self._rules, *other._rules), self._state) if isinstance(other, Limits) else None

    async def reserve(self, context: RequestContext, request: Demanding) -> None:
        """Takes what the request will need.

        Raises `RateLimitedError`; `UnavailableError` where the store does not answer and a limit is to hold without it.
        """
        claims, shared = self._claims(context, request)
        counted: set[str] = set()
        hold = self._take(context, claims, counted) if claims else None
        if shared:
            try:
                await self._take_shared(context, shared, counted)
            except BaseException:
                if hold is not None:
                    hold.give_back()
                raise
        if hold is not None:
            context.reservations.append(hold)
        for policy, is_budget in self._policies:
            if policy not in counted:
                self._state.metrics.limit(policy, "allowed", is_budget=is_budget)

    def _claims(self, context: RequestContext, request: Demanding) -> tuple[list[Claim], list[SharedClaim]]:
        demand = _NOTHING
        if self._needs_estimate:
            demand = request.demand()
            context.needs_usage = True
        now = self._state.clock()
        own: list[Claim] = []
        shared: list[SharedClaim] = []
        for rule in self._rules:
            amount = estimate(rule.unit, demand, context.priced, rule.limit) if rule.unit in ESTIMATED else 1
            if not amount:
                continue
            if rule.is_budget:
                amount = min(amount, rule.limit)  # an estimate is no reason to refuse for a whole period
            meters = rule.meters
            if isinstance(meters, SharedMeters):
                shared += [SharedClaim(rule, meters.get(key), amount) for key in rule.keys_of(context)]
            else:
                meters.tidy(now)
                own += [Claim(rule, meters.get(key), amount) for key in rule.keys_of(context)]
        return own, shared

    def _take(self, context: RequestContext, claims: Sequence[Claim], counted: set[str]) -> Hold:
        now = self._state.clock()
        waits = [claim.meter.wait(now, claim.amount, claim.rule.limit) for claim in claims]
        is_taken = not any(wait and claim.rule.is_enforced for wait, claim in zip(waits, claims, strict=True))
        outcomes = []
        for wait, claim in zip(waits, claims, strict=True):
            rule, meter = claim.rule, claim.meter
            if is_taken:
                claim.mark = meter.take(now, claim.amount, rule.limit)
            outcomes.append(Outcome(rule, claim.amount, wait, meter.read(now, rule.limit)))
        self._answer(context, outcomes, counted)
        return Hold(claims, self._state.clock)

    async def _take_shared(self, context: RequestContext, claims: Sequence[SharedClaim], counted: set[str]) -> None:
        store, settlements = self._state.store, self._state.settlements
        assert store is not None, "a node without a store has no shared limits"
        assert settlements is not None
        lease = secrets.token_hex(8)
        try:
            answer = await _asked(store, settlements, lease, claims)
        except StoreUnavailableError:
            self._without_store(claims, counted)
            context.reservations.append(SharedHold(claims, lease, settlements))
            return
        verdicts = [Verdict.of(*answer[at : at + 4]) for at in range(1, len(answer), 4)]
        outcomes = [
            Outcome(claim.rule, claim.amount, verdict.wait_s, verdict.reading)
            for claim, verdict in zip(claims, verdicts, strict=True)
        ]
        self._answer(context, outcomes, counted)
        context.reservations.append(_hold(answer, lease, claims, settlements))

    def _answer(self, context: RequestContext, outcomes: Sequence[Outcome], counted: set[str]) -> None:
        for outcome in outcomes:
            if outcome.wait_s:
                self._count(outcome.rule, "limited" if outcome.rule.is_enforced else "warned", counted)
        error = answered(context, outcomes)
        if error is not None:
            raise error

    def _count(self, rule: Rule, result: str, counted: set[str]) -> None:
        """Counts the request once for each policy."""
        if rule.policy not in counted:
            counted.add(rule.policy)
            self._state.metrics.limit(rule.policy, result, is_budget=rule.is_budget)

    def _without_store(self, claims: Sequence[SharedClaim], counted: set[str]) -> None:
        denying = [claim.rule for claim in claims if claim.rule.denies_without_store]
        for rule in denying or [claim.rule for claim in claims]:
            self._count(rule, "denied" if denying else "unchecked", counted)
        if denying:
            text = f"the limits of policy '{denying[0].policy}' cannot be checked at present"
            raise UnavailableError(text, reason="SHARED_STORE_UNAVAILABLE", retry_after_s=1.0)


async def _asked(
    store: SharedStore, settlements: Settlements, lease: str, claims: Sequence[SharedClaim]
) -> Sequence[int]:
    """What the store answers. A caller who leaves meanwhile holds nothing of what it has taken."""
    arguments: list[bytes | int] = [lease.encode()]
    for claim in claims:
        meter, rule = claim.meter, claim.rule
        arguments += (meter.kind.value.encode(), claim.amount, rule.limit, meter.span, int(rule.is_enforced))
    asking = asyncio.ensure_future(store.run(RESERVE, [claim.meter.key for claim in claims], arguments))

    def give_back(asked: "asyncio.Future[Any]") -> None:
        if not asked.cancelled() and asked.exception() is None:
            _hold(asked.result(), lease, claims, settlements).give_back()

    try:
        answer: Sequence[int] = await asyncio.shield(asking)
    except asyncio.CancelledError:
        asking.add_done_callback(give_back)
        raise
    return answer


def _hold(answer: Sequence[int], lease: str, claims: Sequence[SharedClaim], settlements: Settlements) -> SharedHold:
    """What is held after that answer."""
    for index, claim in enumerate(claims):
        claim.taken = claim.amount * answer[0]
        claim.mark = answer[index * 4 + 2]
    return SharedHold(claims, lease, settlements)
