"""What limits need of their node and what they count there: it outlives configurations."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from gateway.config.limits import BudgetPeriod
from gateway.filters.limits.budget_book import BudgetBook
from gateway.filters.limits.meter import Meter
from gateway.filters.limits.meter_table import MeterTable
from gateway.filters.limits.settlements import Settlements
from gateway.filters.limits.shared import SharedKind, SharedMeters
from gateway.shared_store import SharedStore
from gateway.telemetry.metrics import Metrics


class LimitState:
    """The counts of a node. Those of the store are elsewhere; `settlements` are on their way there.

    `state_dir` keeps what is spent of budgets over a restart; without one it is forgotten.
    """

    def __init__(
        self,
        *,
        metrics: Metrics,
        store: SharedStore | None = None,
        state_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.metrics = metrics
        self.store = store
        self.clock = clock
        self.wall_clock = wall_clock
        self.budgets = BudgetBook(state_dir, wall_clock)
        self.settlements = Settlements(store) if store is not None else None
        self._tables: dict[tuple[str, ...], MeterTable] = {}
        self._before: dict[tuple[str, ...], MeterTable] = {}

    def begin(self) -> None:
        """Says that a new configuration asks for its tables. Those that this one does not ask for go with the next."""
        self._before, self._tables = self._tables, {}

    def table(self, identity: tuple[str, ...], make: Callable[[str], Meter]) -> MeterTable:
        """The meters of a limit, those of the configuration before if it had them."""
        table = self._tables.get(identity, self._before.get(identity))
        if table is None:
            table = MeterTable(make)
        self._tables[identity] = table
        return table

    def shared(
        self,
        identity: tuple[str, ...],
        kind: SharedKind,
        *,
        window_s: float = 0.0,
        period: BudgetPeriod | None = None,
    ) -> SharedMeters | None:
        """The meters of a limit in the store, if the node has one."""
        if self.store is None or self.settlements is None:
            return None
        return SharedMeters(identity, kind, window_s, period, self.wall_clock)

    async def run(self) -> None:
        """Keeps budgets on the disk and sends settlements, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.budgets.run())
            if self.settlements is not None:
                tasks.create_task(self.settlements.run())

    async def flush(self, timeout_s: float) -> None:
        """Does at the end what is left to do, as far as it can in that time."""
        await self.budgets.flush()
        if self.settlements is not None:
            await self.settlements.flush(timeout_s)
        if self.store is not None:
            await self.store.close()
