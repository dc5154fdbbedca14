"""The gateway nodes: who is connected, who was seen before, and how far each has come. Knows no gRPC."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from google.rpc import status_pb2
from janua.config.v1.config_service_pb2 import Node, NodeStatus

from config_server.node_changes import NodeChanges
from config_server.node_selector import Selection
from config_server.progress import TypeProgress, progress_from_proto
from config_server.resources import timestamp
from config_server.revision_signal import RevisionSignal
from config_server.store.base import NodeRow, PeerNode
from config_server.subscription import Delivery

# A node that has lost its server tries the next one within 15 seconds, and then says how it is.
_ON_ITS_WAY: Final = timedelta(seconds=20)

# A node that is gone for longer is forgotten: with node ids made anew at every start they would add up.
FORGET_AFTER: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who a node says it is, in the first request of a stream. `epoch`: the store that its configuration is of, if it
    has one and says so."""

    node_id: str
    cluster: str
    version: str
    epoch: str = ""


@dataclass(slots=True, kw_only=True)
class NodeSession:
    """One stream of a node. `revision`: the last one that the stream has looked at, whatever it had to send for it.

    `replica`: the config server that it is at.
    """

    identity: NodeIdentity
    connect_time: datetime
    replica: str = ""
    revision: int = 0
    types: dict[str, TypeProgress] = field(default_factory=dict)

    def progress(self, type_url: str) -> TypeProgress:
        found = self.types.get(type_url)
        if found is None:
            found = self.types[type_url] = TypeProgress(type_url=type_url)
        return found

    def sent(self, type_url: str, revision: int) -> None:
        self.progress(type_url).sent(revision)

    def answered(self, type_url: str, delivery: Delivery, error: status_pb2.Status | None) -> None:
        if error is None:
            self.progress(type_url).accepted(delivery)
        else:
            self.progress(type_url).refused(delivery, error)

    def looked_at(self, revision: int, settled_types: Iterable[str]) -> None:
        """The stream has taken in `revision`; of the settled types the node has acknowledged all there is."""
        self.revision = revision
        for type_url in settled_types:
            self.progress(type_url).nothing_to_send(revision)


@dataclass(slots=True, kw_only=True)
class NodeRecord:
    """A node. Of several streams the newest counts; without any, the last one there was."""

    latest: NodeSession
    sessions: list[NodeSession] = field(default_factory=list)
    last_seen_time: datetime
    status: NodeStatus | None = None
    is_of_another_store: bool = False
    """Whether its last stream was refused because what it holds is of another store."""

    is_connected_to_peer: bool = False
    """Whether it has a stream at the other server that this record is of."""
    has_lost_its_server: bool = False
    """Whether that server is gone, a moment ago, and the node is on its way to another."""

    @property
    def node_id(self) -> str:
        return self.latest.identity.node_id

    @property
    def is_connected(self) -> bool:
        return bool(self.sessions) or self.is_connected_to_peer

    @property
    def rank(self) -> tuple[bool, datetime, datetime]:
        """Of two servers' records of a node the one that ranks higher is true: of open streams the newest counts."""
        return self.is_connected, self.latest.connect_time, self.last_seen_time

    def is_among(self, selection: Selection) -> bool:
        return selection.covers(self.node_id, self.latest.identity.cluster)

    def to_proto(self) -> Node:
        return Node(
            id=self.node_id,
            cluster=self.latest.identity.cluster,
            version=self.latest.identity.version,
            connected=self.is_connected,
            connect_time=timestamp(self.latest.connect_time),
            last_seen_time=timestamp(self.last_seen_time),
            types=[self.latest.types[type_url].to_proto() for type_url in sorted(self.latest.types)],
            status=self.status,
            seen_revision=self.latest.revision,
            replica=self.latest.replica,
        )


class NodeRegistry:
    """All nodes, by id. What it holds is written down in batches: a write per acknowledgement would be too many."""

    def __init__(self, kept: Iterable[NodeRow], *, clock: Callable[[], datetime], replica: str = "") -> None:
        self.changes: Final = NodeChanges()
        self._clock = clock
        self._records = {row.node_id: record_of(Node.FromString(row.record)) for row in kept}
        self._peers = NodesElsewhere()
        self._replica = replica
        self._connected = 0
        self._unsaved: set[str] = set()
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
        now = self._clock()
        changed = self._peers.take(nodes, alive, now=now, forget_before=now - FORGET_AFTER)
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


def record_of(node: Node) -> NodeRecord:
    """A node as it was written down: not connected."""
    types: Mapping[str, TypeProgress] = {kept.type_url: progress_from_proto(kept) for kept in node.types}
    session = NodeSession(
        identity=NodeIdentity(node_id=node.id, cluster=node.cluster, version=node.version),
        connect_time=node.connect_time.ToDatetime(UTC),
        revision=node.seen_revision,
        replica=node.replica,
        types=dict(types),
    )
    return NodeRecord(latest=session, last_seen_time=node.last_seen_time.ToDatetime(UTC))


@dataclass(slots=True)
class _Known:
    row: bytes
    record: NodeRecord
    was_connected: bool
    server_gone_since: datetime | None = None


class NodesElsewhere:
    """The nodes as other servers know them, by node and server.

    A server that is gone serves none of its nodes, whatever it has written last.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._best: dict[str, NodeRecord] = {}

    def take(
        self, nodes: Sequence[PeerNode], alive: Collection[str], *, now: datetime, forget_before: datetime
    ) -> frozenset[str]:
        """What servers have written, and which of them are there. Gives the nodes of which something is new."""
        changed = set()
        for row in nodes:
            known = self._known.get((row.node_id, row.replica))
            if known is None or known.row != row.record:
                self._known[row.node_id, row.replica] = _read(row.record)
                changed.add(row.node_id)
        for (node_id, replica), known in self._known.items():
            is_connected = known.was_connected and replica in alive
            known.server_gone_since = None if replica in alive else known.server_gone_since or now
            has_lost_its_server = (
                known.was_connected
                and known.server_gone_since is not None
                and now < known.server_gone_since + _ON_ITS_WAY
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
