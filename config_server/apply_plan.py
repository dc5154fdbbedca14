"""What an Apply would do to a configuration: pure, from the batch and the current state to a revision ready to commit.

Synchronous and slow for large batches: to be run in a thread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from janua.config.v1.config_service_pb2 import ApplyResponse, ChangeResult, FieldDiff
from janua.config.v1.config_service_pb2 import Warning as ApplyWarning
from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.resource_pb2 import KIND_CONSUMER
from janua_resources.kinds import World

from config_server import validation
from config_server.api_keys import clashes_with_records, revoked_with
from config_server.batch import Batch
from config_server.diff import DiffRoom, resource_diff, set_diff
from config_server.edits import Edit, edits_of
from config_server.node_selector import Selection
from config_server.preconditions import check_preconditions
from config_server.reference_index import ReferenceIndex
from config_server.resources import OTHER_EPOCHS, Operation, StoredChange, key_to_proto
from config_server.snapshot_cache import CacheUpdate, SnapshotCache
from config_server.stamp import Stamp

MAX_WARNINGS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of a batch. `changes` is empty if it changes nothing.

    `nodes`: those that it is for, None for all. `message`: what is kept of it instead of the batch's own.
    """

    base_revision: int
    changes: Sequence[StoredChange]
    update: CacheUpdate
    results: Sequence[ChangeResult]
    warnings: Sequence[ApplyWarning]
    nodes: Selection | None = None
    message: str | None = None

    def answer_if_written(self, *, connected_nodes: int) -> ApplyResponse:
        revision = self.update.revision if self.changes else self.base_revision
        return ApplyResponse(
            revision=revision, results=self.results, warnings=self.warnings, connected_nodes=connected_nodes
        )

    def answer_if_not_written(self, *, connected_nodes: int) -> ApplyResponse:
        response = ApplyResponse(
            revision=self.base_revision, results=self.results, warnings=self.warnings, connected_nodes=connected_nodes
        )
        for result in response.results:
            if result.outcome != ChangeResult.OUTCOME_UNCHANGED:
                result.ClearField("etag")  # of a state that never came to be
        return response


def plan_apply(batch: Batch, cache: SnapshotCache, *, now: datetime, no_values: str = "") -> Plan:
    """What `batch` does to the configuration in `cache`. Raises ApiError if it may not be done.

    Only reads the cache, which must not move on meanwhile. `no_values`: why secrets may not hold their value, if so.
    """
    revision = cache.revision
    check_preconditions(batch, revision, cache.resources)
    stamp = Stamp(revision=revision + 1, time=now, author=batch.author)
    edits = list(edits_of(batch, cache.resources, stamp, no_values=no_values))
    effective = [edit for edit in edits if edit.is_effective]
    whole = _edited(cache.messages, effective)
    _check(batch, edits, whole, cache)
    gone = {edit.key.name for edit in effective if edit.key.kind == KIND_CONSUMER and edit.after is None}
    records = revoked_with(gone, cache.records, stamp) if gone else []
    if batch.accept_new_epoch and not cache.accepts_other_epochs:
        records.append(StoredChange(operation=Operation.ADDED, entry=stamp.entry(OTHER_EPOCHS, b"")))
    return Plan(
        base_revision=revision,
        changes=[*(edit.stored_change for edit in effective), *records],
        update=CacheUpdate(
            revision=stamp.revision,
            upserts=[edit.after for edit in effective if edit.after is not None],
            deletes=[edit.key for edit in effective if edit.after is None],
            records=[change.entry for change in records],
        ),
        results=_results(edits),
        warnings=_warnings(batch, whole, cache.references, now),
    )


def _edited(messages: World, edits: Sequence[Edit]) -> World:
    whole = dict(messages)
    for edit in edits:
        if edit.after is None:
            del whole[edit.key]
        else:
            whole[edit.key] = edit.after.message
    return whole


def _check(batch: Batch, edits: Sequence[Edit], whole: World, cache: SnapshotCache) -> None:
    consumers = ((change.path, change.message) for change in batch.changes if isinstance(change.message, Consumer))
    clashes = [clash for path, message in consumers for clash in clashes_with_records(path, message, cache.records)]
    validation.check_world(
        whole,
        before=cache.messages,
        changed=[edit.key for edit in edits if edit.is_content_changed],
        changes={change.key: change for change in batch.changes},
        found=[*(violation for edit in edits for violation in edit.violations), *clashes],
    )


def _results(edits: Sequence[Edit]) -> Sequence[ChangeResult]:
    room = DiffRoom()
    results = []
    for edit in edits:
        result = ChangeResult(key=key_to_proto(edit.key), outcome=edit.outcome)
        if edit.after is not None:
            result.etag = edit.after.entry.etag
        result.diff.extend(room.take(_diff(edit)))
        results.append(result)
    return results


def _diff(edit: Edit) -> Iterator[FieldDiff]:
    if edit.before is None or edit.after is None or not edit.is_effective:
        return
    yield from resource_diff(edit.before.message, edit.after.message)
    yield from set_diff(edit.before.entry.set, edit.after.entry.set)


def _warnings(batch: Batch, whole: World, users: ReferenceIndex, now: datetime) -> Sequence[ApplyWarning]:
    named = {change.key for change in batch.changes}
    return list(validation.warnings(whole, named, users, now=now))[:MAX_WARNINGS]
