"""WatchRollout and WatchNodes: the whole first, then what is new, from nodes on real streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.node_service_pb2 import ReportStatusRequest
from janua_client.config_client import ConfigClient
from janua_resources.kinds import KINDS

from config_server.node_changes import NodeChanges
from tests.config_server.ads_client import AdsClient, ads_client
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import route, service, upstream

SYNCED, STALE = pb.NodeRollout.STATE_SYNCED, pb.NodeRollout.STATE_STALE
_TIMEOUT_S = 10.0


async def subscribe_to_all(client: AdsClient) -> None:
    for info in KINDS:
        await client.ask(info.type_url)
    await client.expect_no_answer()


@asynccontextmanager
async def watching(call: Any) -> AsyncIterator[Any]:
    try:
        yield call
    finally:
        call.cancel()


async def until(call: Any, state: int) -> list[pb.WatchRolloutResponse]:
    """What comes until a node is in this state."""
    found = []
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            found.append(await call.read())
            if any(node.state == state for node in found[-1].nodes):
                return found


async def test_a_rollout_is_followed_from_node_to_node(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    applied = await filled.apply(route("a", description="changed"))
    async with watching(filled.config.WatchRollout(pb.WatchRolloutRequest(revision=applied.revision))) as call:
        response = await client.receive()
        await until(call, STALE)
        await client.ack(response)
        news = await until(call, SYNCED)
        assert {each.revision for each in news} == {2}
        assert all(each.complete for each in news)
        async with ads_client(filled.channel, "late") as late:
            await subscribe_to_all(late)
            (*_, last) = await until(call, SYNCED)
            # Only that of which something is new.
            assert [node.node_id for node in last.nodes] == ["late"]


async def test_nothing_is_told_twice(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    async with watching(filled.config.WatchRollout(pb.WatchRolloutRequest(revision=1))) as call:
        await until(call, SYNCED)
        # Reports change the node, but not how far it has come.
        for _ in range(3):
            await filled.nodes.ReportStatus(ReportStatusRequest(node_id="node-1", status=pb.NodeStatus()))
        async with ads_client(filled.channel, "other") as other:
            await subscribe_to_all(other)
            news = await until(call, SYNCED)
    assert {node.node_id for each in news for node in each.nodes} == {"other"}


async def test_the_newest_revision_is_followed(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    async with watching(filled.config.WatchRollout(pb.WatchRolloutRequest())) as call:
        (first,) = await until(call, SYNCED)
        assert first.revision == 1
        await filled.apply(route("a", description="changed"))
        await client.receive_and_ack()
        news = await until(call, SYNCED)
    assert news[-1].revision == 2


async def test_without_nodes_the_first_list_is_empty(server: RunningServer) -> None:
    async with watching(server.config.WatchRollout(pb.WatchRolloutRequest())) as call:
        assert await call.read() == pb.WatchRolloutResponse(complete=True)
        await server.apply(upstream("u"), service("s"))
        assert await call.read() == pb.WatchRolloutResponse(revision=1, complete=True)


async def test_a_rollout_of_what_was_never_made(filled: RunningServer) -> None:
    call = filled.config.WatchRollout(pb.WatchRolloutRequest(revision=9))
    refusal = await refused(call.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "REVISION_NOT_FOUND")


@pytest.mark.parametrize("method", ["WatchRollout", "WatchNodes"])
async def test_a_server_that_goes_down_ends_the_stream(tmp_path: Path, method: str) -> None:
    async with running_server(tmp_path / "config.db") as server:
        call = getattr(server.config, method)(getattr(pb, f"{method}Request")())
        await call.read()
        server.stop.set()
        refusal = await refused(call.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_nodes_are_followed_by_a_client(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    async with ConfigClient(filled.address) as reader, aclosing(reader.watch_nodes()) as states:
        async with asyncio.timeout(_TIMEOUT_S):
            first = await anext(states)
            assert [(node.id, node.connected, node.replica) for node in first.nodes] == [("node-1", True, "replica-a")]
            status = pb.NodeStatus(active_requests=7)
            await filled.nodes.ReportStatus(ReportStatusRequest(node_id="node-1", status=status))
            assert (await anext(states)).nodes[0].status == status
            async with ads_client(filled.channel, "b"):
                pass
            await client.close()
            async for state in states:
                if not any(node.connected for node in state.nodes):
                    break


async def test_pages_of_many_nodes_are_one_state(filled: RunningServer) -> None:
    """Nodes that have much to say do not fit into one response."""
    status = pb.NodeStatus(endpoints=[pb.EndpointStatus(upstream="u", reason="x" * 200_000)])
    clients = [ads_client(filled.channel, f"n-{number:02}") for number in range(12)]
    for connected in clients:
        await subscribe_to_all(await connected.__aenter__())
    for number in range(12):
        await filled.nodes.ReportStatus(ReportStatusRequest(node_id=f"n-{number:02}", status=status))
    async with watching(filled.config.WatchNodes(pb.WatchNodesRequest())) as call:
        pages = [await call.read()]
        while not pages[-1].complete:
            pages.append(await call.read())
    assert len(pages) > 2
    assert [node.id for page in pages for node in page.nodes] == [f"n-{number:02}" for number in range(12)]
    for connected in clients:
        await connected.__aexit__(None, None, None)


def test_changes_are_read_at_any_pace() -> None:
    changes = NodeChanges()
    for node_id in "abc":
        changes.changed(node_id)
    seen = changes.number
    assert changes.since(0) == {"a", "b", "c"}
    assert changes.since(seen) == set()
    changes.changed("a")
    changes.changed("a")
    changes.changed("b")
    assert changes.since(seen) == {"a", "b"}
    changes.forgotten("a")
    assert changes.since(seen) == {"b"}
    assert changes.number == seen + 4
