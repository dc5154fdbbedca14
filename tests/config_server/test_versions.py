"""A store that a newer version has written to: what this one does not know is carried along, never acted on or lost."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.node_service_pb2 import ReportStatusRequest
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.resource_pb2 import Kind
from janua.config.v1.route_pb2 import Route

from config_server.catch_up import update_of
from config_server.resources import Key, Operation, StoredChange, StoredEntry, digest_of
from config_server.store.base import Commit
from config_server.store.sqlite import open_sqlite
from tests.config_server.ads_client import ads_client
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.stored import NOW, cache_of, stored
from tests.config_server.worlds import POLICY, ROUTE, batch, key, route, service, upstream

_NEW_FIELD = b"\xc2\x3e\x03new"  # field 1000
_NEW_KIND = Kind.ValueType(7)
_NEWER_ROUTE = route("newer").SerializeToString(deterministic=True) + _NEW_FIELD
_NEWER_POLICY = Policy(name="newer").SerializeToString(deterministic=True) + _NEW_FIELD


def entry(body: bytes, like: StoredEntry) -> StoredEntry:
    return replace(like, body=body, digest=digest_of(body))


# As a newer server would have stored them: a field, a rule of a policy and a kind that this version does not know.
KNOWN = (stored(upstream("u"), set_name="files"), stored(service("s")), stored(route("a")))
NEWER = (
    entry(_NEWER_ROUTE, stored(route("newer"))),
    entry(_NEWER_POLICY, stored(Policy(name="newer"))),
    replace(entry(b"what this is is not known", stored(upstream("x"), set_name="files")), key=Key(_NEW_KIND, "x")),
)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with all of these at revision 2."""
    path = tmp_path / "config.db"
    async with open_sqlite(f"sqlite:///{path}") as store:
        for base, entries in enumerate((KNOWN, NEWER)):
            changes = [StoredChange(operation=Operation.ADDED, entry=each) for each in entries]
            await store.commit(Commit(base_revision=base, changes=changes, author="", time=NOW))
    return path


@pytest.fixture
async def older(path: Path) -> AsyncIterator[RunningServer]:
    """This version, over that store. What it does not know must be as it was at the end."""
    async with running_server(path) as server:
        yield server
    async with open_sqlite(f"sqlite:///{path}") as store:
        world = await store.load()
        assert [world.entries[each.key] for each in NEWER] == list(NEWER)
        assert {each.key for each in NEWER} <= (await store.entries_at(world.revision)).keys()


async def test_what_is_known_can_be_changed(older: RunningServer) -> None:
    assert (await older.apply(upstream("u", description="changed"), route("b"))).revision == 3
    assert (await older.config.DeleteResource(pb.DeleteResourceRequest(key=key("route", "a")))).revision == 4


async def test_reads_show_fields_that_are_not_known(older: RunningServer) -> None:
    got = await older.config.GetResource(pb.GetResourceRequest(key=key("route", "newer")))
    assert got.resource.resource.route.SerializeToString(deterministic=True) == _NEWER_ROUTE
    names = [
        each.resource.WhichOneof("kind")
        for each in (await older.config.ListResources(pb.ListResourcesRequest())).resources
    ]
    assert names == ["service", "upstream", "route", "route", "policy"]


async def test_a_watch_goes_on_past_what_is_not_known(older: RunningServer) -> None:
    watch = older.config.WatchResources(pb.WatchResourcesRequest(after_revision=1))
    seen = await watch.read()
    assert isinstance(seen, pb.WatchResourcesResponse)
    assert {event.resource.resource.WhichOneof("kind") for event in seen.events} == {"route", "policy"}
    await older.apply(route("b"))
    seen = await watch.read()
    assert isinstance(seen, pb.WatchResourcesResponse)
    assert seen.revision == 3
    watch.cancel()


async def test_nodes_get_the_bytes_as_they_were_stored(older: RunningServer) -> None:
    async with ads_client(older.channel) as client:
        sent = {each.name: each.resource.value for each in (await client.ask(ROUTE)).resources}
        assert sent["newer"] == _NEWER_ROUTE
        sent = {each.name: each.resource.value for each in (await client.ask(POLICY)).resources}
        assert sent["newer"] == _NEWER_POLICY


async def test_a_prune_spares_what_is_not_known(older: RunningServer) -> None:
    request = batch(upstream("v"))
    request.set, request.prune = "files", True
    refusal = await refused(older.apply_request(request))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    request = batch(upstream("u"))
    request.set, request.prune = "files", True
    assert len((await older.apply_request(request)).results) == 1


async def test_a_rollback_leaves_what_is_not_known_alone(older: RunningServer) -> None:
    await older.apply(upstream("u", description="changed"))
    back = await older.config.Rollback(pb.RollbackRequest(undo_revision=3))
    assert [result.key.name for result in back.results] == ["u"]
    differences = await older.config.DiffRevisions(pb.DiffRevisionsRequest(from_revision=1, to_revision=2))
    assert {change.key.name for change in differences.changes} == {"newer"}
    rollout = await older.config.GetRollout(pb.GetRolloutRequest(revision=2))
    assert rollout.revision == 2


async def test_a_change_of_what_is_not_known_in_full_is_refused(older: RunningServer) -> None:
    newer = Route.FromString(_NEWER_ROUTE)
    newer.description = "changed here"
    refusal = await refused(older.apply(newer))
    assert refusal.fields == {"changes[0].upsert.route": "UNKNOWN_FIELD"}


async def test_a_kind_that_is_not_known_cannot_be_asked_for(older: RunningServer) -> None:
    listed = older.config.ListResources(pb.ListResourcesRequest(kind=_NEW_KIND))
    assert (await refused(listed)).code is grpc.StatusCode.INVALID_ARGUMENT
    watch = older.config.WatchResources(pb.WatchResourcesRequest(kind=_NEW_KIND))
    assert (await refused(watch.read())).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_a_newer_node_says_of_itself_is_told_in_full(older: RunningServer) -> None:
    status = pb.NodeStatus(ready=True)
    status.MergeFromString(_NEW_FIELD)
    async with ads_client(older.channel) as client:
        await client.ask(ROUTE)
        await older.nodes.ReportStatus(ReportStatusRequest(node_id="node-1", status=status))
        (node,) = (await older.config.ListNodes(pb.ListNodesRequest())).nodes
    assert node.status.SerializeToString() == status.SerializeToString()


def test_what_a_newer_server_writes_beside_this_one() -> None:
    cache = cache_of(upstream("u"))
    unknown = NEWER[2]
    cache.apply(update_of(2, [StoredChange(operation=Operation.ADDED, entry=unknown)]))
    assert cache.records == {unknown.key: unknown}
    cache.apply(update_of(3, [StoredChange(operation=Operation.DELETED, entry=unknown)]))
    assert cache.records == {}
    assert str(unknown.key) == "kind 7 x"
