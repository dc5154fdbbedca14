"""Measures load balancing: the time of a pick and of an update, and how near each policy is to its law.

Run as `python -m tests.benchmarks.bench_balancing`. Endpoints are real ones, without connections. Exits with 1 if a
target is missed.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from random import Random

import click
from rich.console import Console
from rich.table import Table

from gateway.config.upstream import BalancingConfig, BalancingPolicy, EndpointConfig
from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.load_balancer import BALANCERS, LoadBalancer
from gateway.upstream.endpoint import Endpoint

FEW, MANY = 10, 1000
MOST_US = {FEW: 5.0, MANY: 20.0}
HASHING = (BalancingPolicy.RING_HASH, BalancingPolicy.MAGLEV, BalancingPolicy.PREFIX_AFFINITY)
PICKS = 100_000
WEIGHTS = (5, 3, 1, 1)
MOST_MOVED_PERCENT = {BalancingPolicy.RING_HASH: 0.0, BalancingPolicy.MAGLEV: 5.0}
"""Of the keys of endpoints that stay, when one of a hundred goes."""
MOST_DEVIATION_PERCENT = {
    BalancingPolicy.ROUND_ROBIN: 0.1,
    BalancingPolicy.LEAST_REQUEST: 0.1,
    BalancingPolicy.RANDOM: 5.0,
    BalancingPolicy.RING_HASH: 30.0,
    BalancingPolicy.MAGLEV: 5.0,
    BalancingPolicy.PEAK_EWMA: 5.0,
    BalancingPolicy.PREFIX_AFFINITY: 30.0,
}
"""Of an endpoint's share. Chance alone makes some per cent of 100,000 picks, the points of a ring more."""

_ROUNDS = 40
_KEYS = [stable_hash(f"key-{number}".encode()) for number in range(20_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a result. `most` None is no target."""

    what: str
    value: float
    unit: str
    most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met, if there is one."""
        return None if self.most is None else self.value <= self.most


def pool(
    weights: Sequence[int], *, active_requests: int = 8, clock: Callable[[], float] = time.perf_counter
) -> list[Endpoint]:
    """Endpoints that have answered and have so many requests in flight each."""
    endpoints = []
    for number, weight in enumerate(weights):
        address = f"10.0.{number // 256}.{number % 256}:8080"
        config = EndpointConfig(address=address, url=f"http://{address}", weight=weight)
        endpoint = Endpoint(config, since=datetime.now(UTC), clock=clock)
        endpoint.active_requests = active_requests
        endpoint.latency.observe(0.1)
        endpoints.append(endpoint)
    return endpoints


def balancer_of(policy: BalancingPolicy, endpoints: Sequence[Endpoint]) -> LoadBalancer[Endpoint]:
    """A balancer of a policy, ready for its first pick."""
    balancer: LoadBalancer[Endpoint] = BALANCERS[policy](BalancingConfig(policy=policy), Random(1))
    balancer.update(endpoints)
    balancer.pick(None, ())
    return balancer


def least_seconds(action: Callable[[], object]) -> float:
    """CPU time, the least of a few rounds: what disturbs a measurement only adds to it."""
    found = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return min(found)


def pick_us(policy: BalancingPolicy, weights: Sequence[int], picks: int) -> float:
    """Microseconds of a pick, with a key where the policy uses one."""
    pick = balancer_of(policy, pool(weights)).pick
    keys: list[int | None] = list(islice(cycle(_KEYS), picks)) if policy in HASHING else [None] * picks

    def pick_all() -> None:
        for key in keys:
            pick(key, ())

    return least_seconds(pick_all) / picks * 1e6


def update_ms(policy: BalancingPolicy) -> float:
    """Milliseconds of an update that takes one endpoint of many away, and of the first pick after it.

    Each round takes away another one, so that none finds a table that is kept from before.
    """
    endpoints = pool([1] * MANY)
    balancer = balancer_of(policy, endpoints)
    places = iter(range(_ROUNDS))

    def update() -> None:
        place = next(places)
        balancer.update(endpoints[:place] + endpoints[place + 1 :])
        balancer.pick(1, ())

    return least_seconds(update) * 1e3


def moved_percent(policy: BalancingPolicy) -> float:
    """How many keys of those that stay go elsewhere when one of a hundred endpoints is removed; the mean of ten."""
    endpoints = pool([1] * 100)
    balancer = balancer_of(policy, endpoints)
    before = [balancer.pick(key, ()) for key in _KEYS]
    moved = kept = 0
    for gone in endpoints[::10]:
        balancer.update([endpoint for endpoint in endpoints if endpoint is not gone])
        for key, owner in zip(_KEYS, before, strict=True):
            if owner is not gone:
                kept += 1
                moved += balancer.pick(key, ()) is not owner
    return 100 * moved / kept


def deviation_percent(policy: BalancingPolicy) -> float:
    """By how much the share of an endpoint differs at most from what its weight says.

    That of peak EWMA is measured among equals: of two that are equally quick it picks the heavier one.
    """
    weights = [1] * len(WEIGHTS) if policy is BalancingPolicy.PEAK_EWMA else WEIGHTS
    endpoints = pool(weights, active_requests=0, clock=lambda: 0.0)
    balancer = balancer_of(policy, endpoints)
    keys: Sequence[int | None] = [stable_hash(b"%d" % number) for number in range(PICKS)]
    found = Counter(balancer.pick(key if policy in HASHING else None, ()) for key in keys)
    unit = PICKS / sum(endpoint.weight for endpoint in endpoints)
    return max(abs(found[endpoint] / (unit * endpoint.weight) - 1) for endpoint in endpoints) * 100


def measure(picks: int) -> list[Figure]:
    """All figures."""
    figures = []
    for count, most in MOST_US.items():
        for policy in BalancingPolicy:
            what = f"pick, {_name(policy)}, {count:,} endpoints"
            figures.append(Figure(what=what, value=pick_us(policy, [1] * count, picks), unit="µs", most=most))
        what = f"pick, least request by weight, {count:,} endpoints"
        weights = [1 + number % 7 for number in range(count)]
        value = pick_us(BalancingPolicy.LEAST_REQUEST, weights, picks)
        figures.append(Figure(what=what, value=value, unit="µs", most=most))
    figures += [
        Figure(what=f"update of 1 of {MANY:,}, {_name(policy)}", value=update_ms(policy), unit="ms")
        for policy in BalancingPolicy
    ]
    for policy, most in MOST_MOVED_PERCENT.items():
        what = f"keys of others that move when 1 of 100 goes, {_name(policy)}"
        figures.append(Figure(what=what, value=moved_percent(policy), unit="%", most=most))
    for policy, most in MOST_DEVIATION_PERCENT.items():
        what = f"deviation from the law over {PICKS:,} picks, {_name(policy)}"
        figures.append(Figure(what=what, value=deviation_percent(policy), unit="%", most=most))
    return figures


def _name(policy: BalancingPolicy) -> str:
    return policy.name.lower().replace("_", " ")


@click.command(context_settings={"show_default": True})
@click.option("--picks", type=click.IntRange(min=1000), default=3_000, help="Picks of a round.")
def main(picks: int) -> None:
    """Measure load balancing against its targets."""
    figures = measure(picks)
    table = Table("what", "measured", "target", "")
    for figure in figures:
        target = "" if figure.most is None else f"≤ {figure.most:g} {figure.unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[figure.is_met]
        table.add_row(figure.what, f"{figure.value:.2f} {figure.unit}", target, verdict)
    Console().print(table)
    sys.exit(int(any(figure.is_met is False for figure in figures)))


if __name__ == "__main__":
    main()
