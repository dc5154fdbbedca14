"""Canaries: what some nodes are shown, and how they end, over real streams."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.node_service_pb2 import ReportStatusRequest
from janua.config.v1.resource_pb2 import KIND_ROUTE
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryResponse
from janua_resources.kinds import KINDS, ConfigMessage

from tests.config_server.ads_client import AdsClient, ads_client, let_pushes_go, names, versions
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import (
    ROUTE,
    SECRET,
    SERVICE,
    batch,
    consumer,
    delete,
    key,
    proxy_service,
    route,
    secret,
    service,
    upstream,
)
from tests.support.polling import eventually

EDGE = pb.NodeSelector(clusters=["edge"])
RUNNING, PROMOTED, ABORTED = pb.Canary.STATE_RUNNING, pb.Canary.STATE_PROMOTED, pb.Canary.STATE_ABORTED
SYNCED, ERROR = pb.NodeRollout.STATE_SYNCED, pb.NodeRollout.STATE_ERROR


async def propose(
    server: RunningServer, *changes: ConfigMessage | pb.Change, nodes: pb.NodeSelector = EDGE, max_failed: int = 0
) -> pb.ApplyResponse:
    request = batch(*changes)
    request.author, request.message = "bob", "let us see"
    request.canary.CopyFrom(pb.CanaryOptions(nodes=nodes, max_failed_percent=max_failed))
    return await server.apply_request(request)


@asynccontextmanager
async def node(server: RunningServer, node_id: str, cluster: str) -> AsyncIterator[AdsClient]:
    """A node that has asked for everything and has it."""
    async with ads_client(server.channel, node_id, cluster=cluster) as client:
        for info in KINDS:
            await client.ask(info.type_url)
        await client.expect_no_answer()
        yield client


@pytest.fixture
async def canary_node(filled: RunningServer) -> AsyncIterator[AdsClient]:
    async with node(filled, "canary-1", "edge") as client:
        yield client


@pytest.fixture
async def other_node(filled: RunningServer) -> AsyncIterator[AdsClient]:
    async with node(filled, "other-1", "core") as client:
        yield client


async def latest(server: RunningServer) -> pb.GetCanaryResponse:
    return await server.config.GetCanary(pb.GetCanaryRequest())


async def promote(server: RunningServer, revision: int = 0) -> pb.PromoteCanaryResponse:
    return await server.config.PromoteCanary(pb.PromoteCanaryRequest(revision=revision, author="ann"))


async def abort(server: RunningServer, reason: str = "") -> int:
    return (await server.config.AbortCanary(pb.AbortCanaryRequest(author="ann", message=reason))).revision


def ended(server: RunningServer) -> Callable[[], Awaitable[bool]]:
    async def has_ended() -> bool:
        return (await latest(server)).canary.state != RUNNING

    return has_ended


async def descriptions(server: RunningServer) -> dict[str, str]:
    listed = await server.config.ListResources(pb.ListResourcesRequest(kind=KIND_ROUTE))
    return {each.resource.route.name: each.resource.route.description for each in listed.resources}


def route_of(response: DeltaDiscoveryResponse) -> dict[str, str]:
    """The descriptions of the routes in a response."""
    found = {}
    for resource in response.resources:
        message = route("x")
        assert resource.resource.Unpack(message)
        found[resource.name] = message.description
    return found


async def test_only_the_chosen_nodes_are_sent_it(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    answer = await propose(filled, route("a", description="new"))
    assert (answer.revision, answer.connected_nodes) == (2, 1)
    assert [(each.outcome, each.etag) for each in answer.results] == [(pb.ChangeResult.OUTCOME_UPDATED, "")]
    assert route_of(await canary_node.receive_and_ack()) == {"a": "new"}
    await other_node.expect_no_answer()
    assert await descriptions(filled) == {"a": "", "b": ""}
    rollout = await filled.config.GetRollout(pb.GetRolloutRequest(revision=2))
    await canary_node.expect_no_answer()
    rollout = await filled.config.GetRollout(pb.GetRolloutRequest(revision=2))
    assert [(each.node_id, each.state) for each in rollout.nodes] == [("canary-1", SYNCED)]


async def test_a_promotion_sends_nothing_to_those_who_have_it(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    await propose(filled, route("a", description="new"), service("t"), delete("route", "b"))
    tried = [await canary_node.receive_and_ack() for _ in range(3)]
    assert [(each.type_url, names(each), list(each.removed_resources)) for each in tried] == [
        (SERVICE, ["t"], []),
        (ROUTE, ["a"], []),
        (ROUTE, [], ["b"]),
    ]
    answer = await promote(filled)
    assert {(each.key.name, each.outcome) for each in answer.results} == {
        ("a", pb.ChangeResult.OUTCOME_UPDATED),
        ("t", pb.ChangeResult.OUTCOME_CREATED),
        ("b", pb.ChangeResult.OUTCOME_DELETED),
    }
    sent = [await other_node.receive_and_ack() for _ in range(3)]
    assert versions(*sent) == versions(*tried)
    await let_pushes_go(filled)
    # The policy that let the pushes go, and nothing else.
    assert [each.type_url.rpartition(".")[2] for each in [await canary_node.receive_and_ack()]] == ["Policy"]
    await canary_node.expect_no_answer()
    assert await descriptions(filled) == {"a": "new"}
    rollout = await filled.config.GetRollout(pb.GetRolloutRequest(revision=answer.revision))
    assert {each.node_id: each.state for each in rollout.nodes if each.connected} == {
        "canary-1": SYNCED,
        "other-1": SYNCED,
    }
    canary = (await latest(filled)).canary
    assert (canary.state, canary.revision, canary.end_revision) == (PROMOTED, 2, 3)


async def test_after_an_abort_its_nodes_have_what_all_have(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    await propose(filled, route("a", description="new"), route("c"), delete("route", "b"))
    for _ in range(2):
        await canary_node.receive_and_ack()
    assert await abort(filled, "slow") == 3
    assert route_of(await canary_node.receive_and_ack()) == {"a": "", "b": ""}
    assert list((await canary_node.receive_and_ack()).removed_resources) == ["c"]
    await other_node.expect_no_answer()
    canary = (await latest(filled)).canary
    assert (canary.state, canary.end_reason, list(canary.changes)) == (ABORTED, "slow", [])
    revisions = (await filled.config.ListRevisions(pb.ListRevisionsRequest())).revisions
    assert [(each.author, each.message) for each in revisions[:2]] == [
        ("ann", "canary of revision 2 aborted: slow"),
        ("bob", "canary on cluster edge: let us see"),
    ]


async def test_other_writes_wait_until_it_has_ended(filled: RunningServer) -> None:
    await propose(filled, route("a", description="new"))
    calls = (
        filled.apply(consumer("c")),
        filled.config.DeleteResource(pb.DeleteResourceRequest(key=key("route", "a"))),
        filled.config.Rollback(pb.RollbackRequest(to_revision=0)),
        propose(filled, route("b", description="new")),
    )
    for call in calls:
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CANARY_RUNNING")
        assert "revision 2, by bob: promote or abort it first" in refusal.text
    # What writes nothing is answered.
    request = batch(consumer("c"))
    request.validate_only = True
    assert (await filled.apply_request(request)).revision == 2
    assert (await filled.apply(route("a"))).revision == 2
    await abort(filled)
    assert (await filled.apply(consumer("c"))).revision == 4


async def test_a_refusal_of_a_node_ends_it(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    answer = await propose(filled, route("a", description="bad"), route("b", description="good"))
    bad = await canary_node.receive()
    rejection = pb.Rejection(type_url=ROUTE, name="a", reason="INVALID_FIELD", message="cannot be")
    await canary_node.nack(bad, "a: cannot be", [rejection])
    assert route_of(await canary_node.receive_and_ack()) == {"a": "", "b": ""}
    await other_node.expect_no_answer()
    await canary_node.expect_no_answer()
    canary = (await latest(filled)).canary
    assert canary.state == ABORTED
    assert canary.end_reason == "canary-1 refuses route a: cannot be (INVALID_FIELD)"
    # Who waits for it learns that, although the node refuses nothing any more.
    rollout = await filled.config.GetRollout(pb.GetRolloutRequest(revision=answer.revision))
    (told,) = rollout.nodes
    assert (told.state, [each.name for each in told.rejections]) == (ERROR, ["a"])
    again = await propose(filled, route("a", description="better"))
    await canary_node.receive_and_ack()
    await canary_node.expect_no_answer()
    rollout = await filled.config.GetRollout(pb.GetRolloutRequest(revision=again.revision))
    assert [each.state for each in rollout.nodes] == [SYNCED]
    assert (await latest(filled)).canary.state == RUNNING


async def test_a_refusal_of_something_else_does_not(filled: RunningServer, canary_node: AdsClient) -> None:
    await filled.apply(route("b", description="bad"))
    await canary_node.nack(await canary_node.receive())
    await propose(filled, route("a", description="good"))
    await canary_node.receive_and_ack()
    await canary_node.expect_no_answer()
    assert (await latest(filled)).canary.state == RUNNING


async def report(server: RunningServer, node_id: str, requests: int, failed: int) -> None:
    status = pb.NodeStatus(requests=requests, failed_requests=failed)
    await server.nodes.ReportStatus(ReportStatusRequest(node_id=node_id, status=status))


async def test_too_many_failed_requests_end_it(filled: RunningServer, canary_node: AdsClient) -> None:
    await report(filled, "canary-1", 1000, 900)
    await propose(filled, route("a", description="slow"), max_failed=10)
    await canary_node.receive_and_ack()
    requests = 1000

    async def fails() -> bool:
        nonlocal requests
        requests += 5
        await report(filled, "canary-1", requests, 900 + (requests - 1000) // 5)
        return await ended(filled)()

    await eventually(fails)
    canary = (await latest(filled)).canary
    assert canary.state == ABORTED
    assert canary.end_reason.endswith("requests failed on its nodes, more than 10%")
    # What had failed before was not held against it.
    assert int(canary.end_reason.split()[0]) < 100
    assert route_of(await canary_node.receive_and_ack()) == {"a": ""}


async def test_failures_elsewhere_and_few_failures_do_not(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    await propose(filled, route("a", description="good"), max_failed=10)
    await canary_node.receive_and_ack()
    requests = 0

    async def counted() -> bool:
        nonlocal requests
        requests += 20
        await report(filled, "canary-1", requests, requests // 20)
        await report(filled, "other-1", requests, requests)
        return (await latest(filled)).requests >= 100

    await eventually(counted)
    told = await latest(filled)
    assert told.canary.state == RUNNING
    assert told.failed_requests * 20 <= told.requests


async def test_nodes_that_come_later_and_streams_that_are_opened_again(filled: RunningServer) -> None:
    await propose(filled, route("a", description="new"), nodes=pb.NodeSelector(ids=["n-*"]))
    async with ads_client(filled.channel, "n-2") as late:
        assert route_of(await late.ask(ROUTE)) == {"a": "new", "b": ""}
    async with ads_client(filled.channel, "m-2") as other:
        shown = await other.ask(ROUTE)
        assert route_of(shown) == {"a": "", "b": ""}
        # It holds what it held, under another name, and gets the difference.
        async with ads_client(filled.channel, "n-3") as moved:
            assert names(await moved.ask(ROUTE, initial=versions(shown))) == ["a"]


async def test_a_canary_outlives_the_server(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"), service("s"), route("a"))
        await propose(server, route("a", description="new"))
    async with running_server(path) as server:
        assert (await latest(server)).canary.state == RUNNING
        async with ads_client(server.channel, "n", cluster="edge") as client:
            assert route_of(await client.ask(ROUTE)) == {"a": "new"}
            assert (await promote(server, 2)).revision == 3
            await client.expect_no_answer()
        assert await descriptions(server) == {"a": "new"}
    async with running_server(path) as server:
        assert (await latest(server)).canary.state == PROMOTED
        assert await descriptions(server) == {"a": "new"}


async def test_a_secret_is_shown_to_those_alone_whose_services_use_it(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    await filled.apply(secret("unused"))
    await propose(filled, proxy_service("p", secret="unused"))
    assert names(await canary_node.receive_and_ack()) == ["p"]
    assert names(await canary_node.ask(SECRET, subscribe=["unused"])) == ["unused"]
    assert list((await other_node.ask(SECRET, subscribe=["unused"])).removed_resources) == ["unused"]
    await abort(filled)
    assert sorted([*(await canary_node.receive_and_ack()).removed_resources]) == ["p"]
    assert list((await canary_node.receive_and_ack()).removed_resources) == ["unused"]


async def test_keys_reach_all_nodes_meanwhile(
    filled: RunningServer, canary_node: AdsClient, other_node: AdsClient
) -> None:
    await filled.apply(consumer("alice"))
    for client in (canary_node, other_node):
        await client.receive_and_ack()
    await propose(filled, consumer("alice", description="new"))
    tried = await canary_node.receive_and_ack()
    await filled.config.CreateApiKey(pb.CreateApiKeyRequest(consumer="alice"))
    shown = []
    for client in (canary_node, other_node):
        message = consumer("x")
        (resource,) = (await client.receive_and_ack()).resources
        assert resource.resource.Unpack(message)
        shown.append((message.description, len(message.api_keys)))
    assert shown == [("new", 1), ("", 1)]
    assert versions(tried) != {}
    await promote(filled)
    await other_node.receive_and_ack()
    await canary_node.expect_no_answer()


async def test_a_consumer_that_goes_by_a_canary_loses_its_keys_when_it_is_promoted(filled: RunningServer) -> None:
    await filled.apply(consumer("alice"))
    await filled.config.CreateApiKey(pb.CreateApiKeyRequest(consumer="alice"))
    await propose(filled, delete("consumer", "alice"))
    assert len((await filled.config.ListApiKeys(pb.ListApiKeysRequest())).records) == 1
    await promote(filled)
    assert not (await filled.config.ListApiKeys(pb.ListApiKeysRequest())).records


async def test_a_refused_consumer_with_keys_ends_it(filled: RunningServer, canary_node: AdsClient) -> None:
    await filled.apply(consumer("alice"))
    await canary_node.receive_and_ack()
    await filled.config.CreateApiKey(pb.CreateApiKeyRequest(consumer="alice"))
    await canary_node.receive_and_ack()
    await propose(filled, consumer("alice", description="bad"))
    await canary_node.nack(await canary_node.receive())
    await eventually(ended(filled))
    assert (await latest(filled)).canary.end_reason.startswith("canary-1 refuses consumer alice: refused")


async def test_what_a_canary_will_change_is_told(filled: RunningServer) -> None:
    await propose(filled, route("a", description="new"), delete("route", "b"), max_failed=5)
    told = (await latest(filled)).canary
    assert (told.revision, told.author, told.message) == (2, "bob", "let us see")
    assert told.options == pb.CanaryOptions(nodes=EDGE, max_failed_percent=5)
    assert [(each.key.name, each.outcome, each.etag) for each in told.changes] == [
        ("a", pb.ChangeResult.OUTCOME_UPDATED, ""),
        ("b", pb.ChangeResult.OUTCOME_DELETED, ""),
    ]
    assert [each.new_json for each in told.changes[0].diff] == ['"new"']


async def test_what_changes_nothing_begins_nothing(filled: RunningServer) -> None:
    assert (await propose(filled, route("a"))).revision == 1
    refusal = await refused(filled.config.GetCanary(pb.GetCanaryRequest()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "NO_CANARY")


async def test_a_canary_can_be_tried_itself(filled: RunningServer) -> None:
    request = batch(route("a", description="new"))
    request.validate_only = True
    request.canary.nodes.percent = 10
    answer = await filled.apply_request(request)
    assert (answer.revision, answer.results[0].outcome) == (1, pb.ChangeResult.OUTCOME_UPDATED)
    await refused(filled.config.GetCanary(pb.GetCanaryRequest()))


async def test_repeated_requests_are_carried_out_once(filled: RunningServer) -> None:
    request = batch(route("a", description="new"))
    request.request_id = "once"
    request.canary.nodes.percent = 10
    assert await filled.apply_request(request) == await filled.apply_request(request)
    promotion = pb.PromoteCanaryRequest(request_id="twice")
    first = await filled.config.PromoteCanary(promotion)
    assert await filled.config.PromoteCanary(promotion) == first


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (pb.CanaryOptions(), "canary.nodes"),
        (pb.CanaryOptions(nodes=pb.NodeSelector()), "canary.nodes"),
        (pb.CanaryOptions(nodes=pb.NodeSelector(percent=101)), "canary.nodes.percent"),
        (pb.CanaryOptions(nodes=pb.NodeSelector(ids=[""])), "canary.nodes.ids[0]"),
        (pb.CanaryOptions(nodes=EDGE, max_failed_percent=-1), "canary.max_failed_percent"),
    ],
)
async def test_options_that_are_wrong(filled: RunningServer, options: pb.CanaryOptions, path: str) -> None:
    request = batch(route("a", description="new"))
    request.canary.CopyFrom(options)
    refusal = await refused(filled.apply_request(request))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert path in refusal.fields


async def test_secrets_are_not_tried(filled: RunningServer) -> None:
    await filled.apply(secret("key"))
    refusal = await refused(propose(filled, secret("key", env="OTHER"), route("a", description="new")))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"secret key": "SECRET_IN_CANARY"})
    # One that stays as it is may be in the files.
    assert (await propose(filled, secret("key"), route("a", description="new"))).revision == 3


async def test_only_what_runs_can_be_ended(filled: RunningServer) -> None:
    for call in (promote(filled), abort(filled)):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CANARY")
    await propose(filled, route("a", description="new"))
    refusal = await refused(promote(filled, 1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "OTHER_CANARY")
    await promote(filled, 2)
    refusal = await refused(promote(filled, 2))
    assert refusal.reason == "NO_CANARY"


async def test_who_follows_the_configuration_sees_it_once_it_is_written(filled: RunningServer) -> None:
    call = filled.config.WatchResources(pb.WatchResourcesRequest(after_revision=1))
    await propose(filled, route("a", description="new"))
    await promote(filled)
    async with asyncio.timeout(10):
        response = await call.read()
    assert isinstance(response, pb.WatchResourcesResponse)
    assert (response.revision, [each.resource.resource.route.name for each in response.events]) == (3, ["a"])
    call.cancel()
