"""A node that is told to stop takes requests until the clients of discovery know that it goes."""

import asyncio

import grpc
import pytest
from grpc import aio

from tests.config_server.state_client import state_client
from tests.integration.endpoint_watch import EndpointWatch
from tests.integration.fleet_load import call_once
from tests.support.processes import ConfigServer, Node


async def test_a_node_takes_requests_until_clients_know_that_it_goes(
    config_server: ConfigServer, nodes: list[Node]
) -> None:
    leaving, staying = nodes
    async with aio.insecure_channel(config_server.address) as channel, state_client(channel, "client") as client:
        endpoints = EndpointWatch(client)
        await endpoints.become(leaving, staying)
        stopping = asyncio.create_task(leaving.stop())
        await endpoints.become(staying)
        # Such a client may not have changed its picks yet.
        await call_once(leaving.grpc)
        assert not stopping.done()
        await endpoints.accept()
        assert await stopping == 0
        with pytest.raises(aio.AioRpcError) as caught:
            await call_once(leaving.grpc)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await call_once(staying.grpc)


async def test_a_node_stops_although_a_client_says_nothing(config_server: ConfigServer, nodes: list[Node]) -> None:
    async with aio.insecure_channel(config_server.address) as channel, state_client(channel, "client") as client:
        await EndpointWatch(client).become(*nodes)
        async with asyncio.timeout(15):
            assert await nodes[0].stop() == 0


async def test_a_node_stops_although_the_config_server_is_gone(config_server: ConfigServer, nodes: list[Node]) -> None:
    await config_server.kill()
    async with asyncio.timeout(15):
        assert await nodes[0].stop() == 0
