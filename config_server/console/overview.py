"""What the console's page shows, read from the parts that know it. No secret has a value here."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from janua.config.v1 import config_service_pb2 as pb
from janua_resources.kinds import kind_info

from config_server.history import History
from config_server.metrics import state_of
from config_server.node_record import NodeRecord
from config_server.nodes import NodeRegistry
from config_server.snapshot_cache import SnapshotCache

_REVISIONS = 20

Overviews = Callable[[], Awaitable["Overview"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    id: str
    cluster: str
    version: str
    state: str
    rollout: str
    acked_revision: int
    refusals: Sequence[str]
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state at one moment. `counts`: how many resources there are of each kind."""

    replica: str
    revision: int
    nodes: Sequence[NodeLine]
    counts: Sequence[tuple[str, int]]
    revisions: Sequence[pb.Revision]


async def overview(replica: str, cache: SnapshotCache, nodes: NodeRegistry, history: History) -> Overview:
    rollout = await history.rollout(0) if cache.revision else None
    records = nodes.records()
    found = {} if rollout is None else {each.node_id: each for each in filter(None, map(rollout.on, records))}
    listed = await history.list(pb.ListRevisionsRequest(page_size=_REVISIONS))
    counts = Counter(kind_info(key.kind).field for key in cache.resources)
    return Overview(
        replica=replica,
        revision=cache.revision,
        nodes=[_line(record, found) for record in records],
        counts=sorted(counts.items()),
        revisions=listed.revisions,
    )


def _line(record: NodeRecord, rollouts: dict[str, pb.NodeRollout]) -> NodeLine:
    node = record.to_proto()
    rollout = rollouts.get(node.id)
    return NodeLine(
        id=node.id,
        cluster=node.cluster,
        version=node.version,
        state=state_of(record),
        rollout="" if rollout is None else pb.NodeRollout.State.Name(rollout.state).removeprefix("STATE_").lower(),
        acked_revision=0 if rollout is None else rollout.acked_revision,
        refusals=[
            ": ".join(filter(None, (each.name, each.reason, each.field, each.message)))
            for of_type in node.types
            for each in of_type.rejections
        ],
        replica=node.replica,
    )
