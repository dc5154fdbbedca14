"""Keeps the fleet's view up to date, and lets streams send what has changed of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from config_server.fleet.fleet_view import FleetView
from config_server.nodes import NodeRegistry
from config_server.push_schedule import Debounce, PushSchedule

# A node that has lost its server tries again within 15 s, and reports within one more.
_HELD_AT_MOST_S: Final = 20.0


class FleetFollower:
    """Updates `fleet` when the registry has changed, and then calls `push`."""

    def __init__(
        self,
        fleet: FleetView,
        nodes: NodeRegistry,
        push: Callable[[], None],
        *,
        debounce: Debounce,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fleet = fleet
        self._push = push
        self._sleep = sleep
        self._schedule = PushSchedule(nodes.membership, self._update, debounce=debounce, clock=clock)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._schedule.run())
            tasks.create_task(self._release())

    async def _release(self) -> None:
        await self._sleep(_HELD_AT_MOST_S)
        self._fleet.release()
        self._update()

    def _update(self) -> None:
        before = self._fleet.revision
        self._fleet.update()
        if self._fleet.revision != before:
            self._push()
