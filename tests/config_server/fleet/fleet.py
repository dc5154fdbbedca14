"""A registry of nodes that come, report and go as a test says, and its view."""

from contextlib import ExitStack
from datetime import timedelta

from janua.config.v1.config_service_pb2 import NodeAddresses, NodeStatus
from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment

from config_server.fleet.envoy_resources import NAME
from config_server.fleet.envoy_types import ENDPOINTS
from config_server.fleet.fleet_view import FleetView
from config_server.node_record import NodeIdentity
from config_server.nodes import NodeRegistry
from config_server.store.base import NodeRow
from tests.config_server.stored import NOW


def status(grpc: str, *, ready: bool = True, draining: bool = False) -> NodeStatus:
    return NodeStatus(addresses=NodeAddresses(grpc=grpc), ready=ready, draining=draining)


def addresses(view: FleetView) -> list[str] | None:
    """Where the endpoints are; None while nothing is said of them."""
    types = view.view(ENDPOINTS)
    assert types is not None
    resource = types.get(NAME)
    if resource is None:
        assert view.is_held(ENDPOINTS)
        return None
    return assigned(ClusterLoadAssignment.FromString(resource.body))


def assigned(assignment: ClusterLoadAssignment) -> list[str]:
    sockets = [
        endpoint.endpoint.address.socket_address
        for locality in assignment.endpoints
        for endpoint in locality.lb_endpoints
    ]
    return [f"{socket.address}:{socket.port_value}" for socket in sockets]


class Fleet:
    """That of one server. `kept` are the rows of one that was there before; `has_peers`: there may be others."""

    def __init__(self, kept: list[NodeRow] | None = None, *, has_peers: bool = False) -> None:
        self.now = NOW
        self._waited_s = 0.0
        self.nodes = NodeRegistry(kept or [], clock=lambda: self.now, monotonic=lambda: self._waited_s)
        self.view = FleetView(self.nodes, has_peers=has_peers)
        self._streams: dict[str, ExitStack] = {}

    def connect(self, node_id: str, *, version: str = "1.0") -> None:
        stack = self._streams[node_id] = ExitStack()
        stack.enter_context(self.nodes.connected(NodeIdentity(node_id=node_id, cluster="", version=version)))

    def disconnect(self, node_id: str) -> None:
        self._streams.pop(node_id).close()

    def report(self, node_id: str, grpc: str, *, ready: bool = True, draining: bool = False) -> None:
        assert self.nodes.report(node_id, status(grpc, ready=ready, draining=draining))

    def join(self, node_id: str, grpc: str) -> None:
        self.connect(node_id)
        self.report(node_id, grpc)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self._waited_s += seconds

    def set_clock(self, by: timedelta) -> None:
        """Somebody sets the clock, without any time going by."""
        self.now += by

    def rows(self) -> list[NodeRow]:
        """What a server that starts now finds."""
        return list(self.nodes.take_unsaved()[0])

    @property
    def addresses(self) -> list[str] | None:
        self.view.update()
        return addresses(self.view)
