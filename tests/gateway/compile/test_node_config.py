"""The configuration of a running node: when it is published, what waits and how long, and who is told of what."""

import asyncio
from collections.abc import Collection, Iterator, Mapping

import pytest

from gateway.compile.node_config import ConfigListener, NodeConfig
from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config.resources import POLICY, ROUTE, SECRET, SERVICE, UPSTREAM, Rejection
from gateway.config.snapshot import Snapshot
from tests.gateway.compile.resources import (
    ENVIRON,
    names,
    policy,
    proxy,
    resource,
    route,
    secret,
    service,
    unresolved,
    upstream,
)
from tests.support.polling import eventually

NEVER_S = 3600.0
SOON_S = 0.05


class Node:
    """A configuration and what it has told."""

    def __init__(self, *, reference_timeout_s: float = NEVER_S, environ: Mapping[str, str] = ENVIRON) -> None:
        self.snapshots: list[Snapshot] = []
        self.recovered: list[tuple[str, list[str]]] = []
        self.secret_names: list[set[str]] = []
        self.listener = ConfigListener(
            prepare=lambda _: (),
            on_snapshot=self._on_snapshot,
            on_secret_names=lambda: self.secret_names.append(set(self.config.secret_names())),
            on_recovered=self._on_recovered,
        )
        self.table = ResourceTable(SecretReader(environ=environ))
        self.config = NodeConfig(self.table, self.listener, reference_timeout_s=reference_timeout_s)

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        assert unresolved(snapshot) == []
        self.snapshots.append(snapshot)

    def _on_recovered(self, type_url: str, recovered: Collection[str]) -> None:
        self.recovered.append((type_url, sorted(recovered)))


@pytest.fixture
async def node() -> Node:
    """A node that has had its first sync, of nothing."""
    node = Node()
    node.config.synced("e", 1)
    assert [names(snapshot) for snapshot in node.snapshots] == [{}]
    return node


def told(rejections: Collection[Rejection]) -> list[tuple[str, str]]:
    return [(each.name, each.reason) for each in rejections]


# Publishing.


async def test_nothing_is_published_before_the_first_sync() -> None:
    node = Node()
    starting = asyncio.create_task(node.config.wait_until_started())
    await node.config.update(UPSTREAM, "5", [upstream("u")], [])
    await node.config.update(SERVICE, "6", [service("v")], [])
    await asyncio.sleep(0)
    assert node.snapshots == []
    assert not node.config.is_started
    assert not starting.done()
    node.config.synced("epoch-1", 7)
    await starting
    assert node.config.is_started
    assert [names(snapshot) for snapshot in node.snapshots] == [{"upstreams": ["u"], "services": ["v"]}]
    assert (node.config.epoch, node.config.revision) == ("epoch-1", 7)


async def test_every_change_is_published_at_once(node: Node) -> None:
    await node.config.update(UPSTREAM, "2", [upstream("u")], [])
    await node.config.update(SERVICE, "3", [service("v")], [])
    await node.config.update(SERVICE, "4", [], ["v"])
    assert [names(snapshot) for snapshot in node.snapshots[1:]] == [
        {"upstreams": ["u"]},
        {"upstreams": ["u"], "services": ["v"]},
        {"upstreams": ["u"]},
    ]


async def test_large_update_lets_others_have_their_turn_and_is_published_as_one(node: Node) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    await node.config.update(UPSTREAM, "2", [upstream(f"u{number}") for number in range(1000)], [])
    others.cancel()
    assert turns > 3
    assert [len(snapshot.upstreams) for snapshot in node.snapshots[1:]] == [1000]


async def test_publishing_is_a_turn_of_its_own() -> None:
    node = Node()
    node.config.synced("e", 1)
    turns: list[int] = []

    def prepare(_: Snapshot) -> Iterator[None]:
        asyncio.get_running_loop().call_soon(lambda: turns.append(len(node.snapshots)))
        yield

    node.listener.prepare = prepare
    await node.config.update(UPSTREAM, "2", [upstream("u")], [])
    assert turns == [1]
    assert len(node.snapshots) == 2


