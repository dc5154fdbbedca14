"""A pool of endpoints: who is picked, and what a change of the configuration keeps."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.config.upstream import BalancingPolicy, EndpointState, UpstreamConfig
from gateway.upstream.cluster import Cluster, utc_now
from gateway.upstream.endpoint import Endpoint
from tests.gateway.upstream.calls import CHECK, InOrder, endpoint_config, upstream_config

START = datetime(2030, 1, 1, tzinfo=UTC)
Make = Callable[[UpstreamConfig], Cluster]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes clusters, and closes their connections."""
    made: list[Cluster] = []

    def make(config: UpstreamConfig) -> Cluster:
        made.append(Cluster(config, random=InOrder(), now=lambda: START))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.connections.close()


def with_states(*states: EndpointState) -> UpstreamConfig:
    return replace(
        upstream_config(),
        endpoints=tuple(endpoint_config(f"e{number}", state=state) for number, state in enumerate(states)),
    )


def fail(cluster: Cluster, *numbers: int) -> None:
    for number in numbers:
        cluster.endpoints[number].mark(0, healthy=False, reason="bad", now=START)
    cluster.health_changed()


def picked(cluster: Cluster, times: int = 12, exclude: frozenset[Endpoint] = frozenset()) -> dict[str, int]:
    chosen = [cluster.pick(None, exclude) for _ in range(times)]
    return dict(Counter(each.address for each in chosen if each is not None))


ACTIVE, DRAINING, DISABLED = EndpointState.ACTIVE, EndpointState.DRAINING, EndpointState.DISABLED


async def test_all_take_their_turns(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", "e2"))
    assert cluster.name == "pool"
    assert picked(cluster) == {"e0": 4, "e1": 4, "e2": 4}
    assert [endpoint.since for endpoint in cluster.endpoints] == [START] * 3


@pytest.mark.parametrize("policy", BalancingPolicy)
async def test_unhealthy_endpoints_get_nothing(make: Make, policy: BalancingPolicy) -> None:
    cluster = make(upstream_config("e0", "e1", "e2", policy=policy))
    fail(cluster, 1)
    assert picked(cluster).keys() <= {"e0", "e2"}


@pytest.mark.parametrize("state", [DRAINING, DISABLED])
async def test_endpoints_that_are_out_of_service_get_nothing(make: Make, state: EndpointState) -> None:
    assert picked(make(with_states(ACTIVE, state, ACTIVE))).keys() == {"e0", "e2"}


async def test_nobody_in_service(make: Make) -> None:
    cluster = make(with_states(DRAINING, DISABLED))
    assert cluster.pick() is None
    assert cluster.pick(None, {cluster.endpoints[0]}) is None


async def test_all_unhealthy_are_all_tried(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", "e2"))
    fail(cluster, 0, 1, 2)
    assert picked(cluster) == {"e0": 4, "e1": 4, "e2": 4}


async def test_panic_does_not_call_back_who_is_out_of_service(make: Make) -> None:
    cluster = make(with_states(ACTIVE, DRAINING, DISABLED, ACTIVE))
    fail(cluster, 0, 3)
    assert picked(cluster).keys() == {"e0", "e3"}


async def test_healthy_endpoints_out_of_service_do_not_end_the_panic(make: Make) -> None:
    """Only those that could take the requests count."""
    cluster = make(with_states(ACTIVE, DRAINING))
    fail(cluster, 0)
    assert picked(cluster).keys() == {"e0"}


async def test_panic_ends_with_the_first_that_is_well(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1"))
    fail(cluster, 0, 1)
    cluster.endpoints[1].mark(0, healthy=True, reason="good", now=START)
    cluster.health_changed()
    assert picked(cluster).keys() == {"e1"}


async def test_next_attempt_goes_elsewhere(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", "e2"))
    first, _, third = cluster.endpoints
    assert picked(cluster, exclude=frozenset({first})).keys() == {"e1", "e2"}
    assert picked(cluster, exclude=frozenset({first, third})).keys() == {"e1"}


async def test_attempt_goes_where_one_was_made_before_no_attempt_at_all(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1"))
    assert picked(cluster, exclude=frozenset(cluster.endpoints)).keys() == {"e0", "e1"}


async def test_unhealthy_one_is_no_better_than_one_that_was_tried(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1"))
    fail(cluster, 1)
    assert picked(cluster, exclude=frozenset({cluster.endpoints[0]})).keys() == {"e0"}


# Changes of the configuration.


async def test_endpoints_whose_address_stays_keep_their_state(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", "e2"))
    _, kept, _ = cluster.endpoints
    kept.active_requests = 5
    kept.mark(0, healthy=False, reason="bad", now=START + timedelta(seconds=1))
    changed = replace(upstream_config(), endpoints=(endpoint_config("e3"), endpoint_config("e1", weight=7)))
    cluster.reconfigure(replace(changed, health_checks=(CHECK,)))
    assert [endpoint.address for endpoint in cluster.endpoints] == ["e3", "e1"]
    assert cluster.endpoints[1] is kept
    assert (kept.active_requests, kept.is_healthy, kept.config.weight) == (5, False, 7)
    assert picked(cluster).keys() == {"e3"}


async def test_removed_and_drained_endpoints_get_no_more_requests(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", "e2"))
    cluster.reconfigure(
        replace(cluster.config, endpoints=(endpoint_config("e0"), endpoint_config("e1", state=DRAINING)))
    )
    assert picked(cluster) == {"e0": 12}
    cluster.reconfigure(upstream_config("e0", "e1"))
    assert picked(cluster).keys() == {"e0", "e1"}


async def test_turns_go_on_where_they_were(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", "e2"))
    assert picked(cluster, 1) == {"e0": 1}
    cluster.reconfigure(replace(cluster.config, connect_timeout_s=9))
    assert picked(cluster, 1) == {"e1": 1}


async def test_connections_stay_unless_their_settings_change(make: Make) -> None:
    cluster = make(upstream_config("e0"))
    connections = cluster.connections
    assert cluster.reconfigure(upstream_config("e1", policy=BalancingPolicy.LEAST_REQUEST)) is None
    assert cluster.connections is connections
    assert cluster.reconfigure(upstream_config("e1", idle_timeout_s=5)) is connections
    assert cluster.connections is not connections
    await connections.close()


async def test_balancing_changes(make: Make) -> None:
    cluster = make(upstream_config("e0", "e1", policy=BalancingPolicy.LEAST_REQUEST))
    cluster.endpoints[0].active_requests = 5
    assert picked(cluster) == {"e1": 12}
    cluster.reconfigure(upstream_config("e0", "e1", policy=BalancingPolicy.ROUND_ROBIN))
    assert picked(cluster) == {"e0": 6, "e1": 6}
    cluster.reconfigure(upstream_config("e0", "e1", policy=BalancingPolicy.LEAST_REQUEST))
    assert picked(cluster) == {"e1": 12}


def test_clock_has_a_time_zone() -> None:
    assert utc_now().tzinfo is UTC
