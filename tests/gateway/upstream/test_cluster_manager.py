"""All pools of a node: a change touches what it changes, what runs may end, and nothing is left running or open."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from gateway.config.upstream import EndpointState, HttpProbe, UpstreamConfig
from gateway.upstream import cluster_manager
from gateway.upstream.answer import StreamAnswer
from gateway.upstream.cluster import Cluster
from gateway.upstream.cluster_manager import ClusterManager
from tests.gateway.upstream.calls import (
    CHECK,
    EVENTS,
    STREAM,
    THERE,
    attempt,
    chat_request,
    endpoint_config,
    turns,
    until,
    upstream_config,
)
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream


class OpenConnections:
    """A server that answers everything with 200 and knows how many connections are open."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.requests = 0
        self.changed = asyncio.Condition()
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._change(1)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await self._change(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        await self._change(-1)

    async def _change(self, by: int) -> None:
        async with self.changed:
            self.count += by
            self.total += max(by, 0)
            self.changed.notify_all()

    async def until(self, *, count: int | None = None, requests: int = 0) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: (count is None or self.count == count) and self.requests >= requests)


@pytest.fixture
async def server() -> AsyncIterator[OpenConnections]:
    connections = OpenConnections()
    listening = await asyncio.start_server(connections.serve, "127.0.0.1", 0)
    connections.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield connections
    listening.close()
    await connections.until(count=0)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retired pools are closed without the second of grace."""
    monkeypatch.setattr(cluster_manager, "_RETIRE_GRACE_S", 0.0)


@asynccontextmanager
async def running(manager: ClusterManager) -> AsyncIterator[ClusterManager]:
    """Runs the manager; afterwards nothing of it is left."""
    task = asyncio.create_task(manager.run())
    await turns()
    try:
        yield manager
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert [each for each in asyncio.all_tasks() if is_of_the_manager(each)] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


def is_of_the_manager(task: asyncio.Task[object]) -> bool:
    return getattr(task.get_coro(), "__qualname__", "").startswith(("ClusterManager.", "HealthChecker."))


def manager_of(*upstreams: UpstreamConfig) -> ClusterManager:
    manager = ClusterManager(random=Random(1))
    manager.reconcile(upstreams)
    return manager


async def ask(cluster: Cluster) -> None:
    url = cluster.endpoints[0].url("/")
    answer = await cluster.connections.http.send("GET", url, headers=[], body=None, connect_timeout_s=5)
    await answer.read_all(100)
    answer.close()


def checkers() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("health check")}


def checker_names() -> list[str]:
    return sorted(task.get_name() for task in checkers() if not task.cancelling())


async def test_clusters_are_as_configured() -> None:
    async with running(manager_of(upstream_config("e0", name="a"), upstream_config("e1", name="b"))) as manager:
        assert manager.clusters.keys() == {"a", "b"}
        manager.reconcile([upstream_config("e1", name="b"), upstream_config("e2", name="c")])
        assert manager.clusters.keys() == {"b", "c"}
        manager.reconcile([])
        assert manager.clusters == {}


async def test_prepared_clusters_come_into_use_as_they_are_configured_then() -> None:
    kept, changed, unwanted = (upstream_config("e1", name=name) for name in ("kept", "changed", "unwanted"))
    async with running(manager_of(upstream_config("e0", name="a"))) as manager:
        before = manager.clusters["a"]
        made = [len(manager.clusters) for _ in manager.prepare([before.config, kept, changed, unwanted])]
        assert made == [1, 1, 1]
        prepared = dict(manager._prepared)
        manager.reconcile([before.config, kept, replace(changed, connect_timeout_s=9)])
        assert manager.clusters.keys() == {"a", "kept", "changed"}
        assert manager.clusters["a"] is before
        assert manager.clusters["kept"] is prepared["kept"]
        assert manager.clusters["changed"].config.connect_timeout_s == 9
        assert manager._retired == {prepared["changed"].connections, prepared["unwanted"].connections}


async def test_what_did_not_change_is_the_same(server: OpenConnections) -> None:
    configs = [upstream_config(server.address, name=name, health_checks=[CHECK]) for name in ("a", "b", "c")]
    async with running(manager_of(*configs)) as manager:
        await server.until(requests=3)
        before = dict(manager.clusters)
        connections = {name: cluster.connections for name, cluster in before.items()}
        tasks = checkers()
        manager.reconcile([replace(configs[0]), replace(configs[1], connect_timeout_s=9), configs[2]])
        await turns()
        assert all(manager.clusters[name] is before[name] for name in "abc")
        assert all(manager.clusters[name].connections is connections[name] for name in "abc")
        assert checkers() == tasks
        assert (server.count, server.requests) == (3, 3)


async def test_request_of_a_removed_pool_runs_to_its_end(faulty_upstream: FaultyUpstream) -> None:
    permits = asyncio.Semaphore(1)
    place = until(STREAM, THERE)
    faulty_upstream.script = scripts.stepped([STREAM[:place], STREAM[place:]], permits)
    async with running(manager_of(upstream_config(faulty_upstream.address))) as manager:
        cluster = manager.clusters["pool"]
        answer = await attempt(cluster, cluster.endpoints[0], chat_request(stream=True))
        assert isinstance(answer, StreamAnswer)
        manager.reconcile([])
        await turns()
        permits.release()
        received = answer.first
        while data := await answer.rest.read():
            received += data
        assert received == b"".join(EVENTS)
        answer.rest.close()


async def test_connections_of_a_removed_pool_are_closed(server: OpenConnections) -> None:
    async with running(manager_of(upstream_config(server.address, health_checks=[CHECK]))) as manager:
        await server.until(count=1, requests=1)
        manager.reconcile([])
        await server.until(count=0)


async def test_connections_whose_settings_change_are_replaced(server: OpenConnections) -> None:
    config = upstream_config(server.address, health_checks=[CHECK])
    async with running(manager_of(config)) as manager:
        await server.until(count=1, requests=1)
        cluster = manager.clusters["pool"]
        manager.reconcile([replace(config, idle_timeout_s=5)])
        assert manager.clusters["pool"] is cluster
        await server.until(count=0)
        await ask(cluster)
        assert server.count == 1


async def test_retired_before_the_manager_runs_is_closed_in_the_end(server: OpenConnections) -> None:
    manager = manager_of(upstream_config(server.address))
    await ask(manager.clusters["pool"])
    manager.reconcile([])
    async with running(manager):
        assert server.count == 1
    await server.until(count=0)


async def test_end_closes_all_connections(server: OpenConnections) -> None:
    names = ("a", "b")
    configs = [upstream_config(server.address, name=name, health_checks=[CHECK]) for name in names]
    async with running(manager_of(*configs)):
        await server.until(count=2, requests=2)
    await server.until(count=0)


async def test_end_cancels_the_wait_for_a_request_that_does_not_end(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.stall(STREAM, until(STREAM, THERE))
    async with running(manager_of(upstream_config(faulty_upstream.address))) as manager:
        cluster = manager.clusters["pool"]
        answer = await attempt(cluster, cluster.endpoints[0], chat_request(stream=True))
        assert isinstance(answer, StreamAnswer)
        manager.reconcile([])
        await turns()
    answer.rest.close()


# Checks.


async def test_checks_begin_when_the_manager_runs(server: OpenConnections) -> None:
    manager = manager_of(upstream_config(server.address, health_checks=[CHECK]))
    await turns()
    assert checkers() == set()
    async with running(manager):
        await server.until(requests=1)
        assert len(checkers()) == 1


async def test_every_endpoint_has_every_check_unless_it_is_disabled(server: OpenConnections) -> None:
    states = {"e0": EndpointState.ACTIVE, "e1": EndpointState.DRAINING, "e2": EndpointState.DISABLED}
    config = replace(
        upstream_config(health_checks=[CHECK, replace(CHECK, probe=HttpProbe(path="/deep"))]),
        endpoints=tuple(
            endpoint_config(f"127.0.0.1:{number}", state=state) for number, state in enumerate(states.values(), 1)
        ),
    )
    async with running(manager_of(config)):
        assert checker_names() == ["health check pool 127.0.0.1:1"] * 2 + ["health check pool 127.0.0.1:2"] * 2


async def test_checkers_change_only_where_something_changed(server: OpenConnections) -> None:
    first, second = f"{server.address}", server.address.replace("127.0.0.1", "localhost")
    config = upstream_config(first, second, health_checks=[CHECK])
    async with running(manager_of(config)) as manager:
        await server.until(requests=2)
        before = checkers()

        manager.reconcile([replace(config, endpoints=config.endpoints[:1])])
        await turns()
        (kept,) = checkers()
        assert kept in before

        manager.reconcile([replace(config, endpoints=config.endpoints[:1], connect_timeout_s=9)])
        await turns()
        assert checkers() == {kept}

        changed = replace(
            config, endpoints=config.endpoints[:1], health_checks=(replace(CHECK, probe=HttpProbe(path="/other")),)
        )
        manager.reconcile([changed])
        await server.until(requests=3)
        (fresh,) = checkers()
        assert fresh is not kept
        assert kept.cancelled()

        manager.reconcile([replace(changed, health_checks=())])
        await turns()
        assert checkers() == set()


async def test_changes_of_health_are_told_and_reported(faulty_upstream: FaultyUpstream) -> None:
    changes = asyncio.Queue[None]()
    faulty_upstream.health_status = 500
    manager = ClusterManager(random=Random(1), on_health_change=lambda: changes.put_nowait(None))
    manager.reconcile([upstream_config(faulty_upstream.address, health_checks=[CHECK])])
    async with running(manager):
        await changes.get()
        (report,) = manager.report()
        assert (report.upstream, report.address) == ("pool", faulty_upstream.address)
        assert (report.healthy, report.reason) == (False, "GET /health: status 500")
        assert report.active_requests == 0
        assert report.since.tzinfo is not None
    assert changes.empty()


async def test_report_names_every_endpoint() -> None:
    manager = manager_of(upstream_config("e0", "e1", name="a"), upstream_config("e0", name="b"))
    async with running(manager):
        manager.clusters["a"].endpoints[1].active_requests = 3
        assert [(each.upstream, each.address, each.active_requests) for each in manager.report()] == [
            ("a", "e0", 0),
            ("a", "e1", 3),
            ("b", "e0", 0),
        ]
        assert {each.reason for each in manager.report()} == {"no health checks configured"}
