"""API keys that this server has made: records beside consumers, and parts of them on the wire to nodes."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final

from janua.config.v1.config_service_pb2 import ApiKeyRecord
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.resource_pb2 import KIND_CONSUMER
from janua_resources.kinds import kind_info
from janua_resources.violations import DUPLICATE

from config_server.errors import RequestViolation
from config_server.resources import (
    Key,
    Operation,
    RecordKind,
    StoredChange,
    StoredEntry,
    encode,
    record_key,
    timestamp,
)
from config_server.stamp import Stamp
from config_server.wire import EncodedResource, encode_resource

_CONSUMER_TYPE_URL: Final = kind_info(KIND_CONSUMER).type_url
_ID_DIGITS: Final = 16


def key_record(entry: StoredEntry) -> ApiKeyRecord | None:
    """The key that a record is of; None for a record of another kind."""
    return ApiKeyRecord.FromString(entry.body) if int(entry.key.kind) == RecordKind.API_KEY else None


def consumer_of(entry: StoredEntry) -> str | None:
    """Whose key a record is of; None for a record of another kind."""
    record = key_record(entry)
    return None if record is None else record.consumer


def clashes_with_records(
    path: str, consumer: Consumer, records: Mapping[Key, StoredEntry]
) -> Iterator[RequestViolation]:
    """Keys that stand in a consumer although the server has made them: it could not take them away again."""
    for index, key in enumerate(consumer.api_keys):
        entry = records.get(_record_of(key.key_sha256))
        record = None if entry is None else key_record(entry)
        if record is None or record.key_sha256 != key.key_sha256:
            continue
        if record.HasField("revoke_time"):
            text = "is a key that was revoked, which is never undone: make another"
        else:
            text = (
                f"is a key that the server has made for consumer {record.consumer}, and keeps beside it: leave it out"
            )
        yield RequestViolation(path=f"{path}.api_keys[{index}].key_sha256", message=text, reason=DUPLICATE)


def key_id(key_sha256: str) -> str:
    """What a key that the server makes is named by: the beginning of its digest."""
    return key_sha256[:_ID_DIGITS]


def _record_of(key_sha256: str) -> Key:
    return record_key(RecordKind.API_KEY, key_id(key_sha256))


class ConsumerKeys:
    """The keys of all consumers that are not revoked."""

    def __init__(self) -> None:
        self._consumers: dict[Key, str] = {}
        self._keys: dict[str, dict[Key, ApiKey]] = {}

    def copy(self) -> "ConsumerKeys":
        copied = ConsumerKeys()
        copied._consumers.update(self._consumers)
        copied._keys.update((consumer, dict(keys)) for consumer, keys in self._keys.items())
        return copied

    def replace(self, key: Key, entry: StoredEntry | None) -> list[Key]:
        """Takes in what has become of a record. Returns the keys of the resources that look different by it."""
        if int(key.kind) != RecordKind.API_KEY:
            return []
        touched = []
        consumer = self._consumers.pop(key, None)
        if consumer is not None:
            self._keys[consumer].pop(key)
            touched.append(Key(KIND_CONSUMER, consumer))
        record = None if entry is None else key_record(entry)
        if record is not None and not record.HasField("revoke_time"):
            self._consumers[key] = record.consumer
            self._keys.setdefault(record.consumer, {})[key] = _seen_by_nodes(record)
            touched.append(Key(KIND_CONSUMER, record.consumer))
        return touched

    def joined(self, entry: StoredEntry, encoded: EncodedResource) -> EncodedResource:
        """The resource as nodes see it: a consumer with its keys. Of two messages joined the lists are joined too."""
        keys = self._keys.get(entry.key.name) if entry.key.kind == KIND_CONSUMER else None
        if not keys:
            return encoded
        more = encode(Consumer(api_keys=[keys[key] for key in sorted(keys)]))
        return encode_resource(
            type_url=_CONSUMER_TYPE_URL,
            name=entry.key.name,
            version=sha256(entry.digest + more).digest()[:16].hex(),
            body=entry.body + more,
        )


def _seen_by_nodes(record: ApiKeyRecord) -> ApiKey:
    key = ApiKey(key_sha256=record.key_sha256, label=record.label)
    if record.HasField("expires"):
        key.expires.CopyFrom(record.expires)
    return key


def key_change(record: ApiKeyRecord, before: StoredEntry | None, stamp: Stamp) -> StoredChange:
    """The change that leaves a record so."""
    entry = stamp.entry(record_key(RecordKind.API_KEY, record.id), encode(record), before)
    return StoredChange(operation=Operation.ADDED if before is None else Operation.MODIFIED, entry=entry)


def revoked(entry: StoredEntry, stamp: Stamp) -> StoredChange:
    """The change that revokes the key of a record."""
    record = ApiKeyRecord.FromString(entry.body)
    record.revoke_time.CopyFrom(timestamp(stamp.time))
    return key_change(record, entry, stamp)


def revoked_with(consumers: Iterable[str], records: Mapping[Key, StoredEntry], stamp: Stamp) -> list[StoredChange]:
    """The changes that revoke the keys of consumers which go: one made anew under the name must not get them back."""
    names = frozenset(consumers)
    found = [(entry, key_record(entry)) for _, entry in sorted(records.items())]
    return [
        revoked(entry, stamp)
        for entry, record in found
        if record is not None and record.consumer in names and not record.HasField("revoke_time")
    ]
