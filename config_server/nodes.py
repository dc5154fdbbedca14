"""The gateway nodes: who is connected, who was seen before, and how far each has come. Knows no gRPC."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from janua.config.v1.config_service_pb2 import Node, NodeStatus

from config_server.node_changes import NodeChanges
from config_server.node_record import NodeIdentity, NodeRecord, NodeSession, record_of
from config_server.node_selector import Selection
from config_server.nodes_elsewhere import NodesElsewhere
from config_server.revision_signal import RevisionSignal
from config_server.store.base import NodeRow, PeerNode

# A node that is gone for longer is forgotten: with node ids made anew at every start they would add up.
FORGET_AFTER: Final = timedelta(days=7)


class NodeRegistry:
    """All nodes, by id. What it holds is written down in batches: a write per acknowledgement would be too many."""

    def __init__(
        self,
        kept: Iterable[NodeRow],
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        replica: str = "",
    ) -> None:
        """`clock` tells the time, and may be set; `monotonic` measures it."""
        self.changes: Final = NodeChanges()
        self._clock = clock
        self._monotonic = monotonic
        nodes = [Node.FromString(row.record) for row in kept]
        self._records = {node.id: record_of(node) for node in nodes}
        self._peers = NodesElsewhere()
        self._replica = replica
        self._connected = 0
        # Those that were connected are not, until they come back: other servers are to know.
        self._unsaved = {node.id for node in nodes if node.connected}
        self._is_frozen = False
        self._servers: frozenset[str] = frozenset()
        # Counts what may change which nodes take requests, and where.
        self.membership: Final = RevisionSignal(0)

    @property
    def connected_nodes(self) -> int:
        """How many nodes have at least one stream, here or at another server."""
        elsewhere = (record.node_id for record in self._elsewhere() if record.is_connected)
        return self._connected + sum(not self._is_here(node_id) for node_id in elsewhere)

    def _is_here(self, node_id: str) -> bool:
        own = self._records.get(node_id)
        return own is not None and own.is_connected

    def connected_among(self, selection: Selection) -> int:
        """How many of the nodes that are meant have at least one stream."""
        return sum(record.is_connected and record.is_among(selection) for record in self.records())

    def records(self) -> Sequence[NodeRecord]:
        """All nodes by id, those of other servers too."""
        merged = dict(self._records) | {record.node_id: record for record in self._elsewhere()}
        return [merged[node_id] for node_id in sorted(merged)]

    def take_peers(self, nodes: Sequence[PeerNode], alive: frozenset[str]) -> None:
        """What other servers have written of their nodes since the last time, and which servers are there."""
        forget_before = self._clock() - FORGET_AFTER
        changed = self._peers.take(nodes, alive, now=self._monotonic(), forget_before=forget_before)
        for node_id in sorted(changed):
            self.changes.changed(node_id)
        if changed or alive != self._servers:
            self._servers = alive
            self._announce()

    @property
    def servers(self) -> int:
        """How many servers there are over one store, by what was last heard of them; 0 if nothing yet was."""
        return len(self._servers)

    def freeze(self) -> None:
        """This server goes down: nodes that it lets go of have not gone themselves, and are not noted as gone."""
        self._is_frozen = True

    def _elsewhere(self) -> Iterator[NodeRecord]:
        """The nodes that another server knows better."""
        for record in self._peers.records():
            if self.record(record.node_id) is record:
                yield record

    def record(self, node_id: str) -> NodeRecord | None:
        """The node, as the server knows it that knows it best."""
        known = (self._records.get(node_id), self._peers.record(node_id))
        return max((record for record in known if record is not None), key=lambda record: record.rank, default=None)

    @contextmanager
    def connected(self, identity: NodeIdentity) -> Iterator[NodeSession]:
        """A stream of the node, for as long as the context is open."""
        now = self._clock()
        session = NodeSession(identity=identity, connect_time=now, replica=self._replica)
        record = self._records.get(identity.node_id)
        if record is None:
            record = self._records[identity.node_id] = NodeRecord(latest=session, last_seen_time=now)
        if not record.is_connected:
            # How it was says nothing of how it is after a restart.
            record.status = None
            self._connected += 1
        record.sessions.append(session)
        record.latest = session
        record.is_of_another_store = False
        self.heard(identity.node_id)
        self._announce()
        try:
            yield session
        finally:
            if not self._is_frozen:
                record.sessions.remove(session)
                record.latest = record.sessions[-1] if record.sessions else session
                self._connected -= not record.is_connected
                self.changed(identity.node_id)
                self._announce()

    def heard(self, node_id: str) -> None:
        """Something came from the node, so that its record has changed."""
        self._records[node_id].last_seen_time = self._clock()
        self.changed(node_id)

    def changed(self, node_id: str) -> None:
        """The node's record is to be written, and who follows the nodes is told."""
        self._unsaved.add(node_id)
        self.changes.changed(node_id)

    def refused(self, node_id: str) -> None:
        """The node holds a configuration of another store, and is not served."""
        self._records[node_id].is_of_another_store = True

    def of_another_store(self) -> Sequence[str]:
        """The nodes that were refused when they last came."""
        return [node_id for node_id, record in sorted(self._records.items()) if record.is_of_another_store]

    def report(self, node_id: str, status: NodeStatus) -> bool:
        """Keeps what a node says about itself. False: there is no such node."""
        record = self._records.get(node_id)
        if record is None:
            return False
        is_news = record.status is None or _serving(record.status) != _serving(status)
        record.status = status
        self.heard(node_id)
        if is_news:
            self._announce()
        return True

    def _announce(self) -> None:
        self.membership.announce(self.membership.revision + 1)

    def take_unsaved(self) -> tuple[Sequence[NodeRow], Sequence[str]]:
        """The nodes to be written and those to be dropped since this was last asked."""
        forgotten = list(self._forget())
        changed, self._unsaved = self._unsaved, set()
        rows = [
            NodeRow(node_id=node_id, record=_kept(self._records[node_id]))
            for node_id in sorted(changed - set(forgotten))
        ]
        return rows, forgotten

    def _forget(self) -> Iterator[str]:
        deadline = self._clock() - FORGET_AFTER
        for node_id, record in list(self._records.items()):
            if not record.is_connected and record.last_seen_time < deadline:
                del self._records[node_id]
                self.changes.forgotten(node_id)
                yield node_id


def _serving(status: NodeStatus) -> tuple[bool, bool, str]:
    """What of a report says whether the node takes requests, and where."""
    return status.ready, status.draining, status.addresses.grpc


def _kept(record: NodeRecord) -> bytes:
    """A node as it is written down. Whether it is connected and how it is are true only now: for other servers."""
    return record.to_proto().SerializeToString()
