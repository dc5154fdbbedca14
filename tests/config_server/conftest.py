"""A running config server for tests that talk to one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.config_server.ads_client import AdsClient, ads_client
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import route, service, upstream


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server with an empty store."""
    async with running_server(tmp_path / "config.db") as running:
        yield running


@pytest.fixture
async def filled(server: RunningServer) -> RunningServer:
    """A server at revision 1: upstream u, service s, routes a and b."""
    await server.apply(upstream("u"), service("s"), route("a"), route("b"))
    return server


@pytest.fixture
async def client(filled: RunningServer) -> AsyncIterator[AdsClient]:
    """A stream to the filled server on which nothing has been asked yet."""
    async with ads_client(filled.channel) as connected:
        yield connected
