"""Host names as endpoints: every address that is found is one, and keeps the name's own way of being called."""

from dataclasses import replace

import pytest

from gateway.config.upstream import EndpointConfig, EndpointState, OutlierConfig, TlsConfig, UpstreamConfig
from gateway.upstream.cluster import Cluster
from gateway.upstream.outlier_detection import Outcome
from tests.gateway.upstream.clusters import at, live, mark, named, picked, pool

BOX = "box.example:8080"


def names(*endpoints: EndpointConfig, refresh_s: float | None = 30.0, **fields: object) -> UpstreamConfig:
    return pool(*endpoints, dns_refresh_s=refresh_s, **fields)


def addresses(cluster: Cluster) -> list[str]:
    return [endpoint.address for endpoint in cluster.endpoints]


async def test_a_name_is_nobody_until_something_is_found_for_it() -> None:
    async with live(names(at(BOX))) as cluster:
        assert cluster.endpoints == ()
        assert cluster.pick() is None
        assert not cluster.is_live


async def test_every_address_that_is_found_is_an_endpoint() -> None:
    async with live(names(at(BOX, weight=3))) as cluster:
        cluster.set_addresses(BOX, ("10.0.0.1", "2001:db8::1"))
        assert addresses(cluster) == ["10.0.0.1:8080", "[2001:db8::1]:8080"]
        assert [str(endpoint.url("/v1/x")) for endpoint in cluster.endpoints] == [
            "http://10.0.0.1:8080/v1/x",
            "http://[2001:db8::1]:8080/v1/x",
        ]
        assert [endpoint.authority for endpoint in cluster.endpoints] == [BOX, BOX]
        assert [endpoint.weight for endpoint in cluster.endpoints] == [3, 3]
        assert picked(cluster) == {"10.0.0.1:8080": 50, "[2001:db8::1]:8080": 50}


async def test_addresses_that_come_and_go_leave_the_state_of_the_others_alone() -> None:
    config = names(at(BOX), outlier_detection=OutlierConfig(consecutive_5xx=1))
    async with live(config) as cluster:
        cluster.set_addresses(BOX, ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
        kept = named(cluster, "10.0.0.2:8080")
        kept.active_requests = 4
        mark(cluster, kept.address)
        cluster.outliers.record(kept, Outcome.SERVER_ERROR)
        cluster.set_addresses(BOX, ("10.0.0.2", "10.0.0.4"))
        assert addresses(cluster) == ["10.0.0.2:8080", "10.0.0.4:8080"]
        assert named(cluster, "10.0.0.2:8080") is kept
        assert (kept.active_requests, kept.is_healthy, cluster.outliers.is_ejected(kept)) == (4, False, True)
        assert picked(cluster) == {"10.0.0.4:8080": 100}


async def test_only_changes_are_told() -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async with live(names(at(BOX))) as cluster:
        cluster._on_change = changed
        for found in (("10.0.0.1",), ("10.0.0.1",), ("10.0.0.2",)):
            cluster.set_addresses(BOX, found)
        assert changes == 2


async def test_what_was_found_stays_in_use_while_the_configuration_changes() -> None:
    async with live(names(at(BOX))) as cluster:
        cluster.set_addresses(BOX, ("10.0.0.1",))
        (kept,) = cluster.endpoints
        cluster.reconfigure(names(at(BOX, weight=2, priority=1), at("10.9.9.9:1"), refresh_s=5.0))
        assert addresses(cluster) == ["10.0.0.1:8080", "10.9.9.9:1"]
        assert named(cluster, "10.0.0.1:8080") is kept
        assert (kept.weight, kept.config.priority) == (2, 1)


async def test_without_resolving_a_name_is_one_endpoint_and_with_it_again_what_was_found() -> None:
    async with live(names(at(BOX))) as cluster:
        cluster.set_addresses(BOX, ("10.0.0.1", "10.0.0.2"))
        cluster.reconfigure(names(at(BOX), refresh_s=None))
        assert addresses(cluster) == [BOX]
        assert (cluster.endpoints[0].authority, cluster.endpoints[0].connect_address) == (None, BOX)


async def test_addresses_need_no_resolving() -> None:
    async with live(names(at("127.0.0.1:1"), at("[::1]:2"))) as cluster:
        assert addresses(cluster) == ["127.0.0.1:1", "[::1]:2"]


async def test_names_are_drained_with_all_that_was_found_for_them() -> None:
    async with live(names(at(BOX), at("other.example:1"))) as cluster:
        cluster.set_addresses(BOX, ("10.0.0.1", "10.0.0.2"))
        cluster.set_addresses("other.example:1", ("10.0.0.3",))
        cluster.reconfigure(names(at(BOX, state=EndpointState.DRAINING), at("other.example:1")))
        assert len(cluster.endpoints) == 3
        assert picked(cluster) == {"10.0.0.3:1": 100}


async def test_an_address_that_two_names_have_is_one_endpoint() -> None:
    async with live(names(at("a.example:1"), at("b.example:1"), at("a.example:2"))) as cluster:
        for name in ("a.example:1", "b.example:1", "a.example:2"):
            cluster.set_addresses(name, ("10.0.0.1",))
        assert addresses(cluster) == ["10.0.0.1:1", "10.0.0.1:2"]


async def test_base_paths_of_one_name_stay_apart() -> None:
    paths = [EndpointConfig(address=f"http://{BOX}/{path}", url=f"http://{BOX}/{path}") for path in ("a", "b")]
    async with live(names(*paths)) as cluster:
        for path in paths:
            cluster.set_addresses(path.address, ("10.0.0.1",))
        assert addresses(cluster) == ["10.0.0.1:8080/a", "10.0.0.1:8080/b"]
        assert [str(endpoint.url("/x")) for endpoint in cluster.endpoints] == [
            "http://10.0.0.1:8080/a/x",
            "http://10.0.0.1:8080/b/x",
        ]


@pytest.mark.parametrize(("server_name", "expected"), [(None, "box.example"), ("inner.example", "inner.example")])
async def test_the_certificate_must_be_of_the_name_unless_another_is_configured(
    server_name: str | None, expected: str
) -> None:
    secure = EndpointConfig(address=f"https://{BOX}", url=f"https://{BOX}")
    async with live(names(secure, tls=TlsConfig(server_name=server_name))) as cluster:
        cluster.set_addresses(secure.address, ("10.0.0.1",))
        (endpoint,) = cluster.endpoints
        assert (endpoint.server_name, endpoint.authority, endpoint.connect_address) == (expected, BOX, "10.0.0.1:8080")


async def test_addresses_found_for_a_name_that_has_left_are_nobodys() -> None:
    async with live(names(at(BOX))) as cluster:
        cluster.reconfigure(replace(cluster.config, endpoints=(at("10.9.9.9:1"),)))
        cluster.set_addresses(BOX, ("10.0.0.1",))
        assert addresses(cluster) == ["10.9.9.9:1"]
