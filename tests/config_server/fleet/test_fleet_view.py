"""The nodes as Envoy's resources, without a wire."""

import pytest
from janua.discovery.v3.cluster_pb2 import Cluster
from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment
from janua.discovery.v3.http_connection_manager_pb2 import HttpConnectionManager
from janua.discovery.v3.listener_pb2 import Listener
from janua.discovery.v3.route_configuration_pb2 import RouteConfiguration
from structlog.testing import capture_logs

from config_server.fleet.envoy_types import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from config_server.fleet.fleet_view import FleetView
from tests.config_server.fleet.fleet import Fleet

A, B, C = "10.0.0.1:8081", "10.0.0.2:8081", "10.0.0.3:8081"


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def body(view: FleetView, type_url: str) -> bytes:
    types = view.view(type_url)
    assert types is not None
    (resource,) = types.resources()
    assert resource.name == "janua"
    return resource.body


def test_each_resource_leads_to_the_next(fleet: Fleet) -> None:
    fleet.join("a", A)
    assert fleet.addresses == [A]
    listener = Listener.FromString(body(fleet.view, LISTENERS))
    manager = HttpConnectionManager()
    assert listener.api_listener.api_listener.Unpack(manager)
    assert manager.rds.config_source.HasField("ads")
    routes = RouteConfiguration.FromString(body(fleet.view, ROUTES))
    assert manager.rds.route_config_name == routes.name
    (route,) = routes.virtual_hosts[0].routes
    # Envoy's default would cut off answers that take longer than 15 seconds.
    assert route.route.HasField("timeout")
    assert route.route.timeout.ToSeconds() == 0
    cluster = Cluster.FromString(body(fleet.view, CLUSTERS))
    assert (route.route.cluster, cluster.type) == (cluster.name, Cluster.EDS)
    assert ClusterLoadAssignment.FromString(body(fleet.view, ENDPOINTS)).cluster_name == cluster.name


def test_every_locality_has_a_place_and_a_weight(fleet: Fleet) -> None:
    fleet.join("a", A)
    fleet.join("b", B)
    fleet.view.update()
    (locality,) = ClusterLoadAssignment.FromString(body(fleet.view, ENDPOINTS)).endpoints
    assert locality.HasField("locality")
    assert locality.load_balancing_weight.value == 1
    assert len(locality.lb_endpoints) == 2


def test_a_node_is_an_endpoint_while_it_is_ready_and_does_not_drain(fleet: Fleet) -> None:
    fleet.connect("a")
    assert fleet.addresses == []
    fleet.report("a", A, ready=False)
    assert fleet.addresses == []
    fleet.report("a", A)
    assert fleet.addresses == [A]
    fleet.report("a", A, draining=True)
    assert fleet.addresses == []
    assert not fleet.view.shows("a")


def test_a_node_that_disconnects_leaves(fleet: Fleet) -> None:
    fleet.join("a", A)
    fleet.join("b", B)
    assert fleet.addresses == [A, B]
    fleet.disconnect("a")
    assert fleet.addresses == [B]


def test_a_node_that_comes_back_is_an_endpoint_once_it_says_where(fleet: Fleet) -> None:
    fleet.join("a", A)
    fleet.join("b", B)
    fleet.disconnect("a")
    fleet.connect("a")
    assert fleet.addresses == [B]
    fleet.report("a", C)
    assert fleet.addresses == [B, C]


def test_an_address_stands_once_while_any_of_the_workers_behind_it_serves(fleet: Fleet) -> None:
    fleet.join("worker-0", A)
    fleet.join("worker-1", A)
    assert fleet.addresses == [A]
    fleet.report("worker-0", A, draining=True)
    assert fleet.addresses == [A]
    fleet.report("worker-1", A, draining=True)
    assert fleet.addresses == []


def test_a_fleet_that_is_lost_as_a_whole_stays(fleet: Fleet) -> None:
    """The clients may reach the nodes although this server does not."""
    fleet.join("a", A)
    fleet.join("b", B)
    assert fleet.addresses == [A, B]
    fleet.disconnect("a")
    assert fleet.addresses == [B]
    fleet.disconnect("b")
    assert fleet.addresses == [B]
    fleet.connect("b")
    assert fleet.addresses == [B]
    fleet.report("b", A)
    assert fleet.addresses == [A]


def test_nodes_that_said_that_they_go_do_not_stay(fleet: Fleet) -> None:
    fleet.join("a", A)
    assert fleet.addresses == [A]
    fleet.report("a", A, draining=True)
    fleet.disconnect("a")
    assert fleet.addresses == []
    fleet.connect("a")
    assert fleet.addresses == []


def test_an_address_that_cannot_be_dialled_is_told_once(fleet: Fleet) -> None:
    with capture_logs() as logs:
        fleet.join("a", "0.0.0.0:8081")
        assert fleet.addresses == []
        fleet.report("a", "0.0.0.0:8081")
        assert fleet.addresses == []
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "--advertise-grpc" in warning["event"]
    assert (warning["node_id"], warning["grpc"]) == ("a", "0.0.0.0:8081")


def test_equal_nodes_have_an_equal_version_on_every_replica(fleet: Fleet) -> None:
    other = Fleet()
    for name, address in (("a", A), ("b", B)):
        fleet.join(name, address)
    for name, address in (("y", B), ("x", A)):
        other.join(name, address)
    assert fleet.addresses == other.addresses
    assert [fleet.view.view(kind).version_of("janua") for kind in (CLUSTERS, ENDPOINTS)] == [  # type: ignore[union-attr]
        other.view.view(kind).version_of("janua")  # type: ignore[union-attr]
        for kind in (CLUSTERS, ENDPOINTS)
    ]


def test_what_changes_nothing_is_no_new_revision(fleet: Fleet) -> None:
    fleet.join("a", A)
    fleet.view.update()
    before = fleet.view.revision
    fleet.report("a", A)
    fleet.connect("an-envoy", version="")
    fleet.view.update()
    assert fleet.view.revision == before


def test_after_a_start_nothing_is_said_until_the_nodes_of_before_are_back() -> None:
    before = Fleet()
    for name, address in (("a", A), ("b", B)):
        before.join(name, address)
    before.connect("a-client", version="")
    after = Fleet(before.rows())
    assert after.addresses is None
    after.join("b", B)
    assert after.addresses is None
    after.connect("a")
    assert after.addresses is None
    after.report("a", A)
    assert after.addresses == [A, B]


def test_nodes_that_do_not_come_back_are_given_up() -> None:
    before = Fleet()
    for name, address in (("a", A), ("b", B)):
        before.join(name, address)
    after = Fleet(before.rows())
    after.join("b", B)
    assert after.addresses is None
    after.view.release()
    assert after.addresses == [B]


def test_nodes_that_were_gone_long_before_are_not_waited_for() -> None:
    before = Fleet()
    before.join("a", A)
    before.disconnect("a")
    before.wait(120)
    before.join("b", B)
    after = Fleet(before.rows())
    after.join("b", B)
    assert after.addresses == [B]


def test_a_server_that_goes_down_changes_nothing_any_more(fleet: Fleet) -> None:
    fleet.join("a", A)
    fleet.join("b", B)
    assert fleet.addresses == [A, B]
    fleet.view.freeze()
    fleet.disconnect("a")
    assert fleet.addresses == [A, B]