async def test_update_of_another_kind_publishes_no_part_of_a_large_one(node: Node) -> None:
    await asyncio.gather(
        node.config.update(UPSTREAM, "2", [upstream(f"u{number}") for number in range(1000)], []),
        node.config.update(POLICY, "2", [policy("keys")], []),
    )
    assert {len(snapshot.upstreams) for snapshot in node.snapshots[1:]} == {1000}


async def test_kind_that_has_not_changed_is_the_same_mapping_again(node: Node) -> None:
    await node.config.update(UPSTREAM, "2", [upstream("u")], [])
    await node.config.update(SERVICE, "3", [service("v")], [])
    before, after = node.snapshots[-2:]
    assert after.upstreams is before.upstreams
    assert after.services is not before.services


async def test_what_changes_nothing_publishes_nothing(node: Node) -> None:
    await node.config.update(UPSTREAM, "2", [upstream("u")], [])
    before = len(node.snapshots)
    await node.config.update(UPSTREAM, "3", [upstream("u")], ["other"])
    await node.config.update(UPSTREAM, "4", [upstream("u", "no port")], [])
    node.config.retry_secrets()
    node.config.synced("e", 4)
    assert len(node.snapshots) == before


async def test_first_sync_of_nothing_is_published_too() -> None:
    node = Node()
    node.config.synced("e", 0)
    assert [names(snapshot) for snapshot in node.snapshots] == [{}]
    assert node.config.is_started


@pytest.mark.parametrize(
    ("revisions", "revision"), [(["2", "3"], 3), (["7", "3"], 7), (["", "x", "-1", "9.5"], 1), (["2", ""], 2)]
)
async def test_revision_is_the_highest_seen(node: Node, revisions: list[str], revision: int) -> None:
    for each in revisions:
        await node.config.update(UPSTREAM, each, [], [])
    assert node.config.revision == revision


# References.


async def test_update_waits_for_what_it_names(node: Node) -> None:
    routes = asyncio.create_task(node.config.update(ROUTE, "2", [route("r", "v", ["p"])], []))
    services = asyncio.create_task(node.config.update(SERVICE, "2", [service("v")], []))
    await node.config.update(POLICY, "2", [policy("p")], [])
    await asyncio.sleep(0)
    assert not routes.done()
    assert not services.done()
    await node.config.update(UPSTREAM, "2", [upstream("u")], [])
    assert await routes == await services == []
    assert names(node.snapshots[-1])["routes"] == ["r"]


async def test_update_of_which_a_part_waits_is_in_use_otherwise(node: Node) -> None:
    await node.config.update(UPSTREAM, "2", [upstream("u")], [])
    waiting = asyncio.create_task(node.config.update(SERVICE, "3", [service("v"), service("w", "later")], []))

    async def is_published() -> bool:
        return names(node.snapshots[-1]).get("services") == ["v"]

    await eventually(is_published)
    assert not waiting.done()
    await node.config.update(UPSTREAM, "4", [upstream("later")], [])
    assert await waiting == []


async def test_update_does_not_wait_for_ever() -> None:
    node = Node(reference_timeout_s=SOON_S)
    node.config.synced("e", 1)
    rejections = await node.config.update(SERVICE, "2", [service("v"), proxy("w")], [])
    assert told(rejections) == [("v", "UNRESOLVED_REFERENCE"), ("w", "UNRESOLVED_REFERENCE")]
    assert [each.field for each in rejections] == ["upstream_service.upstream", "proxy_service.credentials[0].secret"]
    assert [each.version for each in rejections] == [service("v").version, proxy("w").version]


async def test_what_was_refused_comes_into_use_later_and_that_is_told_once() -> None:
    node = Node(reference_timeout_s=SOON_S)
    node.config.synced("e", 1)
    await node.config.update(SERVICE, "2", [service("v"), service("w")], [])
    assert node.recovered == []
    await node.config.update(UPSTREAM, "3", [upstream("u")], [])
    assert node.recovered == [(SERVICE, ["v", "w"])]
    assert names(node.snapshots[-1])["services"] == ["v", "w"]
    await node.config.update(UPSTREAM, "4", [upstream("x")], [])
    assert len(node.recovered) == 1


