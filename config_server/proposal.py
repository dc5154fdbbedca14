"""A proposal: changes that some nodes see and no other. As a value, and as the record that the store keeps. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from janua.config.v1.config_service_pb2 import Canary, CanaryOptions, Rejection
from janua.config.v1.proposal_pb2 import Proposal as ProposalMessage
from janua.config.v1.proposal_pb2 import ProposalRefusal, ProposedChange
from janua_resources.kinds import kind_info

from config_server.node_selector import Selection
from config_server.resources import (
    Key,
    Operation,
    RecordKind,
    StoredChange,
    StoredEntry,
    digest_of,
    encode,
    key_from_proto,
    key_to_proto,
    record_key,
    timestamp,
)
from config_server.stamp import Stamp

# There is one at most, under way or ended. The next one takes its place.
PROPOSAL_KEY: Final = record_key(RecordKind.PROPOSAL, "canary")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """`entry` is the record; `message` what it says."""

    entry: StoredEntry
    message: ProposalMessage

    @property
    def revision(self) -> int:
        """The revision that began it, which is its name."""
        return self.message.revision

    @property
    def is_running(self) -> bool:
        return self.message.state == Canary.STATE_RUNNING

    @cached_property
    def selection(self) -> Selection:
        return Selection(self.message.options.nodes)

    @cached_property
    def upserts(self) -> Sequence[StoredEntry]:
        """What it creates and changes, stamped with its own revision, which no resource ever has."""
        return [self._entry(change) for change in self.message.changes if change.body]

    @cached_property
    def deletes(self) -> Sequence[Key]:
        return [key_from_proto(change.key) for change in self.message.changes if not change.body]

    @cached_property
    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """By type, the names that it changes, each with the version that its nodes get; "" for a deletion."""
        found: dict[str, dict[str, str]] = {}
        for key, version in (
            *((entry.key, entry.version) for entry in self.upserts),
            *((key, "") for key in self.deletes),
        ):
            found.setdefault(kind_info(key.kind).type_url, {})[key.name] = version
        return found

    @cached_property
    def refusals(self) -> Mapping[str, Sequence[Rejection]]:
        """By node, what ended it."""
        return {refusal.node_id: refusal.rejections for refusal in self.message.refusals}

    def _entry(self, change: ProposedChange) -> StoredEntry:
        return replace(
            self.entry, key=key_from_proto(change.key), body=change.body, digest=digest_of(change.body), set=change.set
        )


def proposal_of(entry: StoredEntry) -> Proposal:
    return Proposal(entry=entry, message=ProposalMessage.FromString(entry.body))


def new_proposal(
    changes: Sequence[StoredChange],
    options: CanaryOptions,
    stamp: Stamp,
    message: str,
) -> Proposal:
    """Of what a batch would have changed."""
    content = ProposalMessage(
        revision=stamp.revision,
        state=Canary.STATE_RUNNING,
        changes=[_proposed(change) for change in changes if not change.entry.key.is_record],
        options=options,
        author=stamp.author,
        message=message,
        create_time=timestamp(stamp.time),
    )
    return Proposal(entry=stamp.entry(PROPOSAL_KEY, encode(content)), message=content)


def ended(
    proposal: Proposal,
    state: Canary.State.ValueType,
    stamp: Stamp,
    *,
    reason: str = "",
    refusals: Mapping[str, Sequence[Rejection]] | None = None,
) -> Proposal:
    """What is kept of it: how it went, but not what it would have changed."""
    content = ProposalMessage()
    content.CopyFrom(proposal.message)
    content.ClearField("changes")
    content.state = state
    content.end_time.FromDatetime(stamp.time)
    content.end_reason = reason
    for node_id, rejections in (refusals or {}).items():
        content.refusals.append(ProposalRefusal(node_id=node_id, rejections=rejections))
    return Proposal(entry=stamp.entry(PROPOSAL_KEY, encode(content), proposal.entry), message=content)


def _proposed(change: StoredChange) -> ProposedChange:
    entry = change.entry
    is_deleted = change.operation is Operation.DELETED
    return ProposedChange(key=key_to_proto(entry.key), body=b"" if is_deleted else entry.body, set=entry.set)
