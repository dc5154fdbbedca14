"""Rows of the gateway benchmark's table: a figure beside the same of others, and its target. Pure.

A machine's speed varies, so times are judged in terms of the bare relay on the same server: it took 490 µs of CPU for a
request on Hypercorn, 191 on Granian, where the targets were set, and by how much more or less it takes in the same run,
so much more or less anything may take.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.benchmarks.comparison import Check

REFERENCE_RELAY_US: Mapping[str, float] = {"hypercorn": 490.0, "granian": 191.0}
"""CPU time of the bare relay per request of 1 KB on the machine that the targets are of, on each server."""

COLUMNS = ("what", "relay", "Envoy", "node", "node, scaled", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of a node. `floor` and `envoy` are the same of the bare relay and of Envoy, where they have it.

    `slowness`: how many times as long as on the reference machine the bare relay took meanwhile; None for what is no
    time.
    """

    what: str
    unit: str
    node: float
    floor: float | None = None
    envoy: float | None = None
    most: float | None = None
    least: float | None = None
    slowness: float | None = None

    @property
    def scaled(self) -> float:
        """What it would be on the reference machine."""
        return self.node if self.slowness is None else self.node / self.slowness

    @property
    def is_met(self) -> bool:
        """Whether the target is met, which is so without one."""
        return (self.most is None or self.scaled <= self.most) and (self.least is None or self.scaled >= self.least)

    def check(self) -> Check | None:
        """The target, if there is one."""
        if self.most is None and self.least is None:
            return None
        wanted = f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"
        return Check(what=self.what, found=self._text(self.scaled), wanted=f"{wanted} {self.unit}", met=self.is_met)

    def _text(self, value: float | None) -> str:
        if value is None:
            return ""
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:,.{digits}f} {self.unit}"

    def cells(self) -> Sequence[str]:
        """The row of a table: see `COLUMNS`."""
        check = self.check()
        scaled = "" if self.slowness is None else self._text(self.scaled)
        figures = (self._text(self.floor), self._text(self.envoy), self._text(self.node), scaled)
        return (self.what, *figures, "" if check is None else check.wanted)


def table_of(rows: Iterable[Row]) -> Table:
    """All rows, and whether the targets are met."""
    table = Table(*COLUMNS, "")
    for row in rows:
        verdict = "" if row.check() is None else "met" if row.is_met else "[red]MISSED[/red]"
        table.add_row(*row.cells(), verdict)
    return table


def markdown_of(rows: Iterable[Row]) -> str:
    """The same for a page."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in rows:
        *cells, target = row.cells()
        lines.append((*cells, target if row.is_met else f"{target}: **missed**"))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def slowness_of(relay_cpu_us: float, server: str) -> float:
    """How many times as long as on the reference machine the bare relay on that server takes."""
    return relay_cpu_us / REFERENCE_RELAY_US[server]
