"""A client of discovery at one of several config servers, and nodes that are connected to another."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import aio

from tests.config_server.state_client import state_client
from tests.integration.configuration import changes, pool
from tests.integration.endpoint_watch import EndpointWatch
from tests.integration.fleet_load import call_once
from tests.integration.replicas import Fleet
from tests.support.polling import eventually
from tests.support.processes import EchoFactory, Node, NodeFactory

pytestmark = pytest.mark.component("postgres")


@pytest.fixture
async def two_nodes(fleet: Fleet, node: NodeFactory, echo_models: EchoFactory) -> list[Node]:
    """Connected to the first server; they know the second."""
    (model,) = await echo_models(1)
    async with fleet.client(0) as client:
        await client.apply(changes(pool([model.address])))
    servers = ",".join(server.address for server in fleet.servers[:2])
    return [await node(servers) for _ in range(2)]


@pytest.fixture
async def endpoints(fleet: Fleet, two_nodes: list[Node]) -> AsyncIterator[EndpointWatch]:
    """What a client hears at the third server. It knows both nodes."""
    async with (
        aio.insecure_channel(fleet.servers[2].address) as channel,
        state_client(channel, "client") as client,
    ):
        watch = EndpointWatch(client)
        await watch.become(*two_nodes)
        await watch.accept()
        yield watch


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_config_server_that_goes_takes_no_node_with_it(
    fleet: Fleet, two_nodes: list[Node], endpoints: EndpointWatch, end: str
) -> None:
    hearing = asyncio.create_task(endpoints.next())
    getattr(fleet.servers[0], end)()
    await fleet.servers[0].process.wait()
    async with fleet.client(1) as client:

        async def are_back() -> bool:
            return sum(node.connected for node in (await client.nodes()).nodes if node.version) == len(two_nodes)

        await eventually(are_back, timeout_s=40)
    # Longer than it takes until the third server hears that they have come to the second.
    await asyncio.wait([hearing], timeout=3)
    assert not hearing.done()
    stopping = asyncio.create_task(two_nodes[0].stop())
    assert await hearing == [two_nodes[1].grpc]
    await endpoints.accept()
    await stopping


async def test_a_drain_is_heard_at_the_other_servers_before_the_node_stops(
    two_nodes: list[Node], endpoints: EndpointWatch
) -> None:
    stopping = asyncio.create_task(two_nodes[0].stop())
    assert await endpoints.next() == [two_nodes[1].grpc]
    await call_once(two_nodes[0].grpc)
    assert not stopping.done()
    await endpoints.accept()
    assert await stopping == 0
