"""What was found of upstream services: tables, targets, and all figures as JSON. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from rich.table import Table

from tests.benchmarks.comparison import Check
from tests.benchmarks.failover import Failover, seconds
from tests.benchmarks.flips import Flips
from tests.benchmarks.shares import Shares
from tests.benchmarks.systems import Janua


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was measured; parts that were not are empty."""

    shares: tuple[Shares, ...] = ()
    failovers: tuple[Failover, ...] = ()
    flips: Flips | None = None

    def checks(self) -> list[Check]:
        """Janua against the targets; Envoy has none."""
        ours = [failover for failover in self.failovers if failover.system == Janua.name]
        return [
            *(shares.check() for shares in self.shares),
            *(check for failover in ours for check in failover.checks()),
            *(self.flips.checks() if self.flips else ()),
        ]

    def tables(self) -> Sequence[Table]:
        """What was measured, and the targets."""
        return [
            *([_shares_table(self.shares)] if self.shares else ()),
            *([_failover_table(self.failovers)] if self.failovers else ()),
            _target_table(self.checks()),
        ]

    def as_json(self) -> str:
        """All figures."""
        figures = {
            "shares": [asdict(shares) for shares in self.shares],
            "failovers": [_figures(failover) for failover in self.failovers],
            "flips": asdict(self.flips) if self.flips else None,
            "checks": [asdict(check) for check in self.checks()],
        }
        return json.dumps(figures, indent=2)


def _shares_table(found: Iterable[Shares]) -> Table:
    table = Table("policy", "requests on each", "Janua, %", "Envoy, %", "apart, %")
    for each in found:
        shares = (_percents(each.janua), _percents(each.envoy), f"{100 * each.apart:.2f}")
        table.add_row(each.case.what, f"{each.requests:,}", *shares)
    return table


def _failover_table(found: Iterable[Failover]) -> Table:
    columns = ("failed of", "p99 before", "meanwhile", "out after / set", "back after / set")
    table = Table("fault", "noticed by", "system", *columns)
    for each in found:
        suffering = each.suffering
        load = (f"{len(each.failures)} of {each.requests:,}", _ms(each.normal_p99_s), _ms(each.fault_p99_s))
        out = f"{seconds(each.out_after_s)} / {each.wanted_out_s:.2f} s"
        back = f"{seconds(each.back_after_s)} / {suffering.back_after_s:.2f} s"
        table.add_row(suffering.name, suffering.noticed_by, each.system, *load, out, back)
    return table


def _target_table(checks: Iterable[Check]) -> Table:
    table = Table("target", "found", "wanted", "")
    for check in checks:
        table.add_row(check.what, check.found, check.wanted, "met" if check.met else "[red]MISSED[/red]")
    return table


def _percents(shares: Iterable[float]) -> str:
    return " ".join(f"{100 * share:5.2f}" for share in shares)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _figures(failover: Failover) -> dict[str, object]:
    """With the name of the suffering in its place, for part of it is a function."""
    figures = {field.name: getattr(failover, field.name) for field in fields(failover)}
    return {**figures, "suffering": failover.suffering.name}
