"""What was: the revisions, what each changed, and the configuration as it was at one of them."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from google.rpc import code_pb2
from janua.config.v1 import config_service_pb2 as pb

from config_server.diff import DiffRoom, resource_diff, set_diff
from config_server.errors import ApiError
from config_server.proposal import PROPOSAL_KEY, Proposal, proposal_of
from config_server.resources import Key, StoredEntry, key_to_proto, timestamp
from config_server.rollout import CanaryRollout, Rollout, changed_versions
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import RevisionCompactedError, RevisionRecord, Store

_PAGE_SIZE: Final = 100


class History:
    """Answers from the store. All methods raise ApiError and RevisionCompactedError."""

    def __init__(self, *, store: Store, cache: SnapshotCache) -> None:
        self._store = store
        self._cache = cache

    async def list(self, request: pb.ListRevisionsRequest) -> pb.ListRevisionsResponse:
        limit = request.page_size or _PAGE_SIZE
        before = int(request.page_token) if request.page_token else None
        records = await self._store.revisions(before=before, limit=limit + 1)
        more = str(records[limit - 1].revision) if len(records) > limit else ""
        return pb.ListRevisionsResponse(
            revisions=[_revision(record) for record in records[:limit]],
            next_page_token=more,
            oldest_kept_revision=await self._store.horizon(),
        )

    async def get(self, revision: int) -> pb.GetRevisionResponse:
        before, after = await self.around(revision)
        (record,) = await self._store.revisions(before=revision + 1, limit=1)
        changes = await asyncio.to_thread(differences, before, after)
        return pb.GetRevisionResponse(revision=_revision(record), changes=changes)

    async def around(self, revision: int) -> tuple[Mapping[Key, StoredEntry], Mapping[Key, StoredEntry]]:
        """The resources before a revision and after it: what differs is what it changed."""
        await self._check_made(revision)
        if revision <= (horizon := await self._store.horizon()):
            raise RevisionCompactedError.of_changes(revision, horizon)
        return await self.resources_at(revision - 1), await self.resources_at(revision)

    async def diff(self, request: pb.DiffRevisionsRequest) -> pb.DiffRevisionsResponse:
        to_revision = request.to_revision or self._cache.revision
        before = await self.resources_at(request.from_revision)
        after = await self.resources_at(to_revision)
        changes = await asyncio.to_thread(differences, before, after)
        return pb.DiffRevisionsResponse(to_revision=to_revision, changes=changes)

    async def rollout(self, revision: int) -> Rollout:
        """What nodes have to take over for a revision; 0 is the current one."""
        revision = revision or self._cache.revision
        await self._check_made(revision)
        changes = await self._store.changes_of(revision)
        for change in changes:
            if change.entry.key == PROPOSAL_KEY and (proposal := proposal_of(change.entry)).is_running:
                return self.canary_rollout(proposal)
        return Rollout(revision=revision, changed=changed_versions(changes))

    def canary_rollout(self, proposal: Proposal) -> CanaryRollout:
        """What its nodes have to take over for a canary."""
        canary = self._cache.canary
        is_running = canary is not None and canary.proposal.revision == proposal.revision
        return CanaryRollout(
            revision=proposal.revision,
            changed=canary.versions() if canary is not None and is_running else proposal.versions,
            proposal=proposal,
            latest=lambda: self._cache.proposal,
        )

    async def resources_at(self, revision: int) -> Mapping[Key, StoredEntry]:
        """All resources as they were, by kind and name. No records."""
        await self._check_made(revision)
        return await asyncio.to_thread(_resources, await self._store.entries_at(revision))

    async def _check_made(self, revision: int) -> None:
        current = self._cache.revision
        if revision > current and self._store.peers is not None:
            # It may have been made through another server, and not be here yet.
            position, _ = await self._store.peers.position(current)
            current = position.revision
        if revision > current:
            text = f"revision {revision} was never made; the current one is {current}"
            raise ApiError(code_pb2.NOT_FOUND, "REVISION_NOT_FOUND", text)


# Of a large configuration both take their time, during which streams are served: they run in threads.


def _resources(entries: Mapping[Key, StoredEntry]) -> Mapping[Key, StoredEntry]:
    """Without records, by kind and name."""
    return {key: entries[key] for key in sorted(entries) if not key.is_record}


def differences(before: Mapping[Key, StoredEntry], after: Mapping[Key, StoredEntry]) -> Sequence[pb.ChangeResult]:
    """What to change to come from one state to the other, by kind and name. What is equal is left out."""
    return list(_differences(before, after))


def _differences(before: Mapping[Key, StoredEntry], after: Mapping[Key, StoredEntry]) -> Iterator[pb.ChangeResult]:
    room = DiffRoom()
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if new is None:
            yield pb.ChangeResult(key=key_to_proto(key), outcome=pb.ChangeResult.OUTCOME_DELETED)
        elif old is None:
            yield pb.ChangeResult(key=key_to_proto(key), outcome=pb.ChangeResult.OUTCOME_CREATED, etag=new.etag)
        elif (old.digest, old.set) != (new.digest, new.set):
            found = room.take([*resource_diff(old.decode(), new.decode()), *set_diff(old.set, new.set)])
            yield pb.ChangeResult(
                key=key_to_proto(key), outcome=pb.ChangeResult.OUTCOME_UPDATED, diff=found, etag=new.etag
            )


def _revision(record: RevisionRecord) -> pb.Revision:
    return pb.Revision(
        revision=record.revision,
        create_time=timestamp(record.time),
        author=record.author,
        message=record.message,
    )
