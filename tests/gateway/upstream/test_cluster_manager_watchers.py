"""Names are looked up and ejections ended for as long as the configuration says so."""

import asyncio
from dataclasses import replace

import pytest

from gateway.config.upstream import OutlierConfig, UpstreamConfig
from gateway.upstream.cluster import Cluster
from gateway.upstream.outlier_detection import Outcome
from tests.gateway.upstream.calls import turns
from tests.gateway.upstream.clusters import at, picked, pool
from tests.gateway.upstream.managers import managing, slow_server, watchers
from tests.support.polling import eventually

QUICK = OutlierConfig(consecutive_5xx=1, base_ejection_time_s=0.05, max_ejection_time_s=0.05, interval_s=0.05)
LONG = replace(QUICK, base_ejection_time_s=1000, max_ejection_time_s=1000)


def eject(cluster: Cluster) -> None:
    cluster.outliers.record(cluster.endpoints[0], Outcome.SERVER_ERROR)
    assert cluster.outliers.is_ejected(cluster.endpoints[0])


# Names.


def names(*addresses: str, refresh_s: float | None = 3600.0, name: str = "pool") -> UpstreamConfig:
    endpoints = [at(address) for address in addresses]
    return pool(*endpoints, name=name, dns_refresh_s=refresh_s, health_checks=())


async def test_a_name_is_looked_up_and_called_by_its_name() -> None:
    changes = asyncio.Event()
    async with slow_server() as server:
        address = f"localhost:{server.port}"
        async with managing(names(address), on_health_change=changes.set) as manager:
            cluster = manager.clusters["pool"]
            async with asyncio.timeout(10):
                await changes.wait()
            assert f"127.0.0.1:{server.port}" in {report.address for report in manager.report()}
            endpoint = next(each for each in cluster.endpoints if each.address.startswith("127.0.0.1:"))
            server.permits.release()
            server.permits.release()
            headers = [("host", endpoint.authority or "")]
            answer = await cluster.connections.http.send(
                "GET", endpoint.url("/"), headers=headers, body=None, connect_timeout_s=10
            )
            assert await answer.read_all(100) == b"firstlast"
            answer.close()
            assert server.hosts == [address]


async def test_names_are_watched_and_addresses_are_not() -> None:
    async with managing(names("localhost:1", "127.0.0.1:2", "[::1]:3")):
        assert watchers() == ["resolver pool localhost:1"]


async def test_watching_ends_with_the_name_and_with_the_pool() -> None:
    config = names("localhost:1", "localhost:2")
    async with managing(config, replace(config, name="other")) as manager:
        manager.reconcile([replace(config, endpoints=config.endpoints[:1])])
        assert watchers() == ["resolver pool localhost:1"]
        manager.reconcile([replace(config, endpoints=config.endpoints[:1], dns_refresh_s=None)])
        assert watchers() == []
        assert [endpoint.address for endpoint in manager.clusters["pool"].endpoints] == ["localhost:1"]
        manager.reconcile([])
        assert watchers() == []


@pytest.mark.parametrize(
    "change", [{"connect_timeout_s": 9.0}, {"dns_refresh_s": 7.0}, {"max_connections_per_endpoint": 3}]
)
async def test_what_was_found_stays_over_changes(change: dict[str, float]) -> None:
    found = asyncio.Event()
    config = names("localhost:1")
    async with managing(config, on_health_change=found.set) as manager:
        async with asyncio.timeout(10):
            await found.wait()
        before = manager.clusters["pool"].endpoints
        manager.reconcile([replace(config, **change)])  # type: ignore[arg-type]  # any field
        assert before
        assert manager.clusters["pool"].endpoints == before
        assert watchers() == ["resolver pool localhost:1"]


# Ejections.


def detecting(detection: OutlierConfig | None) -> UpstreamConfig:
    return pool(at("a"), at("b"), outlier_detection=detection, health_checks=())


async def test_an_ejection_ends_by_itself_and_both_are_told() -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async with managing(detecting(QUICK), on_health_change=changed) as manager:
        cluster = manager.clusters["pool"]
        assert len(watchers()) == 1
        eject(cluster)
        assert changes == 1
        assert picked(cluster) == {"b": 100}
        assert [report.healthy for report in manager.report()] == [False, True]

        async def is_back() -> bool:
            return not cluster.outliers.is_ejected(cluster.endpoints[0])

        await eventually(is_back)
        assert changes == 2
        assert picked(cluster) == {"a": 50, "b": 50}
        assert [report.ejections for report in manager.report()] == [1, 0]


async def test_turning_detection_off_ends_ejections_and_turning_it_on_begins_anew() -> None:
    async with managing(detecting(LONG)) as manager:
        cluster = manager.clusters["pool"]
        eject(cluster)
        manager.reconcile([detecting(None)])
        assert watchers() == []
        assert picked(cluster) == {"a": 50, "b": 50}
        manager.reconcile([detecting(LONG)])
        await turns(5)
        assert len(watchers()) == 1
        assert picked(cluster) == {"a": 50, "b": 50}
        eject(cluster)


async def test_other_times_do_not_restart_the_timer() -> None:
    async with managing(detecting(LONG)) as manager:
        before = {task for task in asyncio.all_tasks() if task.get_name().startswith("ejections ")}
        eject(manager.clusters["pool"])
        manager.reconcile([detecting(replace(LONG, consecutive_5xx=7))])
        assert {task for task in asyncio.all_tasks() if task.get_name().startswith("ejections ")} == before
        assert picked(manager.clusters["pool"]) == {"b": 100}
