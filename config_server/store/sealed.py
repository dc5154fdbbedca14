"""A store whose secrets are sealed: the backend below keeps, and sees, only what cannot be read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.secret_pb2 import Secret

from config_server.resources import Key, StoredChange, StoredEntry, StoredWorld, digest_of
from config_server.sealing import Sealer, is_sealed
from config_server.store.base import AnsweredRequest, BodyReplacement, Commit, NodeRow, Peers, RevisionRecord, Store

_DIGEST_BYTES: Final = 32


class SealedStore:
    """The same store, with secrets that hold a value sealed on the way down and opened on the way up.

    What is sealed is the digest and the body: the digest is made once and not of the content, so that it tells nothing
    of it, and stays the same when the secret is sealed with another key.
    """

    def __init__(self, below: Store, sealer: Sealer) -> None:
        self._below = below
        self._sealer = sealer

    @property
    def peers(self) -> Peers | None:
        return self._below.peers

    async def load(self) -> StoredWorld:
        world = await self._below.load()
        return replace(world, entries=self._opened_all(world.entries))

    async def commit(self, commit: Commit) -> None:
        changes = [replace(change, entry=self._sealed(change.entry)) for change in commit.changes]
        await self._below.commit(replace(commit, changes=changes))

    async def changes_of(self, revision: int) -> Sequence[StoredChange]:
        changes = await self._below.changes_of(revision)
        return tuple(replace(change, entry=self._opened(change.entry)) for change in changes)

    async def entries_at(self, revision: int) -> Mapping[Key, StoredEntry]:
        return self._opened_all(await self._below.entries_at(revision))

    async def seal_anew(self) -> int:
        """Seals with the first key what is sealed with another, in all that is kept. Returns how many bodies."""

        def sealed_anew(key: Key, body: bytes) -> bytes | None:
            if not is_sealed(body) or self._sealer.is_current(body):
                return None
            return self._sealer.seal(key, self._sealer.open(key, body))

        return await self._below.replace_bodies(KIND_SECRET, sealed_anew)

    def _opened_all(self, entries: Mapping[Key, StoredEntry]) -> Mapping[Key, StoredEntry]:
        return {key: self._opened(entry) for key, entry in entries.items()}

    def _sealed(self, entry: StoredEntry) -> StoredEntry:
        if entry.key.kind != KIND_SECRET or not Secret.FromString(entry.body).HasField("value"):
            return entry
        body = self._sealer.seal(entry.key, entry.digest + entry.body)
        return replace(entry, body=body, digest=digest_of(body))

    def _opened(self, entry: StoredEntry) -> StoredEntry:
        if not is_sealed(entry.body):
            return entry
        content = self._sealer.open(entry.key, entry.body)
        return replace(entry, digest=content[:_DIGEST_BYTES], body=content[_DIGEST_BYTES:])

    # What has nothing to do with secrets.

    async def revisions(self, *, before: int | None = None, limit: int) -> Sequence[RevisionRecord]:
        return await self._below.revisions(before=before, limit=limit)

    async def horizon(self) -> int:
        return await self._below.horizon()

    async def compact(self, horizon: int) -> None:
        await self._below.compact(horizon)

    async def replace_bodies(self, kind: int, replaced: BodyReplacement) -> int:
        return await self._below.replace_bodies(kind, replaced)

    async def find_request(self, request_id: str, *, not_before: datetime) -> AnsweredRequest | None:
        return await self._below.find_request(request_id, not_before=not_before)

    async def save_request(self, request: AnsweredRequest) -> None:
        await self._below.save_request(request)

    async def forget_requests(self, *, before: datetime) -> None:
        await self._below.forget_requests(before=before)

    async def load_nodes(self) -> Sequence[NodeRow]:
        return await self._below.load_nodes()

    async def save_nodes(self, changed: Sequence[NodeRow], removed: Sequence[str]) -> None:
        await self._below.save_nodes(changed, removed)

    async def close(self) -> None:
        await self._below.close()
