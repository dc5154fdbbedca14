"""Hosts as balancers see them, and their turns."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.upstream.balancing.latency import PeakEwma


@dataclass(eq=False, slots=True)
class FakeHost:
    """A host whose load, weight and latency are what a test says."""

    address: str
    weight: float = 1
    active_requests: int = 0
    latency: PeakEwma = field(default_factory=lambda: PeakEwma(clock=lambda: 0.0), repr=False)


class Picking(Protocol):
    """What all balancers of fake hosts can do."""

    def pick(self, key: int | None, exclude: Collection[FakeHost]) -> FakeHost | None: ...


def pool(*weights: float) -> list[FakeHost]:
    """Hosts of these weights."""
    return [FakeHost(f"10.0.{number // 256}.{number % 256}:8080", weight) for number, weight in enumerate(weights)]


def pick(balancer: Picking, key: int | None = None, exclude: Collection[FakeHost] = ()) -> FakeHost:
    """A host; there must be one."""
    host = balancer.pick(key, exclude)
    assert host is not None
    return host


def turns(balancer: Picking, times: int, exclude: Collection[FakeHost] = ()) -> Counter[FakeHost]:
    """How often each host is picked, without a key."""
    return Counter(pick(balancer, None, exclude) for _ in range(times))


def owners(balancer: Picking, keys: Iterable[int], exclude: Collection[FakeHost] = ()) -> list[str]:
    """The addresses of the hosts of keys."""
    return [pick(balancer, key, exclude).address for key in keys]
