"""GetRollout, ListNodes and ReportStatus against nodes on real streams."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1.config_service_pb2 import (
    EndpointStatus,
    GetRolloutRequest,
    GetRolloutResponse,
    ListNodesRequest,
    NodeAddresses,
    NodeRollout,
    NodeStatus,
    Rejection,
)
from janua.config.v1.node_service_pb2 import ReportStatusRequest
from janua.config.v1.upstream_pb2 import Endpoint
from janua_resources.kinds import KINDS

from tests.config_server.ads_client import AdsClient, ads_client, versions
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import (
    ROUTE,
    SECRET,
    SERVICE,
    UPSTREAM,
    consumer,
    delete,
    policy,
    proxy_service,
    route,
    secret,
    service,
    upstream,
)

SYNCED, STALE = NodeRollout.STATE_SYNCED, NodeRollout.STATE_STALE
NOT_SENT, ERROR = NodeRollout.STATE_NOT_SENT, NodeRollout.STATE_ERROR


async def subscribe_to_all(client: AdsClient) -> None:
    for info in KINDS:
        await client.ask(info.type_url)


async def states(server: RunningServer, revision: int = 0) -> dict[str, NodeRollout.State.ValueType]:
    response = await server.config.GetRollout(GetRolloutRequest(revision=revision))
    return {node.node_id: node.state for node in response.nodes}


async def test_a_rollout_goes_from_stale_to_synced(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    await client.expect_no_answer()
    assert await states(filled) == {"node-1": SYNCED}
    await filled.apply(route("a", description="changed"))
    response = await client.receive()
    assert await states(filled) == {"node-1": STALE}
    assert await states(filled, 1) == {"node-1": SYNCED}
    await client.ack(response)
    await client.expect_no_answer()
    assert await states(filled) == {"node-1": SYNCED}


async def test_a_refused_resource_is_an_error_with_its_reason(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    await filled.apply(route("a", description="bad"), route("b", description="good"))
    response = await client.receive()
    rejection = Rejection(
        type_url=ROUTE, name="a", version=versions(response)["a"], reason="INVALID_FIELD", message="cannot be"
    )
    await client.nack(response, "a: cannot be", [rejection])
    await client.expect_no_answer()
    rollout = await filled.config.GetRollout(GetRolloutRequest())
    (node,) = rollout.nodes
    assert node.connect_time.seconds
    node.ClearField("connect_time")
    assert node == NodeRollout(
        node_id="node-1",
        state=ERROR,
        acked_revision=1,
        rejections=[rejection],
        connected=True,
        replica="replica-a",
    )
    await filled.apply(route("a", description="better"))
    await client.receive_and_ack()
    await client.expect_no_answer()
    assert await states(filled) == {"node-1": SYNCED}
    # Something newer than what it refused has been accepted.
    assert await states(filled, 2) == {"node-1": SYNCED}


async def test_what_is_not_asked_for_any_more_is_not_refused(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(secret("k"), proxy_service("p", secret="k"))
    await client.send(SECRET, subscribe=["k"])
    await client.nack(await client.receive())
    await client.expect_no_answer()
    assert len((await filled.config.ListNodes(ListNodesRequest())).nodes[0].types[0].rejections) == 1
    await client.send(SECRET, unsubscribe=["k"])
    await client.expect_no_answer()
    assert not (await filled.config.ListNodes(ListNodesRequest())).nodes[0].types[0].rejections


async def test_only_what_changed_in_the_revision_counts(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    await filled.apply(route("a", description="bad"))
    await client.nack(await client.receive())
    await filled.apply(consumer("c"))
    await client.receive_and_ack()
    await client.expect_no_answer()
    assert await states(filled, 2) == {"node-1": ERROR}
    assert await states(filled, 3) == {"node-1": SYNCED}


async def test_a_deletion_is_rolled_out_too(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    await filled.apply(delete("route", "a"))
    response = await client.receive()
    assert await states(filled) == {"node-1": STALE}
    await client.ack(response)
    await client.expect_no_answer()
    assert await states(filled) == {"node-1": SYNCED}


async def test_a_node_that_is_not_connected_has_not_been_sent_it(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "gone") as client:
        await subscribe_to_all(client)
        await client.expect_no_answer()
        await client.close()
    await filled.apply(route("a", description="changed"))
    rollout = await filled.config.GetRollout(GetRolloutRequest())
    assert [(node.state, node.acked_revision, node.connected) for node in rollout.nodes] == [(NOT_SENT, 1, False)]


async def test_a_node_in_its_first_sync_is_stale(filled: RunningServer, client: AdsClient) -> None:
    await client.send(UPSTREAM)
    await client.receive()
    await client.send(ROUTE)
    await client.receive()
    assert await states(filled) == {"node-1": STALE}


async def test_a_client_of_other_types_holds_nothing_up(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "envoy") as client:
        await client.ask("type.googleapis.com/envoy.config.cluster.v3.Cluster")
        await client.expect_no_answer()
        assert await states(filled) == {"envoy": SYNCED}


async def test_nodes_are_listed_by_id(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "b") as b, ads_client(filled.channel, "a") as a:
        await a.ask(ROUTE)
        await b.ask(ROUTE)
        assert list(await states(filled)) == ["a", "b"]


async def test_a_revision_that_was_never_made(filled: RunningServer) -> None:
    refusal = await refused(filled.config.GetRollout(GetRolloutRequest(revision=2)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "REVISION_NOT_FOUND")
    refusal = await refused(filled.config.GetRollout(GetRolloutRequest(revision=-1)))
    assert list(refusal.fields) == ["revision"]


async def test_the_rollout_of_an_empty_store(server: RunningServer) -> None:
    assert await server.config.GetRollout(GetRolloutRequest()) == GetRolloutResponse()


async def test_every_node_is_listed_with_what_it_said(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "n", cluster="edge") as client:
        await client.ask(ROUTE)
        await client.ask(SERVICE)
        await client.expect_no_answer()
        listed = await filled.config.ListNodes(ListNodesRequest())
    (node,) = listed.nodes
    assert listed.revision == 1
    assert (node.id, node.cluster, node.connected) == ("n", "edge", True)
    assert node.connect_time.seconds
    assert node.last_seen_time.ToNanoseconds() >= node.connect_time.ToNanoseconds()
    assert {kept.type_url: kept.acked_revision for kept in node.types if kept.type_url in (ROUTE, SERVICE)} == {
        ROUTE: 1,
        SERVICE: 1,
    }
    assert not node.HasField("status")


async def test_nodes_are_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"), service("s"), route("a"))
        async with ads_client(server.channel, "n", cluster="edge") as client:
            await client.ask(ROUTE)
            await client.expect_no_answer()
    async with running_server(path) as server:
        (node,) = (await server.config.ListNodes(ListNodesRequest())).nodes
        assert (node.id, node.cluster, node.connected) == ("n", "edge", False)
        assert node.types[0].acked_revision == 1


async def test_a_report_is_shown(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    status = NodeStatus(
        addresses=NodeAddresses(http="127.0.0.1:8080"),
        draining=True,
        active_requests=3,
        endpoints=[
            EndpointStatus(upstream="u", address="127.0.0.1:9001", healthy=False, reason="refused"),
            EndpointStatus(
                upstream="u",
                address="127.0.0.1:9002",
                active_requests=2,
                latency=Duration(nanos=12_345_000),
                ejections=3,
                ejected_until=Timestamp(seconds=1_893_484_800),
                state=Endpoint.STATE_DRAINING,
                priority=1,
            ),
        ],
    )
    await filled.nodes.ReportStatus(ReportStatusRequest(node_id="node-1", status=status))
    (node,) = (await filled.config.ListNodes(ListNodesRequest())).nodes
    assert node.status == status


async def test_a_report_of_an_unknown_node(filled: RunningServer) -> None:
    request = ReportStatusRequest(node_id="nobody", status=NodeStatus())
    refusal = await refused(filled.nodes.ReportStatus(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND")


async def test_a_report_that_is_too_large(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    status = NodeStatus(endpoints=[EndpointStatus(reason="x" * 1000) for _ in range(300)])
    refusal = await refused(filled.nodes.ReportStatus(ReportStatusRequest(node_id="node-1", status=status)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STATUS_TOO_LARGE")


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ReportStatusRequest(status=NodeStatus()), "node_id"),
        (ReportStatusRequest(node_id="x" * 254, status=NodeStatus()), "node_id"),
        (ReportStatusRequest(node_id="n"), "status"),
    ],
)
async def test_a_report_that_is_wrong(filled: RunningServer, request_: ReportStatusRequest, path: str) -> None:
    refusal = await refused(filled.nodes.ReportStatus(request_))
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [path])


async def test_an_apply_and_its_rollout_of_all_kinds(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    response = await filled.apply(policy("p"), consumer("c"), upstream("v"), service("t"), route("d", policies=["p"]))
    for _ in range(5):
        assert (await states(filled, response.revision)) in ({"node-1": STALE}, {"node-1": NOT_SENT})
        await client.receive_and_ack()
    await client.expect_no_answer()
    assert await states(filled, response.revision) == {"node-1": SYNCED}
