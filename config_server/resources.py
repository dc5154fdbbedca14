"""Stored resources as values: their keys, bytes, content versions and etags. No I/O, no gRPC."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias, cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1 import config_service_pb2, resource_pb2
from janua.config.v1.secret_pb2 import Secret
from janua_resources.kinds import KINDS, ConfigMessage, kind_info, kind_of, wrap
from janua_resources.secret_values import without_value

Kind: TypeAlias = resource_pb2.Kind.ValueType


LAST_RESOURCE_KIND: Final = 1000


class RecordKind(IntEnum):
    """Kinds of records: what the server keeps for itself in the same log of revisions as resources.

    A record is never listed, watched, exported, pruned or rolled back. The values are stored; they are above
    LAST_RESOURCE_KIND, so that `janua.config.v1.Kind` has room for kinds to come.
    """

    API_KEY = 2001
    PROPOSAL = 1001  # see `proposal`
    # There, if nodes may be served that hold a configuration of another store.
    OTHER_EPOCHS = 2002


class Key(NamedTuple):
    """Names one resource or record. Sorts by kind and name, the order in which resources are listed."""

    kind: Kind
    name: str

    @property
    def is_record(self) -> bool:
        """Whether it is no resource, or of a kind that a newer version has stored: that is kept, and left alone."""
        return self.kind not in _RESOURCE_KINDS

    def __str__(self) -> str:
        if not self.is_record:
            word = kind_info(self.kind).field
        elif self.kind in _RECORD_KINDS:
            word = RecordKind(self.kind).name.lower()
        else:
            word = f"kind {int(self.kind)}"
        return f"{word} {self.name}"


_RESOURCE_KINDS: Final = frozenset(info.kind for info in KINDS)
_RECORD_KINDS: Final = frozenset(int(kind) for kind in RecordKind)


def record_key(kind: RecordKind, name: str) -> Key:
    return Key(cast("Kind", int(kind)), name)


OTHER_EPOCHS: Final = record_key(RecordKind.OTHER_EPOCHS, "accepted")


def key_of(message: ConfigMessage) -> Key:
    return Key(kind_of(message).kind, message.name)


def key_from_proto(key: resource_pb2.ResourceKey) -> Key:
    return Key(key.kind, key.name)


def key_to_proto(key: Key) -> resource_pb2.ResourceKey:
    return resource_pb2.ResourceKey(kind=key.kind, name=key.name)


def encode(message: Message) -> bytes:
    """Serializes a resource. Done once, when it is applied: other protobuf releases may give other bytes."""
    return message.SerializeToString(deterministic=True)


def digest_of(body: bytes) -> bytes:
    """SHA-256 of a resource's stored bytes."""
    return hashlib.sha256(body).digest()


def content_digest(message: ConfigMessage, body: bytes) -> bytes:
    """What a new version of a resource is known by: of its bytes, unless they would give a secret away."""
    if isinstance(message, Secret) and message.HasField("value"):
        return secrets.token_bytes(hashlib.sha256().digest_size)
    return digest_of(body)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """A resource or record as the store keeps it. `body` is the kind's own message, without the `Resource` envelope."""

    key: Key
    body: bytes
    digest: bytes
    create_revision: int
    revision: int
    create_time: datetime
    update_time: datetime
    author: str
    set: str

    @property
    def version(self) -> str:
        """The content version sent to nodes: equal on every replica and after every restart."""
        return self.digest[:16].hex()

    @property
    def etag(self) -> str:
        """Opaque mark of this state. Equal content written again has another etag."""
        return hashlib.sha256(b"%d:%s" % (self.revision, self.digest)).hexdigest()[:24]

    def decode(self) -> ConfigMessage:
        return kind_info(self.key.kind).message.FromString(self.body)


class Operation(IntEnum):
    """What a change did to a resource. The values are stored, and those of `ResourceEvent.Type`."""

    ADDED = config_service_pb2.ResourceEvent.TYPE_ADDED
    MODIFIED = config_service_pb2.ResourceEvent.TYPE_MODIFIED
    DELETED = config_service_pb2.ResourceEvent.TYPE_DELETED


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChange:
    """One change of one revision. `entry` is the state after it; for DELETED the last state before it."""

    operation: Operation
    entry: StoredEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWorld:
    """All of a store at one revision. Revision 0: nothing was ever written. `horizon`: the oldest that can be read."""

    epoch: str
    revision: int
    entries: Mapping[Key, StoredEntry]
    horizon: int = 0


def stored_resource(entry: StoredEntry, message: ConfigMessage) -> resource_pb2.StoredResource:
    """The API's form of an entry, without a secret's value; `message` is its decoded body."""
    return resource_pb2.StoredResource(
        resource=wrap(without_value(message)),
        etag=entry.etag,
        create_revision=entry.create_revision,
        revision=entry.revision,
        create_time=timestamp(entry.create_time),
        update_time=timestamp(entry.update_time),
        author=entry.author,
        set=entry.set,
    )


def timestamp(moment: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(moment)
    return result
