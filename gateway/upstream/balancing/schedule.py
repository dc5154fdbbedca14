"""Earliest deadline first: each host's turns come as often as its weight says, spread evenly, at the cost of a heap."""

import heapq
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Generic, TypeVar

H = TypeVar("H")


class Schedule(Generic[H]):
    """A calendar of turns, of whatever can be hashed. A host with weight w has a turn every 1/w units of time; who is
    due first is next.

    The weight is asked for anew at every turn and every update. First turns are at random times, so that many nodes
    that start together do not all begin with the same host.
    """

    def __init__(self, random: Random, weight: Callable[[H], float]) -> None:
        self._random = random
        self._weight = weight
        self._now = 0.0
        self._count = 0
        self._due: dict[H, float] = {}
        self._heap: list[tuple[float, int, H]] = []

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts that have turns from now on. Those that stay keep theirs, unless more weight brings it nearer."""
        known = self._due
        self._due = {}
        heap = []
        for host in hosts:
            due = known.get(host)
            interval = self._interval(host)
            if due is None:
                due = self._now + self._random.random() * interval
            due = min(due, self._now + interval)
            self._due[host] = due
            heap.append((due, self._next_number(), host))
        heapq.heapify(heap)
        self._heap = heap

    def next(self, exclude: Collection[H]) -> H | None:
        """The host whose turn it is among those not excluded. Who is excluded keeps its turn, but only one: when it may
        be chosen again, it does not get all those that it has missed."""
        heap = self._heap
        if exclude:
            return self._next_of_others(exclude)
        if not heap:
            return None
        due, _, host = heap[0]
        heapq.heapreplace(heap, self._turn_after(due, host))
        return host

    def _next_of_others(self, exclude: Collection[H]) -> H | None:
        heap = self._heap
        passed_over = []
        chosen: H | None = None
        while heap:
            entry = heapq.heappop(heap)
            if entry[2] in exclude:
                passed_over.append(entry)
                continue
            chosen = entry[2]
            heapq.heappush(heap, self._turn_after(entry[0], chosen))
            break
        for entry in passed_over:
            heapq.heappush(heap, entry)
        return chosen

    def _turn_after(self, due: float, host: H) -> tuple[float, int, H]:
        """Puts the time forward to a turn that is taken, which may be overdue, and gives the host's next one."""
        self._now = max(self._now, due)
        self._due[host] = self._now + self._interval(host)
        return self._due[host], self._next_number(), host

    def _interval(self, host: H) -> float:
        return 1.0 / max(self._weight(host), 1e-9)

    def _next_number(self) -> int:
        """Breaks ties: of two that are due together, the one that has waited longer."""
        self._count += 1
        return self._count
