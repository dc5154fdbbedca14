"""A store whose secrets are sealed: the backend below keeps, and sees, only what cannot be read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.secret_pb2 import Secret
from janua_resources.sealing import NotOpenedError, OtherKeyError, Sealer, is_sealed

from config_server.resources import Key, StoredChange, StoredEntry, StoredWorld, digest_of
from config_server.store.base import (
    AnsweredRequest,
    BodyReplacement,
    Commit,
    NodeRow,
    Peers,
    RevisionRecord,
    Store,
    StoreError,
)

_DIGEST_BYTES: Final = 32


class SealedStore:
    """The same store, with secrets that hold a value sealed on the way down and opened on the way up.

    What is sealed is the digest and the body: the digest is made once and not of the content, so that it tells nothing
    of it, and stays the same when the secret is sealed with another key. Methods that read raise StoreError for what
    no key opens.
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
        request = None if commit.request is None else self._sealed_request(commit.request)
        await self._below.commit(replace(commit, changes=changes, request=request))

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
            return self._sealer.seal(str(key), self._open(key, body))

        return await self._below.replace_bodies(KIND_SECRET, sealed_anew)

    def _opened_all(self, entries: Mapping[Key, StoredEntry]) -> Mapping[Key, StoredEntry]:
        return {key: self._opened(entry) for key, entry in entries.items()}

    def _sealed(self, entry: StoredEntry) -> StoredEntry:
        if entry.key.kind != KIND_SECRET or not Secret.FromString(entry.body).HasField("value"):
            return entry
        body = self._sealer.seal(str(entry.key), entry.digest + entry.body)
        return replace(entry, body=body, digest=digest_of(body))

    def _opened(self, entry: StoredEntry) -> StoredEntry:
        if not is_sealed(entry.body):
            return entry
        content = self._open(entry.key, entry.body)
        return replace(entry, digest=content[:_DIGEST_BYTES], body=content[_DIGEST_BYTES:])

    def _open(self, key: Key, sealed: bytes) -> bytes:
        try:
            return self._sealer.open(str(key), sealed)
        except OtherKeyError as error:
            raise StoreError(
                f"{key} in the store is sealed with the key {error.key_id}, which this server does not have: "
                "give it with --encryption-key-file"
            ) from None
        except NotOpenedError:
            raise StoreError(f"{key} in the store is damaged: restore it from a backup") from None

    # What a request has asked for is known by its digest. A value in it could be guessed by that, so it is sealed too.

    def _sealed_request(self, request: AnsweredRequest) -> AnsweredRequest:
        if not self._sealer.can_seal:
            return request
        return replace(request, digest=self._sealer.seal(_place(request.request_id), request.digest))

    async def find_request(self, request_id: str, *, not_before: datetime) -> AnsweredRequest | None:
        """One whose digest no key opens any more has the sealed one, as if it had asked for something else."""
        request = await self._below.find_request(request_id, not_before=not_before)
        if request is None or not is_sealed(request.digest):
            return request
        try:
            return replace(request, digest=self._sealer.open(_place(request_id), request.digest))
        except NotOpenedError:
            return request

    async def save_request(self, request: AnsweredRequest) -> None:
        await self._below.save_request(self._sealed_request(request))

    # What has nothing to do with secrets.

    async def revisions(self, *, before: int | None = None, limit: int) -> Sequence[RevisionRecord]:
        return await self._below.revisions(before=before, limit=limit)

    async def horizon(self) -> int:
        return await self._below.horizon()

    async def compact(self, horizon: int) -> None:
        await self._below.compact(horizon)

    async def replace_bodies(self, kind: int, replaced: BodyReplacement) -> int:
        return await self._below.replace_bodies(kind, replaced)

    async def forget_requests(self, *, before: datetime) -> None:
        await self._below.forget_requests(before=before)

    async def load_nodes(self) -> Sequence[NodeRow]:
        return await self._below.load_nodes()

    async def save_nodes(self, changed: Sequence[NodeRow], removed: Sequence[str]) -> None:
        await self._below.save_nodes(changed, removed)

    async def close(self) -> None:
        await self._below.close()


def _place(request_id: str) -> str:
    return f"request {request_id}"
