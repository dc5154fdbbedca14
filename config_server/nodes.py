"""The gateway nodes: who is connected, who was seen before, and how far each has come. Knows no gRPC."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from config_server.store.base import NodeRow
from config_server.subscription import Delivery

# A node that is gone for longer is forgotten: with node ids made anew at every start they would add up.
FORGET_AFTER: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who a node says it is, in the first request of a stream."""

    node_id: str
    cluster: str
    version: str


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

    @property
    def node_id(self) -> str:
        return self.latest.identity.node_id

    @property
    def is_connected(self) -> bool:
        return bool(self.sessions)

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
            replica=self.latest.replica,
        )


class NodeRegistry:
    """All nodes, by id. What it holds is written down in batches: a write per acknowledgement would be too many."""

    def __init__(self, kept: Iterable[NodeRow], *, clock: Callable[[], datetime], replica: str = "") -> None:
        self.changes: Final = NodeChanges()
        self._clock = clock
        self._replica = replica
        self._records = {row.node_id: _record(Node.FromString(row.record)) for row in kept}
        self._connected = 0
        self._unsaved: set[str] = set()

    @property
    def connected_nodes(self) -> int:
        """How many nodes have at least one stream."""
        return self._connected

    def connected_among(self, selection: Selection) -> int:
        """How many of the nodes that are meant have at least one stream."""
        return sum(record.is_connected and record.is_among(selection) for record in self._records.values())

    def records(self) -> Sequence[NodeRecord]:
        """All nodes by id."""
        return [self._records[node_id] for node_id in sorted(self._records)]

    def record(self, node_id: str) -> NodeRecord | None:
        return self._records.get(node_id)

    @contextmanager
    def connected(self, identity: NodeIdentity) -> Iterator[NodeSession]:
        """A stream of the node, for as long as the context is open."""
        now = self._clock()
        session = NodeSession(identity=identity, connect_time=now, replica=self._replica)
        record = self._records.get(identity.node_id)
        if record is None:
            record = self._records[identity.node_id] = NodeRecord(latest=session, last_seen_time=now)
        self._connected += not record.is_connected
        record.sessions.append(session)
        record.latest = session
        self.heard(identity.node_id)
        try:
            yield session
        finally:
            record.sessions.remove(session)
            record.latest = record.sessions[-1] if record.sessions else session
            self._connected -= not record.is_connected
            self.changed(identity.node_id)

    def heard(self, node_id: str) -> None:
        """Something came from the node, so that its record has changed."""
        self._records[node_id].last_seen_time = self._clock()
        self.changed(node_id)

    def changed(self, node_id: str) -> None:
        """The node's record is to be written, and who follows the nodes is told."""
        self._unsaved.add(node_id)
        self.changes.changed(node_id)

    def report(self, node_id: str, status: NodeStatus) -> bool:
        """Keeps what a node says about itself. False: there is no such node."""
        record = self._records.get(node_id)
        if record is None:
            return False
        record.status = status
        self.heard(node_id)
        return True

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


def _kept(record: NodeRecord) -> bytes:
    """A node as it is written down. Whether it is connected and how it is are true only now."""
    node = record.to_proto()
    node.ClearField("connected")
    node.ClearField("status")
    return node.SerializeToString()


def _record(node: Node) -> NodeRecord:
    types: Mapping[str, TypeProgress] = {kept.type_url: progress_from_proto(kept) for kept in node.types}
    session = NodeSession(
        identity=NodeIdentity(node_id=node.id, cluster=node.cluster, version=node.version),
        connect_time=node.connect_time.ToDatetime(UTC),
        replica=node.replica,
        types=dict(types),
    )
    return NodeRecord(latest=session, last_seen_time=node.last_seen_time.ToDatetime(UTC))
