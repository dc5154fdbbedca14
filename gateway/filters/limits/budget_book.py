"""What is spent of budgets, kept in the state directory: a restart does not fill them up."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.config.limits import BudgetPeriod
from gateway.config.state_file import move_aside, write_atomically
from gateway.filters.limits.meter_table import MeterTable
from gateway.filters.limits.period import period_at
from gateway.filters.limits.purse import Purse

FILE_NAME: Final = "budgets.json"
# What a killed node can lose.
_INTERVAL_S: Final = 1.0

_log = structlog.get_logger("janua.limits")


class _Entry(msgspec.Struct, frozen=True):
    """What is spent under one key of one budget."""

    budget: tuple[str, ...]
    key: str
    period: str
    spent: int


class BudgetBook:
    """The budgets that this node counts by itself, those of configurations before included.

    `run` writes changes to the disk once a second; `flush` at the end. A file that cannot be read is moved aside.
    """

    def __init__(self, state_dir: Path | None, wall_clock: Callable[[], float]) -> None:
        self._path = state_dir / FILE_NAME if state_dir is not None else None
        self._wall_clock = wall_clock
        self._tables: dict[tuple[str, ...], MeterTable] = {}
        self._changed = asyncio.Event()
        self._kept = self._load()

    def table(self, budget: tuple[str, ...], period: BudgetPeriod) -> MeterTable:
        """The purses of a budget, by key."""

        def make(key: str) -> Purse:
            purse = Purse(period, self._wall_clock, self._changed.set)
            if (kept := self._kept.pop((budget, key), None)) is not None:
                purse.restore(kept.period, kept.spent)
            return purse

        found = self._tables.get(budget)
        if found is None:
            found = self._tables[budget] = MeterTable(make)
        return found

    async def run(self) -> None:
        """Writes what changes, until it is cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Writes what has changed. An error is logged, and the next change tries again."""
        if self._path is None or not self._changed.is_set():
            return
        self._changed.clear()
        data = msgspec.json.encode(self._entries())
        try:
            await asyncio.to_thread(write_atomically, self._path, [data])
        except OSError as error:
            _log.error("what is spent of budgets cannot be kept", path=str(self._path), error=str(error))

    def _entries(self) -> list[_Entry]:
        now = self._wall_clock()
        # The periods of now, and those that come next: they may have begun before the clock was put back.
        current = {period_at(kind, at).name for kind in BudgetPeriod for at in (now, period_at(kind, now).end)}
        counted = [
            _Entry(budget, key, purse.period, purse.spent)
            for budget, table in self._tables.items()
            for key, purse in table.items()
            if isinstance(purse, Purse)
        ]
        return [entry for entry in (*counted, *self._kept.values()) if entry.spent and entry.period in current]

    def _load(self) -> dict[tuple[tuple[str, ...], str], _Entry]:
        if self._path is None:
            return {}
        try:
            entries = msgspec.json.decode(self._path.read_bytes(), type=list[_Entry])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            aside = move_aside(self._path)
            _log.error("what was spent of budgets cannot be read", path=str(aside or self._path), error=str(error))
            return {}
        return {(entry.budget, entry.key): entry for entry in entries}
