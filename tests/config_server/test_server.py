"""What the server offers beside its own services, and how it goes down."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from janua.config.v1.config_service_pb2 import ListNodesRequest

from tests.config_server.ads_client import ads_client
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import ROUTE, batch, consumer

SERVICES = (
    "janua.config.v1.ConfigService",
    "janua.config.v1.NodeService",
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "envoy.service.status.v3.ClientStatusDiscoveryService",
)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health_stub(server: RunningServer) -> Any:
    """Its published types have no methods."""
    return HealthStub(server.channel)


async def test_all_services_are_healthy(server: RunningServer) -> None:
    health = health_stub(server)
    for service in ("", *SERVICES):
        response = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == SERVING


async def test_reflection_tells_of_all_services(server: RunningServer) -> None:
    stub: Any = ServerReflectionStub(server.channel)  # type: ignore[arg-type]  # its stubs know blocking channels only
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} == listed
    for service in SERVICES:
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
    await call.done_writing()


async def test_a_drain_is_seen_by_health_checks_before_the_streams_end(tmp_path: Path) -> None:
    async with running_server(tmp_path / "config.db", drain_timeout_s=4) as server:
        watch = health_stub(server).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert (await watch.read()).status == SERVING
        async with ads_client(server.channel) as client:
            await client.ask(ROUTE)
            server.stop.set()
            assert (await watch.read()).status == NOT_SERVING
            watch.cancel()
            error = await client.end()
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "going down" in str(error.details())


async def test_a_drain_lets_calls_finish(tmp_path: Path) -> None:
    async with running_server(tmp_path / "config.db", drain_timeout_s=20) as server:
        await server.config.ListNodes(ListNodesRequest())
        large = asyncio.ensure_future(server.config.Apply(batch(*(consumer(f"c{number}") for number in range(5000)))))
        # The call is on its way once the server has answered one that was sent after it.
        await server.config.ListNodes(ListNodesRequest())
        server.stop.set()
        assert (await large).revision == 1
        await server.task


async def test_a_stream_that_says_nothing_holds_no_drain_up(tmp_path: Path) -> None:
    async with running_server(tmp_path / "config.db", drain_timeout_s=30) as server:
        # The server has the stream that says nothing once it has answered on the one opened after it.
        async with ads_client(server.channel, "silent") as silent, ads_client(server.channel, "other") as other:
            await other.ask(ROUTE)
            server.stop.set()
            assert (await silent.end()).code() is grpc.StatusCode.UNAVAILABLE
            assert (await other.end()).code() is grpc.StatusCode.UNAVAILABLE
        # Nothing is left that could hold the server up for the 30 seconds.
        await server.task
