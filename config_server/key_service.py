"""Makes, lists and revokes API keys."""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.resource_pb2 import KIND_CONSUMER

from config_server.api_keys import key_change, key_id, key_record, revoked
from config_server.errors import ApiError, RequestViolation, invalid
from config_server.resources import Key, RecordKind, StoredChange, StoredEntry, record_key, timestamp
from config_server.snapshot_cache import CacheUpdate, SnapshotCache
from config_server.stamp import Stamp
from config_server.store.base import Commit
from config_server.writer import Writer

MAX_KEYS: Final = 1000

_PREFIX: Final = "jk-"
_ENTROPY_BYTES: Final = 32


class ApiKeys:
    """All methods raise ApiError, those that write StoreUnavailableError too."""

    def __init__(self, *, cache: SnapshotCache, writer: Writer, clock: Callable[[], datetime]) -> None:
        self._cache = cache
        self._writer = writer
        self._clock = clock

    async def create(self, request: pb.CreateApiKeyRequest) -> pb.CreateApiKeyResponse:
        if request.HasField("expires"):
            self._check_future("expires", request.expires)
        if request.HasField("others_expire"):
            self._check_future("others_expire", request.others_expire)
        key = _PREFIX + secrets.token_urlsafe(_ENTROPY_BYTES)
        return await self._writer.in_turn(lambda: self._create(request, key))

    def list_keys(self, request: pb.ListApiKeysRequest) -> pb.ListApiKeysResponse:
        if request.consumer:
            self._check_consumer(request.consumer)
        records = [record for _, record in self._records(request.consumer, with_revoked=request.include_revoked)]
        records.sort(key=lambda record: (record.consumer, record.create_time.ToNanoseconds(), record.id))
        return pb.ListApiKeysResponse(records=records)

    async def revoke(self, request: pb.RevokeApiKeyRequest) -> pb.RevokeApiKeyResponse:
        return await self._writer.in_turn(lambda: self._revoke(request))

    async def _create(self, request: pb.CreateApiKeyRequest, key: str) -> pb.CreateApiKeyResponse:
        self._check_consumer(request.consumer)
        others = self._records(request.consumer)
        if len(others) >= MAX_KEYS:
            text = f"consumer {request.consumer} has {MAX_KEYS} keys: revoke those that nobody uses"
            raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_KEYS", text)
        stamp = self._stamp(request.author)
        digest = sha256(key.encode()).hexdigest()
        record = pb.ApiKeyRecord(
            id=key_id(digest),
            consumer=request.consumer,
            key_sha256=digest,
            label=request.label,
            create_time=timestamp(stamp.time),
            author=request.author,
        )
        if request.HasField("expires"):
            record.expires.CopyFrom(request.expires)
        changes = [key_change(record, None, stamp)]
        if request.HasField("others_expire"):
            changes += [
                _expiring(entry, other, request, stamp)
                for entry, other in others
                if not other.HasField("expires")
                or other.expires.ToNanoseconds() > request.others_expire.ToNanoseconds()
            ]
        message = request.message or f"key {record.id} of {request.consumer} made"
        revision = await self._commit(changes, stamp, message)
        return pb.CreateApiKeyResponse(key=key, record=record, revision=revision)

    async def _revoke(self, request: pb.RevokeApiKeyRequest) -> pb.RevokeApiKeyResponse:
        entry = self._cache.records.get(record_key(RecordKind.API_KEY, request.id))
        record = None if entry is None else key_record(entry)
        if entry is None or record is None:
            raise ApiError(code_pb2.NOT_FOUND, "KEY_NOT_FOUND", f"there is no key {request.id}")
        if record.HasField("revoke_time"):
            return pb.RevokeApiKeyResponse(record=record, revision=self._cache.revision)
        stamp = self._stamp(request.author)
        change = revoked(entry, stamp)
        message = request.message or f"key {record.id} of {record.consumer} revoked"
        revision = await self._commit([change], stamp, message)
        return pb.RevokeApiKeyResponse(record=key_record(change.entry), revision=revision)

    async def _commit(self, changes: Sequence[StoredChange], stamp: Stamp, message: str) -> int:
        commit = Commit(
            base_revision=stamp.revision - 1,
            changes=changes,
            author=stamp.author,
            message=message,
            time=stamp.time,
        )
        update = CacheUpdate(revision=stamp.revision, records=[change.entry for change in changes])
        await self._writer.commit(commit, update)
        return stamp.revision

    def _records(self, consumer: str, *, with_revoked: bool = False) -> list[tuple[StoredEntry, pb.ApiKeyRecord]]:
        found = ((entry, key_record(entry)) for entry in self._cache.records.values())
        return [
            (entry, record)
            for entry, record in found
            if record is not None
            and consumer in ("", record.consumer)
            and (with_revoked or not record.HasField("revoke_time"))
        ]

    def _stamp(self, author: str) -> Stamp:
        return Stamp(revision=self._cache.revision + 1, time=self._clock(), author=author)

    def _check_consumer(self, name: str) -> None:
        if Key(KIND_CONSUMER, name) not in self._cache.resources:
            raise ApiError(code_pb2.NOT_FOUND, "RESOURCE_NOT_FOUND", f"consumer {name} does not exist")

    def _check_future(self, field: str, time: Timestamp) -> None:
        try:
            moment = time.ToDatetime(UTC)
        except ValueError:
            raise invalid([RequestViolation(path=field, message="is no moment", reason="INVALID_FIELD")]) from None
        if moment <= self._clock():
            raise invalid([RequestViolation(path=field, message="has passed already", reason="INVALID_FIELD")])


def _expiring(
    entry: StoredEntry, record: pb.ApiKeyRecord, request: pb.CreateApiKeyRequest, stamp: Stamp
) -> StoredChange:
    record.expires.CopyFrom(request.others_expire)
    return key_change(record, entry, stamp)
