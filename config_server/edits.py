"""What a batch does to each resource it names or prunes, one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from janua.config.v1.config_service_pb2 import ChangeResult
from janua.config.v1.resource_pb2 import KIND_CONSUMER, KIND_SECRET

from config_server.batch import Batch, BatchChange
from config_server.errors import RequestViolation
from config_server.resources import Key, Operation, StoredChange, content_digest, encode
from config_server.secret_edits import with_kept_value
from config_server.snapshot_cache import CachedResource, cached_resource
from config_server.stamp import Stamp
from config_server.validation import check_resource

_SPARED_BY_PRUNE: Final = frozenset({KIND_SECRET, KIND_CONSUMER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A resource before and after. None: it does not exist then."""

    key: Key
    before: CachedResource | None
    after: CachedResource | None
    violations: Sequence[RequestViolation] = ()

    @property
    def is_effective(self) -> bool:
        return self.before is not self.after

    @property
    def is_content_changed(self) -> bool:
        """Whether nodes have anything to learn. Moving to another set is written, but is no news to them."""
        return self.before is None or self.after is None or self.before.entry.digest != self.after.entry.digest

    @property
    def outcome(self) -> ChangeResult.Outcome.ValueType:
        if self.after is None:
            return ChangeResult.OUTCOME_DELETED
        if self.before is None:
            return ChangeResult.OUTCOME_CREATED
        return ChangeResult.OUTCOME_UPDATED if self.is_effective else ChangeResult.OUTCOME_UNCHANGED

    @property
    def stored_change(self) -> StoredChange:
        if self.after is None:
            assert self.before is not None
            return StoredChange(operation=Operation.DELETED, entry=self.before.entry)
        operation = Operation.ADDED if self.before is None else Operation.MODIFIED
        return StoredChange(operation=operation, entry=self.after.entry)


def edits_of(batch: Batch, resources: Mapping[Key, CachedResource], stamp: Stamp, *, no_values: str) -> Iterator[Edit]:
    """One edit per change, in order, then one per pruned resource. The preconditions have been checked.

    `no_values`: why secrets may not hold their value; empty if they may."""
    for change in batch.changes:
        before = resources.get(change.key)
        if change.message is None:
            yield Edit(key=change.key, before=before, after=None)
        else:
            yield _upsert(change, before, stamp, batch_set=batch.set, no_values=no_values)
    if batch.prune:
        yield from _pruned(batch, resources)


def _upsert(
    change: BatchChange, before: CachedResource | None, stamp: Stamp, *, batch_set: str, no_values: str
) -> Edit:
    assert change.message is not None
    kept = None if before is None else before.message
    message, found = with_kept_value(change.path, change.message, kept, no_values=no_values)
    body = encode(message) if change.body is None else change.body
    set_name = _set_of(change, before, batch_set)
    if before is not None and before.entry.body == body:
        return Edit(key=change.key, before=before, after=_moved_to_set(before, set_name, stamp))
    digest = content_digest(message, body)
    entry = stamp.entry(change.key, body, None if before is None else before.entry, digest=digest, set_name=set_name)
    # Decoded from its own bytes: a part of the request would keep the memory of the whole batch.
    after = cached_resource(entry, entry.decode())
    violations = [*found, *check_resource(change.path, message, len(body))]
    return Edit(key=change.key, before=before, after=after, violations=violations)


def _set_of(change: BatchChange, before: CachedResource | None, batch_set: str) -> str:
    if change.set is not None:
        return change.set
    # Written without a set it stays in the one it is in: an edit by hand must not hide it from the next prune.
    return batch_set or (before.entry.set if before is not None else "")


def _moved_to_set(before: CachedResource, set_name: str, stamp: Stamp) -> CachedResource:
    """The same content in that set; the very same object if it is there already."""
    if set_name == before.entry.set:
        return before
    entry = replace(before.entry, revision=stamp.revision, update_time=stamp.time, author=stamp.author, set=set_name)
    return replace(before, entry=entry)


def _pruned(batch: Batch, resources: Mapping[Key, CachedResource]) -> Iterator[Edit]:
    named = {change.key for change in batch.changes}
    spared = _SPARED_BY_PRUNE - batch.prune_kinds
    for key in sorted(resources):
        before = resources[key]
        if before.entry.set == batch.set and key not in named and key.kind not in spared:
            yield Edit(key=key, before=before, after=None)
