"""The client of the config server: what it sends, what it repeats, and how it puts pages together."""

import itertools
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from janua.config.v1.config_service_pb2 import (
    ApplyRequest,
    ApplyResponse,
    DeleteResourceRequest,
    DeleteResourceResponse,
    GetResourceRequest,
    GetResourceResponse,
    ListResourcesRequest,
    ListResourcesResponse,
    NodeRollout,
)
from janua.config.v1.resource_pb2 import KIND_ROUTE, KIND_SECRET, KIND_UPSTREAM, Resource, ResourceKey, StoredResource
from janua.config.v1.route_pb2 import Route
from janua.config.v1.upstream_pb2 import Endpoint, Upstream
from janua_client.backoff import Backoff
from janua_client.changes import deletion, upsert
from janua_client.config_client import ConfigClient
from janua_client.errors import AbortedError, DeadlineExceededError, FailedPreconditionError, UnavailableError
from janua_client.rollout import MAJORITY, RolloutProgress, RolloutVerdict
from janua_client.unary import Retries

from tests.clients.janua_client.scripted_server import rollouts, serving

Context = grpc.aio.ServicerContext[Any, Any]
POOL = Upstream(name="pool", endpoints=[Endpoint(address="127.0.0.1:9001")])


async def no_sleep(seconds: float) -> None:
    pass


IMPATIENT = Retries(attempts=3, sleep=no_sleep)


def stored(name: str) -> StoredResource:
    return StoredResource(resource=Resource(upstream=Upstream(name=name)), etag=f"etag-{name}")


async def test_apply_sends_every_field() -> None:
    received: list[ApplyRequest] = []

    async def apply(request: ApplyRequest, context: Context) -> ApplyResponse:
        received.append(request)
        return ApplyResponse(revision=7)

    changes = [upsert(POOL, etag="e1"), deletion(KIND_ROUTE, "old", etag="e2"), upsert(POOL, must_not_exist=True)]
    async with serving(Apply=apply) as address, ConfigClient(address) as client:
        answer = await client.apply(
            changes,
            validate_only=True,
            set_name="files",
            prune=True,
            prune_kinds=[KIND_SECRET],
            base_revision=0,
            request_id="r1",
            author="me",
        )
    assert answer.revision == 7
    (request,) = received
    assert request == ApplyRequest(
        changes=changes,
        validate_only=True,
        set="files",
        prune=True,
        prune_kinds=[KIND_SECRET],
        base_revision=0,
        request_id="r1",
        author="me",
    )
    assert request.HasField("base_revision")
    assert request.changes[0].upsert.upstream == POOL
    assert request.changes[1].delete == ResourceKey(kind=KIND_ROUTE, name="old")


async def test_apply_makes_a_request_id_and_repeats_it_while_unavailable() -> None:
    received: list[str] = []

    async def apply(request: ApplyRequest, context: Context) -> ApplyResponse:
        received.append(request.request_id)
        if len(received) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        return ApplyResponse(revision=1)

    async with serving(Apply=apply) as address, ConfigClient(address, retries=IMPATIENT) as client:
        await client.apply([upsert(POOL)])
        assert len(received) == 3
        assert len(set(received)) == 1
        assert received[0]
        await client.apply([upsert(POOL)])
    assert received[3] != received[0]


async def test_gives_up_after_the_last_attempt() -> None:
    calls = itertools.count()

    async def apply(request: ApplyRequest, context: Context) -> ApplyResponse:
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"call {next(calls)}")
        raise AssertionError("the call was aborted")

    async with serving(Apply=apply) as address, ConfigClient(address, retries=IMPATIENT) as client:
        with pytest.raises(UnavailableError, match="call 2"):
            await client.apply([upsert(POOL)])
    assert next(calls) == 3


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
async def test_repeats_nothing_but_unavailable(code: grpc.StatusCode) -> None:
    calls = itertools.count()

    async def apply(request: ApplyRequest, context: Context) -> ApplyResponse:
        next(calls)
        await context.abort(code, "no")
        raise AssertionError("the call was aborted")

    async with serving(Apply=apply) as address, ConfigClient(address, retries=IMPATIENT) as client:
        with pytest.raises(Exception, match="no"):
            await client.apply([upsert(POOL)])
    assert next(calls) == 1


