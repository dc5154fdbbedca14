"""Nodes as endpoints: what clients of both variants get, and when a draining node hears that it is none any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from janua.config.v1.node_service_pb2 import ReportStatusRequest
from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment

from config_server.fleet.departures import LONGEST_S
from config_server.fleet.envoy_types import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from tests.config_server.ads_client import AdsClient, ads_client, names
from tests.config_server.fleet.fleet import assigned, status
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.state_client import StateClient, state_client, unpacked
from tests.config_server.worlds import ROUTE

A, B = "10.0.0.1:8081", "10.0.0.2:8081"


@asynccontextmanager
async def gateway(server: RunningServer, node_id: str, grpc: str) -> AsyncIterator[AdsClient]:
    """A node with a stream, which has reported that it serves."""
    async with ads_client(server.channel, node_id, version="1.0") as client:
        await client.ask(ROUTE)
        await report(server, node_id, grpc)
        yield client


async def report(server: RunningServer, node_id: str, grpc: str, *, draining: bool = False) -> None:
    request = ReportStatusRequest(node_id=node_id, status=status(grpc, draining=draining))
    await server.nodes.ReportStatus(request)


@pytest.fixture
async def grpc_client(server: RunningServer) -> AsyncIterator[StateClient]:
    """What a client of gRPC asks for, one after the other; it acknowledges all but the endpoints."""
    async with gateway(server, "a", A), state_client(server.channel, "client") as client:
        for type_url in (LISTENERS, ROUTES, CLUSTERS):
            response = await client.ask(type_url, ["janua"])
            assert [resource.type_url for resource in response.resources] == [type_url]
        await client.send(ENDPOINTS, ["janua"])
        yield client


async def endpoints_become(client: StateClient, expected: list[str]) -> None:
    """A report is taken in a moment after it is made: what is sent first may be from before."""
    async with asyncio.timeout(10):
        while True:
            response = await client.receive()
            await client.ack(response, ["janua"])
            (assignment,) = unpacked(response, ClusterLoadAssignment)
            if assigned(assignment) == expected:
                return


async def delta_endpoints_become(client: AdsClient, expected: list[str]) -> None:
    async with asyncio.timeout(10):
        while True:
            (resource,) = (await client.receive_and_ack()).resources
            if assigned(ClusterLoadAssignment.FromString(resource.resource.value)) == expected:
                return


async def test_a_state_of_the_world_client_follows_the_nodes(server: RunningServer, grpc_client: StateClient) -> None:
    await endpoints_become(grpc_client, [A])
    async with gateway(server, "b", B):
        await endpoints_become(grpc_client, [A, B])
    await endpoints_become(grpc_client, [A])


async def test_a_delta_client_follows_the_nodes(server: RunningServer) -> None:
    async with gateway(server, "a", A), ads_client(server.channel, "envoy") as client:
        assert names(await client.ask(CLUSTERS)) == ["janua"]
        await client.send(ENDPOINTS, subscribe=["janua"])
        await delta_endpoints_become(client, [A])
        async with gateway(server, "b", B):
            await delta_endpoints_become(client, [A, B])


async def test_listeners_are_for_those_who_name_them(server: RunningServer) -> None:
    async with ads_client(server.channel, "envoy") as delta, state_client(server.channel, "old-envoy") as state:
        assert names(await delta.ask(LISTENERS)) == []
        assert len((await state.ask(LISTENERS)).resources) == 0
        assert names(await delta.ask(LISTENERS, subscribe=["janua"])) == ["janua"]


async def test_a_draining_node_is_answered_once_every_client_knows(
    server: RunningServer, grpc_client: StateClient
) -> None:
    await endpoints_become(grpc_client, [A])
    leaving = asyncio.create_task(report(server, "a", A, draining=True))
    response = await grpc_client.receive()
    (assignment,) = unpacked(response, ClusterLoadAssignment)
    assert assigned(assignment) == []
    assert not leaving.done()
    await grpc_client.ack(response, ["janua"])
    async with asyncio.timeout(LONGEST_S / 2):
        await leaving


async def test_a_draining_node_waits_for_nobody_who_does_not_ask_for_nodes(server: RunningServer) -> None:
    async with gateway(server, "a", A), ads_client(server.channel, "other") as other:
        await other.send(ROUTE)
        await other.receive()  # and never acknowledges it
        async with asyncio.timeout(LONGEST_S / 2):
            await report(server, "a", A, draining=True)


async def test_a_client_that_says_nothing_holds_a_draining_node_up_for_two_seconds(
    server: RunningServer, grpc_client: StateClient
) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await report(server, "a", A, draining=True)
    assert loop.time() - begin >= LONGEST_S


async def test_a_client_is_not_told_of_nodes_that_a_restarted_server_has_not_heard_of_yet(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server, gateway(server, "a", A):
        pass
    async with running_server(path) as server, AsyncExitStack() as stack:
        state = await stack.enter_async_context(state_client(server.channel, "client"))
        delta = await stack.enter_async_context(ads_client(server.channel, "envoy"))
        await state.send(ENDPOINTS, ["janua"])
        await delta.send(ENDPOINTS, subscribe=["janua"])
        await state.expect_no_answer()
        await delta.expect_no_answer()
        await stack.enter_async_context(gateway(server, "a", A))
        await endpoints_become(state, [A])
        assert names(await delta.receive()) == ["janua"]
