"""When a node that goes out of service may stop taking requests: once nobody sends it any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from config_server.discovery import DiscoveryService
from config_server.fleet.fleet_view import FleetView

# A client that does not acknowledge cannot hold up a node for longer.
LONGEST_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.02


class Departures:
    """Waits for clients to know that a node is no endpoint any more."""

    def __init__(
        self,
        fleet: FleetView,
        discovery: DiscoveryService,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fleet = fleet
        self._discovery = discovery
        self._sleep = sleep

    async def left(self, node_id: str) -> None:
        """Returns once the node is no endpoint, and all streams have acknowledged it, or after `LONGEST_S`."""
        for _ in range(round(LONGEST_S / _LOOK_EVERY_S)):
            if not self._fleet.shows(node_id) and self._discovery.has_settled_fleet():
                return
            await self._sleep(_LOOK_EVERY_S)
