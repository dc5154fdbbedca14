"""Figures of the gateway benchmark: floor and node side by side, memory over time, and the targets. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.rig import Load, Sample

MB = 1 << 20

LEAST_RATIO = 0.75
"""Of the floor's requests per second, and of its chunks per second."""
MOST_MEMORY = 120 * MB
MOST_DRIFT = 5 * MB
"""Growth of memory from the first tenth of a long run to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One kind of load on floor and node; samples of the same place belong to the same round."""

    load: Load
    floor: tuple[Sample, ...]
    node: tuple[Sample, ...]

    @property
    def floor_rate(self) -> float:
        return statistics.median(map(self.load.rate, self.floor))

    @property
    def node_rate(self) -> float:
        return statistics.median(map(self.load.rate, self.node))

    @property
    def floor_cpu_us(self) -> float:
        return statistics.median(sample.cpu_us for sample in self.floor)

    @property
    def node_cpu_us(self) -> float:
        return statistics.median(sample.cpu_us for sample in self.node)

    @property
    def ratio(self) -> float:
        """The node's share of the floor's rate: the median over the rounds."""
        rates = ((self.load.rate(node), self.load.rate(floor)) for node, floor in self._rounds())
        return statistics.median(node / floor for node, floor in rates)

    @property
    def cpu_ratio(self) -> float:
        """The node's CPU time per request in terms of the floor's: the median over the rounds."""
        return statistics.median(node.cpu_us / floor.cpu_us for node, floor in self._rounds())

    def _rounds(self) -> Sequence[tuple[Sample, Sample]]:
        return list(zip(self.node, self.floor, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of the node in bytes, looked at ten times in a run of `requests`."""

    requests: int
    seen: tuple[int, ...]

    @property
    def drift(self) -> int:
        """Growth from the first look to the last."""
        return self.seen[-1] - self.seen[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One target and whether it is met."""

    what: str
    found: str
    wanted: str
    met: bool


def check(comparisons: Sequence[Comparison], memory: Memory | None) -> list[Check]:
    """The targets against what was found. `memory` None: it was not looked at."""
    return [
        *(
            Check(
                what=f"{each.load.name}: {each.load.unit} of the floor's",
                found=f"{each.ratio:.2f}",
                wanted=f"at least {LEAST_RATIO}",
                met=each.ratio >= LEAST_RATIO,
            )
            for each in comparisons
        ),
        *(_check_memory(memory) if memory is not None else ()),
    ]


def _check_memory(memory: Memory) -> list[Check]:
    highest = max(memory.seen)
    return [
        Check(
            what="memory under load",
            found=f"{highest / MB:.0f} MB",
            wanted=f"under {MOST_MEMORY // MB} MB",
            met=highest < MOST_MEMORY,
        ),
        Check(
            what=f"growth over {memory.requests:,} requests",
            found=f"{memory.drift / MB:.1f} MB",
            wanted=f"at most {MOST_DRIFT // MB} MB",
            met=memory.drift <= MOST_DRIFT,
        ),
    ]
