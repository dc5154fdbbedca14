"""A node that is told to stop takes requests until the clients of discovery know that it goes."""

import asyncio

import grpc
import pytest
from grpc import aio
from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment

from tests.config_server.fleet.fleet import assigned
from tests.config_server.state_client import StateClient, state_client, unpacked
from tests.integration.fleet_load import call_once
from tests.support.processes import ConfigServer, Node

ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


async def next_endpoints(client: StateClient, expected: list[str]) -> str:
    """Accepts what is sent until it is as expected. Gives the nonce of that, which is not answered."""
    async with asyncio.timeout(20):
        while True:
            response = await client.receive()
            (assignment,) = unpacked(response, ClusterLoadAssignment)
            if sorted(assigned(assignment)) == sorted(expected):
                return response.nonce
            await client.ack(response, ["janua"])


async def test_a_node_takes_requests_until_clients_know_that_it_goes(
    config_server: ConfigServer, nodes: list[Node]
) -> None:
    leaving, staying = nodes
    async with aio.insecure_channel(config_server.address) as channel, state_client(channel, "client") as client:
        await client.send(ENDPOINTS, ["janua"])
        nonce = await next_endpoints(client, [leaving.grpc, staying.grpc])
        await client.send(ENDPOINTS, ["janua"], nonce=nonce)
        stopping = asyncio.create_task(leaving.stop())
        nonce = await next_endpoints(client, [staying.grpc])
        # Such a client may not have changed its picks yet.
        await call_once(leaving.grpc)
        assert not stopping.done()
        await client.send(ENDPOINTS, ["janua"], nonce=nonce)
        assert await stopping == 0
        with pytest.raises(aio.AioRpcError) as caught:
            await call_once(leaving.grpc)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await call_once(staying.grpc)


async def test_a_node_stops_although_a_client_says_nothing(config_server: ConfigServer, nodes: list[Node]) -> None:
    async with aio.insecure_channel(config_server.address) as channel, state_client(channel, "client") as client:
        await client.send(ENDPOINTS, ["janua"])
        await next_endpoints(client, [node.grpc for node in nodes])
        async with asyncio.timeout(15):
            assert await nodes[0].stop() == 0


async def test_a_node_stops_although_the_config_server_is_gone(config_server: ConfigServer, nodes: list[Node]) -> None:
    await config_server.kill()
    async with asyncio.timeout(15):
        assert await nodes[0].stop() == 0
