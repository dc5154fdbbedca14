"""How requests are spread over the levels of a pool: the preferred one takes all while enough of it is well. The rules,
and their integer arithmetic, are Envoy's."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class LevelHealth:
    """How many members a level has, and how many of them are well. Lower numbers are preferred."""

    number: int
    healthy: int
    total: int


@dataclass(frozen=True, slots=True)
class LevelLoad:
    """What part of all requests a level takes, in per cent, and whether health is disregarded there."""

    number: int
    percent: int
    in_panic: bool


def level_loads(
    levels: Sequence[LevelHealth], *, overprovisioning_factor: float = 1.4, panic_threshold: float = 50.0
) -> list[LevelLoad]:
    """The loads of the levels, which add up to 100. Levels without members must not be given.

    A level can take factor * healthy / total of all requests, at most all of them. If all levels together can take
    less, they take what there is in proportion, and those below the panic threshold disregard health. If all levels
    do, or nothing is healthy anywhere, levels take requests by their size.
    """
    levels = sorted(levels, key=lambda level: level.number)
    capacities = [_capacity(level, overprovisioning_factor) for level in levels]
    total = min(100, sum(capacities))
    panics = [total < 100 and 100 * level.healthy < panic_threshold * level.total for level in levels]
    if total == 0 or all(panics):
        loads = _by_size(levels)
    else:
        loads = _by_capacity(capacities, total)
    return [LevelLoad(*each) for each in zip((level.number for level in levels), loads, panics, strict=True)]


def _capacity(level: LevelHealth, factor: float) -> int:
    return min(100, round(factor * 100) * level.healthy // level.total)


def _by_capacity(capacities: Sequence[int], total: int) -> list[int]:
    loads = []
    left = 100
    for capacity in capacities:
        load = min(left, capacity * 100 // total)
        loads.append(load)
        left -= load
    # Rounding leaves a rest, which the first level that takes anything gets.
    loads[next(index for index, capacity in enumerate(capacities) if capacity)] += left
    return loads


def _by_size(levels: Sequence[LevelHealth]) -> list[int]:
    members = sum(level.total for level in levels)
    loads = [100 * level.total // members for level in levels]
    loads[0] += 100 - sum(loads)
    return loads


class PriorityChoice:
    """Chooses the level of each request."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._loads: Sequence[LevelLoad] = ()

    def update(self, loads: Sequence[LevelLoad]) -> None:
        """The loads from now on."""
        self._loads = [load for load in loads if load.percent]

    def choose(self, key: int | None) -> int:
        """The number of a level: by chance, or for a key always the same. There must be one."""
        loads = self._loads
        if len(loads) > 1:
            # Other bits than those that choose within the level.
            point = int(self._random.random() * 100) if key is None else (key >> 24) % 100
            for load in loads:
                point -= load.percent
                if point < 0:
                    return load.number
        return loads[-1].number