async def test_bad_resources_are_refused_without_waiting(node: Node) -> None:
    rejections = await node.config.update(
        UPSTREAM, "2", [upstream("a", "no port"), upstream("b"), resource("upstream", "c", endpoints=[{}])], []
    )
    assert told(rejections) == [("a", "INVALID_FIELD"), ("c", "INVALID_FIELD")]
    assert names(node.snapshots[-1]) == {"upstreams": ["b"]}


async def test_service_that_may_not_have_its_secret_is_refused_without_waiting(node: Node) -> None:
    services = asyncio.create_task(node.config.update(SERVICE, "2", [proxy("v", base_url="https://evil.example")], []))
    await asyncio.sleep(0)
    await node.config.update(SECRET, "2", [secret("s")], [])
    assert told(await services) == [("v", "SECRET_HOST_NOT_ALLOWED")]


async def test_version_that_stops_waiting_ends_the_wait_of_the_update_before(node: Node) -> None:
    waiting = asyncio.create_task(node.config.update(SERVICE, "2", [service("v", "nowhere")], []))
    await asyncio.sleep(0)
    node.table.update(SERVICE, (), ["v"])
    await node.config.update(UPSTREAM, "3", [upstream("u")], [])
    assert await waiting == []


# Secrets.


async def test_secret_names_are_told_before_the_wait_for_them(node: Node) -> None:
    waiting = asyncio.create_task(node.config.update(SERVICE, "2", [proxy("v", "s")], []))
    await asyncio.sleep(0)
    assert node.secret_names[-1] == {"s"}
    await node.config.update(SECRET, "2", [secret("s")], [])
    assert await waiting == []


async def test_secrets_that_are_read_again_are_published() -> None:
    environ = {"KEY": "sk-1"}
    node = Node(environ=environ)
    node.config.load("", 0, [secret("s"), proxy("v")])
    environ["KEY"] = "sk-2"
    node.config.retry_secrets()
    assert [snapshot.secrets["s"].value.reveal() for snapshot in node.snapshots] == ["sk-1", "sk-2"]


# Whole configurations.

WORLD = [route("r"), service("v"), upstream("u"), policy("p")]


def test_whole_configuration_is_published_at_once() -> None:
    node = Node()
    assert node.config.load("epoch-1", 7, WORLD) == []
    assert (node.config.epoch, node.config.revision, node.config.is_started) == ("epoch-1", 7, True)
    assert [names(snapshot) for snapshot in node.snapshots] == [
        {"upstreams": ["u"], "policies": ["p"], "services": ["v"], "routes": ["r"]}
    ]


def test_whole_configuration_replaces_the_one_before() -> None:
    node = Node()
    node.config.load("", 0, WORLD)
    assert node.config.load("", 0, [upstream("u"), upstream("w"), service("v", "w")]) == []
    assert names(node.snapshots[-1]) == {"upstreams": ["u", "w"], "services": ["v"]}
    assert len(node.snapshots) == 2


def test_configuration_with_gaps_is_used_as_far_as_it_goes() -> None:
    node = Node()
    rejections = node.config.load("", 0, [*WORLD, route("lost", "nowhere"), secret("s", "NOT_SET")])
    assert told(rejections) == [("s", "SECRET_UNREADABLE"), ("lost", "UNRESOLVED_REFERENCE")]
    assert names(node.snapshots[-1])["routes"] == ["r"]


def test_what_was_refused_is_forgotten_when_it_is_left_out() -> None:
    node = Node()
    node.config.load("", 0, [*WORLD, route("lost", "nowhere"), secret("s", "NOT_SET")])
    assert node.config.load("", 0, WORLD) == []


async def test_server_goes_on_from_what_was_loaded() -> None:
    node = Node()
    node.config.load("e", 7, WORLD)
    assert node.config.held_versions(UPSTREAM) == {"u": upstream("u").version}
    await node.config.update(ROUTE, "8", [], ["r"])
    node.config.synced("e", 8)
    assert "routes" not in names(node.snapshots[-1])
