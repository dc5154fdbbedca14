"""A hundred thousand resources: all of them are loaded, listed, watched, changed and brought to a node."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeAlias

import pytest
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.resource_pb2 import StoredResource
from janua_client.config_client import ConfigClient
from janua_resources.kinds import ConfigMessage, kind_of, unwrap

from tests.config_server.worlds import batch, consumer, key, route, service, upstream
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, NodeFactory

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub

ResourceName: TypeAlias = tuple[str, str]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

RESOURCES = 100_000
_PER_APPLY = 10_000
_PAGE = 1000
_SYNC_S = 300.0


async def test_a_hundred_thousand_resources(config_server: ConfigServer, node: NodeFactory) -> None:
    some: list[ConfigMessage] = [upstream("u"), service("s"), *(route(f"r{number}") for number in range(998))]
    made: list[ConfigMessage] = [*some, *(consumer(f"c{number:06}") for number in range(RESOURCES - len(some)))]
    async with aio.insecure_channel(config_server.address) as channel:
        config = ConfigServiceStub(channel)
        for start in range(0, RESOURCES, _PER_APPLY):
            await config.Apply(batch(*made[start : start + _PER_APPLY]))
        await config_server.kill()
    await config_server.restart()
    async with aio.insecure_channel(config_server.address) as channel:
        config = ConfigServiceStub(channel)
        names = {name async for name in _listed(config)}
        assert len(names) == RESOURCES
        assert {name async for name in _watched(config)} == names
    gateway = await node(config_server)
    assert gateway.ready["revision"] == RESOURCES // _PER_APPLY
    async with aio.insecure_channel(config_server.address) as channel:
        config = ConfigServiceStub(channel)
        changed = await config.Apply(batch(consumer("c000007", description="changed")))
        deleted = await config.DeleteResource(pb.DeleteResourceRequest(key=key("consumer", "c000008")))
        assert deleted.revision == changed.revision + 1

    async def has_all() -> bool:
        async with ConfigClient(config_server.address) as client:
            (seen,) = (await client.nodes()).nodes
            acknowledged = {kind.acked_revision for kind in seen.types if kind.type_url.endswith("Consumer")}
            return acknowledged == {deleted.revision} and not any(kind.rejections for kind in seen.types)

    await eventually(has_all, timeout_s=_SYNC_S)


async def _listed(config: "ConfigServiceAsyncStub") -> AsyncIterator[ResourceName]:
    request = pb.ListResourcesRequest(page_size=_PAGE)
    while True:
        page = await config.ListResources(request)
        for stored in page.resources:
            yield _name(stored)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


async def _watched(config: "ConfigServiceAsyncStub") -> AsyncIterator[ResourceName]:
    """What a watch from nothing brings in its first list."""
    call = config.WatchResources(pb.WatchResourcesRequest())
    async for response in call:
        for event in response.events:
            if event.type == pb.ResourceEvent.TYPE_BOOKMARK:
                call.cancel()
                return
            yield _name(event.resource)


def _name(stored: StoredResource) -> ResourceName:
    message = unwrap(stored.resource)
    return kind_of(message).field, message.name
