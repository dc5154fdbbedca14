"""What the backends have in common: the columns of a stored entry, and moments as microseconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from janua.config.v1 import resource_pb2

from config_server.resources import Key, StoredEntry

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ENTRY_COLUMNS: Final = (
    "kind",
    "name",
    "body",
    "digest",
    "create_revision",
    "revision",
    "create_time",
    "update_time",
    "author",
    "set_name",
)

# The columns of an entry, in that order.
EntryRow: TypeAlias = tuple[resource_pb2.Kind.ValueType, str, bytes, bytes, int, int, int, int, str, str]


def row_of(entry: StoredEntry) -> EntryRow:
    return (
        entry.key.kind,
        entry.key.name,
        entry.body,
        entry.digest,
        entry.create_revision,
        entry.revision,
        micros(entry.create_time),
        micros(entry.update_time),
        entry.author,
        entry.set,
    )


def entry_of(row: EntryRow) -> StoredEntry:
    kind, name, body, digest, create_revision, revision, create_time, update_time, author, set_name = row
    return StoredEntry(
        key=Key(kind, name),
        body=body,
        digest=digest,
        create_revision=create_revision,
        revision=revision,
        create_time=moment(create_time),
        update_time=moment(update_time),
        author=author,
        set=set_name,
    )


def micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
