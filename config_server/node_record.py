"""What is known of one gateway node: who it is, its streams, and how far each has come. Knows no gRPC."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.rpc import status_pb2
from janua.config.v1.config_service_pb2 import Node, NodeStatus
from janua_resources.kinds import SYNC_STATE_TYPE_URL

from config_server.node_selector import Selection
from config_server.progress import TypeProgress, progress_from_proto
from config_server.resources import timestamp
from config_server.subscription import Delivery
from config_server.type_order import place


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
            found = self.types[type_url] = TypeProgress(type_url=type_url, acked_revision=self._acked_before())
        return found

    def _acked_before(self) -> int:
        """What the node has acknowledged of a type that it asks for from now on: after its first sync all that it has
        acknowledged of others, since it lacked nothing of this one until now."""
        sync = self.types.get(SYNC_STATE_TYPE_URL)
        if sync is None or not sync.acked_revision:
            return 0
        return min((each.acked_revision for each in self.types.values() if each is not sync), default=0)

    def by_order(self) -> Sequence[TypeProgress]:
        """The types in make-before-break order, which puts a refusal before those that follow from it."""
        return sorted(self.types.values(), key=lambda each: (place(each.type_url), each.type_url))

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
            types=[progress.to_proto() for progress in self.latest.by_order()],
            status=self.status,
            seen_revision=self.latest.revision,
            replica=self.latest.replica,
        )


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
