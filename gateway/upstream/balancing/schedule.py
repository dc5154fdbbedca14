"""Earliest deadline first: each host's turns come as often as its weight says, spread evenly, at the cost of a heap."""

import heapq
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H


class Schedule(Generic[H]):
    """A calendar of turns. A host with weight w has a turn every 1/w units of time; who is due first is next.

    The weight is asked for anew at every turn, so it may change at any time. First turns are at random times, so that
    many nodes that start together do not all begin with the same host.
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
        """The host whose turn it is among those not excluded. Who is excluded keeps its turn."""
        heap = self._heap
        if not exclude:
            if not heap:
                return None
            self._now, _, host = heap[0]
            due = self._due[host] = self._now + self._interval(host)
            heapq.heapreplace(heap, (due, self._next_number(), host))
            return host
        return self._next_of_others(exclude)

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
            # Time goes on only with those who had to wait: an earlier turn that was passed over is still to come.
            self._now = min([entry[0], *(passed[0] for passed in passed_over)])
            due = self._due[chosen] = entry[0] + self._interval(chosen)
            heapq.heappush(heap, (due, self._next_number(), chosen))
            break
        for entry in passed_over:
            heapq.heappush(heap, entry)
        return chosen

    def _interval(self, host: H) -> float:
        return 1.0 / max(self._weight(host), 1e-9)

    def _next_number(self) -> int:
        """Breaks ties: of two that are due together, the one that has waited longer."""
        self._count += 1
        return self._count
