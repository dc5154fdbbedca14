"""A config server whose clock is set by an hour, back or forward: nothing that it does rests on the time of day, but
what it writes down."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1 import node_service_pb2

from tests.config_server.ads_client import ads_client, names
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.stored import NOW
from tests.config_server.worlds import ROUTE, batch, consumer, key, route, service, upstream

HOUR = timedelta(hours=1)


class Clock:
    """That of the machine, which the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("config_server.bootstrap._now", clock)
    return clock


@pytest.fixture
async def server(tmp_path: Path, clock: Clock) -> AsyncIterator[RunningServer]:
    """With a first revision, made at `NOW`."""
    async with running_server(tmp_path / "config.db") as running:
        await running.apply(upstream("u"), service("s"), route("a"), consumer("c"))
        yield running


both_ways = pytest.mark.parametrize("by", [-HOUR, HOUR], ids=["back", "forward"])


@both_ways
async def test_revisions_are_in_the_order_in_which_they_were_made(
    server: RunningServer, clock: Clock, by: timedelta
) -> None:
    first = (await server.config.ListRevisions(pb.ListRevisionsRequest())).revisions[0]
    watch = server.config.WatchResources(pb.WatchResourcesRequest(after_revision=1, after_time=first.create_time))
    clock.now += by
    await server.apply(route("a", description="changed"))
    revisions = (await server.config.ListRevisions(pb.ListRevisionsRequest())).revisions
    assert [each.revision for each in revisions] == [2, 1]
    assert [each.create_time.ToDatetime(UTC) for each in revisions] == [NOW + by, NOW]
    seen = await watch.read()
    assert isinstance(seen, pb.WatchResourcesResponse)
    assert (seen.revision, seen.revision_time.ToDatetime(UTC)) == (2, NOW + by)
    watch.cancel()
    # Resumed after the one that was seen last, by its number and its time.
    await server.apply(route("a"))
    watch = server.config.WatchResources(pb.WatchResourcesRequest(after_revision=2, after_time=seen.revision_time))
    seen = await watch.read()
    assert isinstance(seen, pb.WatchResourcesResponse)
    assert seen.revision == 3
    watch.cancel()
    await server.config.Rollback(pb.RollbackRequest(to_revision=2))
    found = await server.config.GetResource(pb.GetResourceRequest(key=key("route", "a")))
    assert found.resource.resource.route.description == "changed"


@both_ways
async def test_a_retry_is_still_known(server: RunningServer, clock: Clock, by: timedelta) -> None:
    request = batch(route("b"))
    request.request_id = "once"
    first = await server.apply_request(request)
    clock.now += by
    assert await server.apply_request(request) == first
    request.message = "another request"
    assert (await refused(server.apply_request(request))).code is grpc.StatusCode.ALREADY_EXISTS


@both_ways
async def test_a_node_stays_connected_and_is_sent_what_changes(
    server: RunningServer, clock: Clock, by: timedelta
) -> None:
    async with ads_client(server.channel, node_id="n") as client:
        await client.ask(ROUTE)
        clock.now += by
        await server.nodes.ReportStatus(node_service_pb2.ReportStatusRequest(node_id="n", status=pb.NodeStatus()))
        await server.apply(route("a", description="changed"))
        assert names(await client.receive_and_ack()) == ["a"]
        (node,) = (await server.config.ListNodes(pb.ListNodesRequest())).nodes
        assert (node.connected, node.last_seen_time.ToDatetime(UTC)) == (True, NOW + by)
        # A second stream is the newer one, whatever the clock said when the first was opened.
        async with ads_client(server.channel, node_id="n", version="2") as newer:
            await newer.ask(ROUTE)
            (node,) = (await server.config.ListNodes(pb.ListNodesRequest())).nodes
            assert node.version == "2"


async def test_when_a_key_expires_is_a_time_of_day(server: RunningServer, clock: Clock) -> None:
    request = pb.CreateApiKeyRequest(consumer="c")
    request.expires.FromDatetime(NOW + HOUR / 2)
    made = await server.config.CreateApiKey(request)
    clock.now += HOUR
    refusal = await refused(server.config.CreateApiKey(request))
    assert refusal.texts == {"expires": "has passed already"}
    # It is nodes that turn it away, and they go by their own clocks: for a server it is there until it is revoked.
    listed = (await server.config.ListApiKeys(pb.ListApiKeysRequest(consumer="c"))).records
    assert [record.id for record in listed] == [made.record.id]
