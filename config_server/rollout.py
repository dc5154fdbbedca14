"""How far a revision has come on each node. Pure: from what changed in it and what the nodes have answered."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from janua.config.v1.config_service_pb2 import NodeRollout, Rejection
from janua.config.v1.resource_pb2 import KIND_CONSUMER
from janua_resources.kinds import kind_by_type_url, kind_info

from config_server.api_keys import consumer_of
from config_server.node_record import NodeRecord, NodeSession
from config_server.progress import TypeProgress
from config_server.proposal import Proposal
from config_server.resources import Operation, StoredChange, timestamp

# By type, the names that a revision changed, each with its version then; "" for a name it deleted, and for a consumer
# of which only keys were changed.
ChangedVersions: TypeAlias = Mapping[str, Mapping[str, str]]

_State: TypeAlias = NodeRollout.State.ValueType

# A node is as far as the type that is least far.
_WORST_FIRST: Final[tuple[_State, ...]] = (
    NodeRollout.STATE_ERROR,
    NodeRollout.STATE_NOT_SENT,
    NodeRollout.STATE_STALE,
    NodeRollout.STATE_SYNCED,
)


def changed_versions(changes: Iterable[StoredChange]) -> ChangedVersions:
    found: dict[str, dict[str, str]] = {}
    for change in changes:
        if change.entry.key.is_record:
            if (consumer := consumer_of(change.entry)) is not None:
                # Nodes see a key as a part of its consumer.
                found.setdefault(kind_info(KIND_CONSUMER).type_url, {}).setdefault(consumer, "")
            continue
        is_deleted = change.operation is Operation.DELETED
        names = found.setdefault(kind_info(change.entry.key.kind).type_url, {})
        names[change.entry.key.name] = "" if is_deleted else change.entry.version
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A revision on its way to the nodes."""

    revision: int
    changed: ChangedVersions

    def on(self, record: NodeRecord) -> NodeRollout | None:
        """How far it has come on a node; None for one that it is not for."""
        return node_rollout(record, self.revision, self.changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRollout(Rollout):
    """A canary on its way to its nodes. `latest` gives how the newest canary stands."""

    proposal: Proposal
    latest: Callable[[], Proposal | None]

    def on(self, record: NodeRecord) -> NodeRollout | None:
        if not record.is_among(self.proposal.selection):
            return None
        rollout = node_rollout(record, self.revision, self.changed)
        # An aborted canary is taken back from the nodes, who then refuse nothing any more.
        latest = self.latest()
        refused = latest.refusals.get(record.node_id) if latest and latest.revision == self.revision else None
        if refused:
            rollout.state = NodeRollout.STATE_ERROR
            del rollout.rejections[:]
            rollout.rejections.extend(refused)
        return rollout


def node_rollout(record: NodeRecord, revision: int, changed: ChangedVersions) -> NodeRollout:
    session = record.latest
    states = {
        _type_state(session, session.types.get(type_url), revision, versions, is_connected=record.is_connected)
        for type_url, versions in changed.items()
    } or {_never_sent(session, revision)}
    progress = [known for known in session.by_order() if kind_by_type_url(known.type_url) is not None]
    return NodeRollout(
        node_id=record.node_id,
        state=next(state for state in _WORST_FIRST if state in states),
        acked_revision=min((known.acked_revision for known in progress), default=0),
        rejections=[rejection for known in progress for rejection in known.rejections.values()],
        connected=record.is_connected,
        replica=session.replica,
        connect_time=timestamp(session.connect_time),
    )


def rejections_of(record: NodeRecord, changed: ChangedVersions) -> list[Rejection]:
    """What the node refuses of just these changes."""
    return [
        rejection
        for type_url, versions in changed.items()
        if (progress := record.latest.types.get(type_url)) is not None
        for name, rejection in progress.rejections.items()
        if versions.get(name) == rejection.version
    ]


def _type_state(
    session: NodeSession,
    progress: TypeProgress | None,
    revision: int,
    versions: Mapping[str, str],
    *,
    is_connected: bool,
) -> _State:
    if progress is None:
        return _never_sent(session, revision)
    if any(versions.get(name) == rejection.version for name, rejection in progress.rejections.items()):
        return NodeRollout.STATE_ERROR
    if progress.settled_revision >= revision:
        return NodeRollout.STATE_SYNCED
    if progress.sent_revision >= revision and is_connected:
        return NodeRollout.STATE_STALE
    return NodeRollout.STATE_NOT_SENT


def _never_sent(session: NodeSession, revision: int) -> _State:
    """For what a node does not ask for: it has it as soon as its stream has come by the revision."""
    return NodeRollout.STATE_SYNCED if session.revision >= revision else NodeRollout.STATE_NOT_SENT
