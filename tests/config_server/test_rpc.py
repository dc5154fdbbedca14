"""What a client is told when something unexpected happens."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub

from config_server import rpc
from tests.config_server.api.refusals import refused

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub


class Broken:
    """A service whose methods fail with a text that nobody may read."""

    @rpc.answers_once
    async def ListNodes(self, request: pb.ListNodesRequest, context: rpc.Context) -> pb.ListNodesResponse:  # noqa: N802
        raise RuntimeError("password=hunter2")

    @rpc.answers_many
    async def WatchResources(  # noqa: N802
        self, request: pb.WatchResourcesRequest, context: rpc.Context
    ) -> AsyncIterator[pb.WatchResourcesResponse]:
        yield pb.WatchResourcesResponse(revision=1)
        raise RuntimeError("password=hunter2")

    def __getattr__(self, name: str) -> object:
        return self.ListNodes


@pytest.fixture
async def stub() -> AsyncIterator["ConfigServiceAsyncStub"]:
    server = aio.server()
    service = pb.DESCRIPTOR.services_by_name["ConfigService"]
    server.add_generic_rpc_handlers((rpc.service_handler(service, Broken()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ConfigServiceStub(channel)
    await server.stop(None)


async def test_an_unexpected_error_shows_nothing_but_a_reference(
    stub: "ConfigServiceAsyncStub", capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = await refused(stub.ListNodes(pb.ListNodesRequest()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in refusal.text
    reference = refusal.text.split()[-1]
    log = capsys.readouterr().out
    assert reference in log
    assert "hunter2" in log


async def test_also_in_the_middle_of_a_stream(stub: "ConfigServiceAsyncStub") -> None:
    call = stub.WatchResources(pb.WatchResourcesRequest())
    first = await call.read()
    assert isinstance(first, pb.WatchResourcesResponse)
    refusal = await refused(call.read())
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in refusal.text