async def test_delete_is_not_repeated() -> None:
    calls = itertools.count()

    async def delete(request: DeleteResourceRequest, context: Context) -> DeleteResourceResponse:
        next(calls)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "perhaps done")
        raise AssertionError("the call was aborted")

    async with serving(DeleteResource=delete) as address, ConfigClient(address, retries=IMPATIENT) as client:
        with pytest.raises(UnavailableError):
            await client.delete(KIND_UPSTREAM, "pool")
    assert next(calls) == 1


async def test_delete_sends_key_etag_and_author() -> None:
    async def delete(request: DeleteResourceRequest, context: Context) -> DeleteResourceResponse:
        key = ResourceKey(kind=KIND_UPSTREAM, name="pool")
        assert request == DeleteResourceRequest(key=key, etag="e", author="me")
        return DeleteResourceResponse(revision=4)

    async with serving(DeleteResource=delete) as address, ConfigClient(address) as client:
        assert await client.delete(KIND_UPSTREAM, "pool", etag="e", author="me") == 4


async def test_a_silent_server_meets_the_deadline() -> None:
    async def get(request: GetResourceRequest, context: Context) -> GetResourceResponse:
        assert context.time_remaining() is not None
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"{context.time_remaining():.0f}")
        raise AssertionError("the call was aborted")

    async with serving(GetResource=get) as address, ConfigClient(address, timeout=40) as client:
        with pytest.raises(DeadlineExceededError, match="40"):
            await client.get(KIND_UPSTREAM, "pool")
        with pytest.raises(DeadlineExceededError, match="70"):
            await client.get(KIND_UPSTREAM, "pool", timeout=70)


async def test_no_attempt_starts_after_the_deadline() -> None:
    async def get(request: GetResourceRequest, context: Context) -> GetResourceResponse:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        raise AssertionError("the call was aborted")

    long_waits = Retries(backoff=Backoff(random=lambda: 1e9), sleep=no_sleep)
    async with serving(GetResource=get) as address, ConfigClient(address, retries=long_waits) as client:
        with pytest.raises(UnavailableError):
            await client.get(KIND_UPSTREAM, "pool")


async def test_list_reads_page_after_page_with_the_same_filter() -> None:
    received: list[ListResourcesRequest] = []
    pages = {"": (["a", "b"], "p2"), "p2": (["c"], "p3"), "p3": ([], "")}

    async def list_(request: ListResourcesRequest, context: Context) -> ListResourcesResponse:
        received.append(request)
        names, token = pages[request.page_token]
        return ListResourcesResponse(resources=[stored(name) for name in names], next_page_token=token)

    async with serving(ListResources=list_) as address, ConfigClient(address) as client:
        resources = client.list(KIND_UPSTREAM, labels={"team": "x"}, set_name="files", page_size=2)
        names = [each.resource.upstream.name async for each in resources]
    assert names == ["a", "b", "c"]
    assert [request.page_token for request in received] == ["", "p2", "p3"]
    for request in received:
        request.ClearField("page_token")
        expected = ListResourcesRequest(kind=KIND_UPSTREAM, labels={"team": "x"}, set="files", page_size=2)
        assert request == expected


def pages_of(revisions: Iterator[int]) -> Any:
    async def list_(request: ListResourcesRequest, context: Context) -> ListResourcesResponse:
        first = not request.page_token
        return ListResourcesResponse(
            resources=[stored("a" if first else "b")],
            next_page_token="more" if first else "",
            revision=next(revisions),
        )

    return list_


async def test_snapshot_reads_again_when_the_configuration_changed_between_pages() -> None:
    async with serving(ListResources=pages_of(iter([1, 2, 2, 2]))) as address, ConfigClient(address) as client:
        resources, revision = await client.snapshot()
    assert [each.resource.upstream.name for each in resources] == ["a", "b"]
    assert revision == 2


async def test_snapshot_gives_up_on_a_configuration_that_never_rests() -> None:
    async with serving(ListResources=pages_of(itertools.count())) as address, ConfigClient(address) as client:
        with pytest.raises(AbortedError, match="changes faster"):
            await client.snapshot()


