"""How long a node that drains waits."""

from typing import cast

import pytest

from config_server.discovery import DiscoveryService
from config_server.fleet.departures import LONGEST_S, Departures
from tests.config_server.fleet.fleet import Fleet

A = "10.0.0.1:8081"


class Streams:
    """Stands in for the discovery service."""

    def __init__(self) -> None:
        self.has_settled = True

    def has_settled_fleet(self) -> bool:
        return self.has_settled


class Server:
    """A server with one node; time goes by when something sleeps, and then nodes are looked at."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.fleet.join("a", A)
        self.fleet.view.update()
        self.streams = Streams()
        self.slept_s = 0.0
        self.settles_after_s = 0.0
        self.writes = 0
        self.departures = Departures(
            self.fleet.view,
            self.fleet.nodes,
            cast("DiscoveryService", self.streams),
            write_nodes=self._write,
            sleep=self._sleep,
        )

    async def leave(self) -> float:
        """How long it takes."""
        self.fleet.report("a", A, draining=True)
        await self.departures.left("a")
        return self.slept_s

    async def _write(self) -> None:
        self.writes += 1

    async def _sleep(self, length_s: float) -> None:
        self.slept_s += length_s
        self.fleet.view.update()
        self.streams.has_settled = self.slept_s >= self.settles_after_s


@pytest.fixture
def server() -> Server:
    return Server()


async def test_without_clients_it_takes_no_longer_than_to_look(server: Server) -> None:
    assert await server.leave() <= 0.05
    assert server.writes == 0


async def test_it_takes_until_the_clients_have_acknowledged(server: Server) -> None:
    server.settles_after_s = 0.5
    assert await server.leave() == pytest.approx(0.5, abs=0.03)


async def test_it_does_not_take_forever(server: Server) -> None:
    server.settles_after_s = 60
    assert await server.leave() == pytest.approx(LONGEST_S)


async def test_clients_of_other_servers_are_given_a_time(server: Server) -> None:
    server.fleet.nodes.take_peers([], frozenset({"this", "another"}))
    assert await server.leave() == pytest.approx(1.5, abs=0.03)
    assert server.writes == 1


async def test_a_server_that_is_alone_over_its_store_gives_nobody_time(server: Server) -> None:
    server.fleet.nodes.take_peers([], frozenset({"this"}))
    assert await server.leave() <= 0.05
