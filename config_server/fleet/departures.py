"""When a node that goes out of service may stop taking requests: once nobody sends it any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from config_server.discovery import DiscoveryService
from config_server.fleet.fleet_view import FleetView
from config_server.nodes import NodeRegistry

# A client that does not acknowledge cannot hold up a node for longer; nodes wait no longer than 2 s for an answer.
LONGEST_S: Final = 1.9
# Other servers read what is new of nodes every second.
_ELSEWHERE_S: Final = 1.5
_LOOK_EVERY_S: Final = 0.02


class Departures:
    """Waits for clients to know that a node is no endpoint any more."""

    def __init__(
        self,
        fleet: FleetView,
        nodes: NodeRegistry,
        discovery: DiscoveryService,
        *,
        write_nodes: Callable[[], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`write_nodes` lets other servers over the same store read what is known of nodes here."""
        self._fleet = fleet
        self._nodes = nodes
        self._discovery = discovery
        self._write_nodes = write_nodes
        self._sleep = sleep

    async def left(self, node_id: str) -> None:
        """Returns once the node is no endpoint, and all streams have acknowledged it, or after `LONGEST_S`.

        What clients of other servers have acknowledged is not known here: they are given a time.
        """
        least_s = 0.0
        if self._nodes.servers > 1:
            await self._write_nodes()
            least_s = _ELSEWHERE_S
        for look in range(round(LONGEST_S / _LOOK_EVERY_S)):
            has_waited = look * _LOOK_EVERY_S >= least_s
            if has_waited and not self._fleet.shows(node_id) and self._discovery.has_settled_fleet():
                return
            await self._sleep(_LOOK_EVERY_S)