async def test_errors_are_those_of_the_server() -> None:
    async def delete(request: DeleteResourceRequest, context: Context) -> DeleteResourceResponse:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "route chat names it")
        raise AssertionError("the call was aborted")

    async with serving(DeleteResource=delete) as address, ConfigClient(address) as client:
        with pytest.raises(FailedPreconditionError, match="route chat"):
            await client.delete(KIND_UPSTREAM, "pool")


def node(id_: str, state: NodeRollout.State.ValueType, *, connected: bool = True) -> NodeRollout:
    return NodeRollout(node_id=id_, state=state, connected=connected)


async def test_waits_until_all_nodes_have_the_revision() -> None:
    seen: list[RolloutProgress] = []
    script = rollouts(
        [node("a", NodeRollout.STATE_NOT_SENT), node("b", NodeRollout.STATE_SYNCED)],
        [node("a", NodeRollout.STATE_STALE), node("b", NodeRollout.STATE_SYNCED)],
        [node("a", NodeRollout.STATE_SYNCED), node("b", NodeRollout.STATE_SYNCED)],
    )
    async with serving(**script) as address, ConfigClient(address) as client:
        progress = await client.wait_for_rollout(3, connected_at_commit=2, on_progress=seen.append)
    assert progress.verdict is RolloutVerdict.SYNCED
    assert progress.revision == 3
    assert [len(each.synced) for each in seen] == [1, 1, 1, 2]


async def test_a_majority_is_enough_if_that_was_asked() -> None:
    states = (NodeRollout.STATE_SYNCED, NodeRollout.STATE_SYNCED, NodeRollout.STATE_STALE)
    script = rollouts([node(id_, state) for id_, state in zip("abc", states, strict=True)])
    async with serving(**script) as address, ConfigClient(address) as client:
        progress = await client.wait_for_rollout(3, target=MAJORITY)
    assert progress.verdict is RolloutVerdict.SYNCED
    assert [each.node_id for each in progress.missing] == ["c"]


async def test_time_is_over() -> None:
    script = rollouts([node("a", NodeRollout.STATE_STALE), node("b", NodeRollout.STATE_SYNCED)])
    async with serving(**script) as address, ConfigClient(address) as client:
        progress = await client.wait_for_rollout(3, timeout=0.1)
    assert progress.verdict is RolloutVerdict.WAITING
    assert [each.node_id for each in progress.missing] == ["a"]


async def test_a_rejection_ends_the_wait_once_the_other_nodes_have_answered() -> None:
    script = rollouts(
        [node("a", NodeRollout.STATE_ERROR), node("b", NodeRollout.STATE_STALE)],
        [node("a", NodeRollout.STATE_ERROR), node("b", NodeRollout.STATE_ERROR)],
    )
    async with serving(**script) as address, ConfigClient(address) as client:
        progress = await client.wait_for_rollout(3)
    assert progress.verdict is RolloutVerdict.REJECTED
    assert [each.node_id for each in progress.rejecting] == ["a", "b"]


async def test_a_rejection_does_not_wait_for_ever_for_the_others() -> None:
    script = rollouts([node("a", NodeRollout.STATE_ERROR), node("b", NodeRollout.STATE_STALE)])
    async with serving(**script) as address, ConfigClient(address) as client:
        progress = await client.wait_for_rollout(3, timeout=50)
    assert progress.verdict is RolloutVerdict.REJECTED
    assert [each.node_id for each in progress.missing] == ["b"]


async def test_without_nodes_there_is_nothing_to_wait_for() -> None:
    script = rollouts([node("gone", NodeRollout.STATE_NOT_SENT, connected=False)])
    async with serving(**script) as address, ConfigClient(address) as client:
        progress = await client.wait_for_rollout(3)
    assert progress.verdict is RolloutVerdict.NO_NODES
    assert [each.node_id for each in progress.disconnected] == ["gone"]


async def test_a_route_has_its_own_change() -> None:
    assert upsert(Route(name="r")).upsert.route.name == "r"
