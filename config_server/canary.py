"""Canaries: a batch that is tried on some nodes, then written for all or dropped."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from google.rpc import code_pb2
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.resource_pb2 import KIND_SECRET

from config_server.apply import Applier, check_no_canary
from config_server.apply_plan import Plan
from config_server.batch import Batch, BatchChange, parse_batch
from config_server.errors import ApiError, RequestViolation, invalid
from config_server.history import differences
from config_server.proposal import PROPOSAL_KEY, Proposal, ended, new_proposal
from config_server.resources import Operation, StoredChange
from config_server.snapshot_cache import CacheUpdate, SnapshotCache
from config_server.stamp import Stamp
from config_server.store.base import Commit
from config_server.writer import Writer


class Canaries:
    """Begins, describes and ends canaries. There is one at a time. All methods raise ApiError."""

    def __init__(
        self, *, cache: SnapshotCache, applier: Applier, writer: Writer, clock: Callable[[], datetime]
    ) -> None:
        self._cache = cache
        self._applier = applier
        self._writer = writer
        self._clock = clock

    async def propose(self, request: pb.ApplyRequest) -> pb.ApplyResponse:
        """Begins a canary of what the batch would change. Raises StoreUnavailableError if the store fails."""
        return await self._applier.write(
            request,
            lambda: asyncio.to_thread(parse_batch, request),
            lambda plan, now: self._proposed(request, plan, now),
        )

    def _proposed(self, request: pb.ApplyRequest, plan: Plan, now: datetime) -> Plan:
        check_no_canary(self._cache)
        secrets = [change.entry.key for change in plan.changes if change.entry.key.kind == KIND_SECRET]
        if secrets:
            text = "secrets cannot be tried on some nodes: apply it before, under a new name if nodes use it"
            raise invalid([RequestViolation(path=str(key), message=text, reason="SECRET_IN_CANARY") for key in secrets])
        if not plan.changes:
            return plan
        proposal = new_proposal(
            plan.changes,
            request.canary,
            Stamp(revision=plan.update.revision, time=now, author=request.author),
            request.message,
        )
        operation = Operation.MODIFIED if PROPOSAL_KEY in self._cache.records else Operation.ADDED
        return replace(
            plan,
            changes=[StoredChange(operation=operation, entry=proposal.entry)],
            update=CacheUpdate(revision=plan.update.revision, records=[proposal.entry]),
            results=[_without_etag(result) for result in plan.results],
            nodes=proposal.selection,
            message=_joined(f"canary on {proposal.selection}", request.message),
        )

    async def promote(self, request: pb.PromoteCanaryRequest) -> pb.PromoteCanaryResponse:
        """Writes what is tried. Raises StoreUnavailableError if the store fails."""

        async def make_batch() -> Batch:
            proposal = self._running(request.revision)
            message = _joined(f"canary of revision {proposal.revision} promoted", request.message)
            return Batch(
                changes=[*_changes(proposal)],
                base_revision=None,
                author=request.author,
                message=message if request.message else _joined(message, proposal.message.message),
            )

        response = await self._applier.write(request, make_batch, lambda plan, now: self._promoted(request, plan, now))
        return pb.PromoteCanaryResponse(
            revision=response.revision,
            results=response.results,
            warnings=response.warnings,
            connected_nodes=response.connected_nodes,
        )

    def _promoted(self, request: pb.PromoteCanaryRequest, plan: Plan, now: datetime) -> Plan:
        end = ended(
            self._running(request.revision),
            pb.Canary.STATE_PROMOTED,
            Stamp(revision=plan.update.revision, time=now, author=request.author),
        )
        return replace(
            plan,
            changes=[*plan.changes, StoredChange(operation=Operation.MODIFIED, entry=end.entry)],
            update=replace(plan.update, records=[*plan.update.records, end.entry]),
        )

    async def abort(
        self, *, revision: int, author: str, reason: str, refusals: Mapping[str, Sequence[pb.Rejection]] | None = None
    ) -> int:
        """Drops the canary that `revision` began, 0 for whichever runs. Returns the revision that did.

        Raises StoreUnavailableError if the store fails.
        """
        return await self._writer.in_turn(lambda: self._abort(revision, author, reason, refusals or {}))

    async def _abort(
        self, revision: int, author: str, reason: str, refusals: Mapping[str, Sequence[pb.Rejection]]
    ) -> int:
        proposal, base = self._running(revision), self._cache.revision
        stamp = Stamp(revision=base + 1, time=self._clock(), author=author)
        end = ended(proposal, pb.Canary.STATE_ABORTED, stamp, reason=reason, refusals=refusals)
        commit = Commit(
            base_revision=base,
            changes=[StoredChange(operation=Operation.MODIFIED, entry=end.entry)],
            author=author,
            message=_joined(f"canary of revision {proposal.revision} aborted", reason),
            time=stamp.time,
        )
        await self._writer.commit(commit, CacheUpdate(revision=stamp.revision, records=[end.entry]))
        return stamp.revision

    def _running(self, revision: int) -> Proposal:
        canary = self._cache.canary
        if canary is None:
            text = "no canary runs: `janua canary status` tells how the last one ended"
            raise ApiError(code_pb2.FAILED_PRECONDITION, "NO_CANARY", text)
        if revision not in (0, canary.proposal.revision):
            text = f"the canary that runs is that of revision {canary.proposal.revision}, not {revision}"
            raise ApiError(code_pb2.ABORTED, "OTHER_CANARY", text)
        return canary.proposal

    def latest(self) -> tuple[Proposal, pb.Canary]:
        """The canary that runs, or the last one, and how it is told."""
        proposal = self._cache.proposal
        if proposal is None:
            raise ApiError(
                code_pb2.NOT_FOUND, "NO_CANARY", "there has been no canary: `janua apply --canary` begins one"
            )
        return proposal, _described(proposal, self._cache)


def _changes(proposal: Proposal) -> Sequence[BatchChange]:
    upserts = [
        BatchChange(key=entry.key, message=entry.decode(), path=str(entry.key), body=entry.body, set=entry.set)
        for entry in proposal.upserts
    ]
    return [*upserts, *(BatchChange(key=key, message=None, path=str(key)) for key in proposal.deletes)]


def _described(proposal: Proposal, cache: SnapshotCache) -> pb.Canary:
    told = proposal.message
    canary = pb.Canary(
        revision=proposal.revision,
        state=told.state,
        options=told.options,
        author=told.author,
        message=told.message,
        create_time=told.create_time,
    )
    if not proposal.is_running:
        canary.end_revision = proposal.entry.revision
        canary.end_time.CopyFrom(told.end_time)
        canary.end_reason = told.end_reason
        return canary
    after = {entry.key: entry for entry in proposal.upserts}
    before = {key: cache.entry(key) for key in (*after, *proposal.deletes) if key in cache.resources}
    canary.changes.extend(_without_etag(result) for result in differences(before, after))
    return canary


def _without_etag(result: pb.ChangeResult) -> pb.ChangeResult:
    """Of a state that has not come to be."""
    if result.outcome != pb.ChangeResult.OUTCOME_UNCHANGED:
        result.ClearField("etag")
    return result


def _joined(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what
