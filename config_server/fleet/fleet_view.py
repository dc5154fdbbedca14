"""The nodes that take requests, as resources that clients of the xDS protocols subscribe to. Knows no gRPC."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import structlog

from config_server.fleet import endpoints
from config_server.fleet.endpoints import EndpointAddress
from config_server.fleet.envoy_resources import fixed_resources, load_assignment
from config_server.fleet.envoy_types import ENDPOINTS, ENVOY_TYPES
from config_server.node_record import NodeRecord
from config_server.nodes import NodeRegistry
from config_server.type_view import TypeView
from config_server.wire import EncodedResource

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

# Of an address that is none, in the log.
_SHOWN: Final = 100


class FleetView:
    """Follows the registry whenever it is told to `update`.

    Clients must not lose endpoints because this server knows too little. So the endpoints are held back after a start
    until the nodes of before are back, or are given up, and other servers have been heard; they stay as they were while
    the server goes down; a node that comes from another server stays until it has said how it is; and of a fleet that
    is lost as a whole, the nodes stay that have not said that they go.
    """

    def __init__(self, nodes: NodeRegistry, *, has_peers: bool = False) -> None:
        """`has_peers`: there may be other servers over the same store."""
        self._nodes = nodes
        self._has_peers = has_peers
        self._expected = endpoints.expected(nodes.records())
        self._is_held = True
        self._is_frozen = False
        self._shown: Mapping[str, EndpointAddress] = {}
        self._told: Mapping[str, str] = {}
        self._revision = 0
        self._views: Final = {type_url: TypeView(type_url) for type_url in ENVOY_TYPES}
        for type_url, resource in fixed_resources().items():
            self._put(type_url, resource)
        self.update()

    @property
    def revision(self) -> int:
        """Grows with each change."""
        return self._revision

    def view(self, type_url: str) -> TypeView | None:
        """What clients see of a type; None for a type in which nodes are not shown."""
        return self._views.get(type_url)

    def is_held(self, type_url: str) -> bool:
        """Whether nothing can be said of a type yet."""
        return self._is_held and type_url == ENDPOINTS

    def shows(self, node_id: str) -> bool:
        """Whether the node is one of the endpoints."""
        return node_id in self._shown

    def release(self) -> None:
        """Gives up waiting for nodes of before, and for other servers."""
        self._expected = frozenset()
        self._has_peers = False

    def freeze(self) -> None:
        """Nothing changes any more: nodes that leave now leave because the server does."""
        self._is_frozen = True
        self._nodes.freeze()

    def update(self) -> None:
        """Takes in what the registry says now."""
        records = self._nodes.records()
        if self._is_frozen or (self._is_held and not self._has_all_expected(records)):
            return
        shown = {**self._shown_before(endpoints.unknown(records)), **endpoints.serving(records)}
        shown = shown or self._shown_before(endpoints.lost(records))
        self._tell_of_undialable(records)
        self._is_held = False
        self._shown = shown
        self._put(ENDPOINTS, load_assignment(set(shown.values())))

    def trim(self, revision: int) -> None:
        """Forgets changes up to `revision`: every stream has taken them in."""
        for view in self._views.values():
            view.trim(revision)

    @property
    def log_length(self) -> int:
        return sum(view.log_length for view in self._views.values())

    def _shown_before(self, node_ids: Collection[str]) -> dict[str, EndpointAddress]:
        return {node_id: address for node_id, address in self._shown.items() if node_id in node_ids}

    def _put(self, type_url: str, resource: EncodedResource) -> None:
        if self._views[type_url].version_of(resource.name) == resource.version:
            return
        self._revision += 1
        for view in self._views.values():
            view.advance(self._revision)
        self._views[type_url].put(resource)

    def _has_all_expected(self, records: Sequence[NodeRecord]) -> bool:
        if self._has_peers and not self._nodes.servers:
            return False
        reported = {record.node_id for record in records if record.is_connected and record.status is not None}
        return self._expected <= reported

    def _tell_of_undialable(self, records: Sequence[NodeRecord]) -> None:
        told, self._told = self._told, endpoints.undialable(records)
        for node_id, address in self._told.items():
            if told.get(node_id) != address:
                event = "a node is no endpoint for xds:///janua: start it with --advertise-grpc IP:PORT"
                _log.warning(event, node_id=node_id, grpc=address[:_SHOWN])
