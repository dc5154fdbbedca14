"""The gateway nodes as other servers over the same store know them. Knows no gRPC."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from janua.config.v1.config_service_pb2 import Node

from config_server.node_record import NodeRecord, record_of
from config_server.store.base import PeerNode

# A node that has lost its server tries the next one within 15 seconds, and then says how it is.
_ON_ITS_WAY_S: Final = 20.0


@dataclass(slots=True)
class _Known:
    row: bytes
    record: NodeRecord
    was_connected: bool
    server_gone_since: float | None = None


class NodesElsewhere:
    """The nodes as other servers know them, by node and server.

    A server that is gone serves none of its nodes, whatever it has written last.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._best: dict[str, NodeRecord] = {}

    def take(
        self, nodes: Sequence[PeerNode], alive: Collection[str], *, now: float, forget_before: datetime
    ) -> frozenset[str]:
        """What servers have written, and which of them are there. Gives the nodes of which something is new.

        `now` is in seconds of a clock that nobody sets.
        """
        changed = set()
        for row in nodes:
            known = self._known.get((row.node_id, row.replica))
            if known is None or known.row != row.record:
                self._known[row.node_id, row.replica] = _read(row.record)
                changed.add(row.node_id)
        for (node_id, replica), known in self._known.items():
            is_connected = known.was_connected and replica in alive
            if replica in alive:
                known.server_gone_since = None
            elif known.server_gone_since is None:
                known.server_gone_since = now
            has_lost_its_server = (
                known.was_connected
                and known.server_gone_since is not None
                and now < known.server_gone_since + _ON_ITS_WAY_S
            )
            before = known.record.is_connected_to_peer, known.record.has_lost_its_server
            if before != (is_connected, has_lost_its_server):
                known.record.is_connected_to_peer, known.record.has_lost_its_server = is_connected, has_lost_its_server
                changed.add(node_id)
        self._choose(alive, forget_before)
        return frozenset(changed)

    def records(self) -> Iterable[NodeRecord]:
        """One for each node: that of the server that knows it best."""
        return self._best.values()

    def record(self, node_id: str) -> NodeRecord | None:
        return self._best.get(node_id)

    def _choose(self, alive: Collection[str], forget_before: datetime) -> None:
        best: dict[str, NodeRecord] = {}
        for (node_id, _), known in self._known.items():
            if node_id not in best or known.record.rank > best[node_id].rank:
                best[node_id] = known.record
        # Servers come and go: what those have written that are gone would add up.
        self._known = {
            (node_id, replica): known
            for (node_id, replica), known in self._known.items()
            if replica in alive or (known.record is best[node_id] and known.record.last_seen_time >= forget_before)
        }
        kept = {id(known.record) for known in self._known.values()}
        self._best = {node_id: record for node_id, record in best.items() if id(record) in kept}


def _read(row: bytes) -> _Known:
    node = Node.FromString(row)
    record = record_of(node)
    record.status = node.status if node.HasField("status") else None
    return _Known(row, record, node.connected)
