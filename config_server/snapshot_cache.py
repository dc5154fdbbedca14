"""The current configuration in memory: decoded for validation and reads, encoded for discovery. Knows no gRPC.

Everything here runs on the event loop and is shared by all streams.
"""

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from janua.config.v1.resource_pb2 import KIND_SECRET
from janua_resources.kinds import KINDS, ConfigMessage, World, kind_info

from config_server.api_keys import ConsumerKeys
from config_server.reference_index import ReferenceIndex, named_by
from config_server.resources import Key, Kind, StoredEntry, StoredWorld
from config_server.wire import EncodedResource, encode_resource


@dataclass(frozen=True, slots=True)
class CachedResource:
    """A resource in the three forms it is needed in, and what it names."""

    entry: StoredEntry
    message: ConfigMessage
    encoded: EncodedResource
    names: frozenset[Key]


def cached_resource(entry: StoredEntry, message: ConfigMessage) -> CachedResource:
    """Encodes the resource. `message` is `entry` decoded, and is never changed afterwards."""
    encoded = encode_resource(
        type_url=kind_info(entry.key.kind).type_url, name=entry.key.name, version=entry.version, body=entry.body
    )
    return CachedResource(entry, message, encoded, named_by(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUpdate:
    """What one committed revision changes: resources, and records beside them. `deletes` may name either."""

    revision: int
    upserts: Sequence[CachedResource] = ()
    deletes: Sequence[Key] = ()
    records: Sequence[StoredEntry] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """A name whose content is not what it was at some earlier revision. `held`: the version then, None if none."""

    name: str
    held: str | None


class TypeView:
    """What nodes may see of one resource type, and a log of how it changed.

    A stream that knows the revision it was last brought to needs to keep nothing else: `changes_since` tells the
    names that differ, each with the version that the stream was left with.
    """

    def __init__(self, type_url: str, revision: int = 0, resources: Iterable[EncodedResource] = ()) -> None:
        self.type_url = type_url
        self._revision = revision
        self._resources = {resource.name: resource for resource in resources}
        self._sorted_names: list[str] | None = None
        # Parallel lists, ascending by revision: what changed, and the version it had before.
        self._log_revisions: list[int] = []
        self._log: list[Changed] = []
        self._log_start = revision
        self._memo: dict[int, Sequence[Changed]] = {}

    @property
    def revision(self) -> int:
        return self._revision

    def get(self, name: str) -> EncodedResource | None:
        return self._resources.get(name)

    def version_of(self, name: str) -> str | None:
        resource = self._resources.get(name)
        return None if resource is None else resource.version

    def resources(self) -> Iterable[EncodedResource]:
        return self._resources.values()

    def names_after(self, cursor: str) -> Iterator[str]:
        """The names greater than `cursor`, ascending; "" is before all of them."""
        if self._sorted_names is None:
            self._sorted_names = sorted(self._resources)
        names = self._sorted_names
        return (names[index] for index in range(bisect.bisect_right(names, cursor), len(names)))

    def changes_since(self, revision: int) -> Sequence[Changed]:
        """The names that differ from what they were at `revision`. One that changed and changed back is not listed.

        Streams mostly ask from the same revision, so the answer is kept until the next change.
        """
        if revision < self._log_start:
            raise ValueError(f"the log of {self.type_url} begins at revision {self._log_start}, not {revision}")
        found = self._memo.get(revision)
        if found is None:
            found = self._memo[revision] = self._net_changes(revision)
        return found

    def _net_changes(self, revision: int) -> Sequence[Changed]:
        first: dict[str, Changed] = {}
        for index in range(bisect.bisect_right(self._log_revisions, revision), len(self._log)):
            first.setdefault(self._log[index].name, self._log[index])
        return tuple(changed for changed in first.values() if changed.held != self.version_of(changed.name))

    def advance(self, revision: int) -> None:
        """Moves on to a revision in which this type may have changed: `put` and `remove` follow."""
        self._revision = revision
        self._memo.clear()

    def put(self, resource: EncodedResource) -> None:
        held = self.version_of(resource.name)
        if held == resource.version:
            return
        if held is None:
            self._sorted_names = None
        self._resources[resource.name] = resource
        self._record(resource.name, held)

    def remove(self, name: str) -> None:
        resource = self._resources.pop(name, None)
        if resource is not None:
            self._sorted_names = None
            self._record(name, resource.version)

    def _record(self, name: str, held: str | None) -> None:
        self._log_revisions.append(self._revision)
        self._log.append(Changed(name, held))

    @property
    def log_length(self) -> int:
        return len(self._log)

    def trim(self, revision: int) -> None:
        """Forgets how the type changed up to `revision`: no stream will ask from before it."""
        end = bisect.bisect_right(self._log_revisions, revision)
        del self._log_revisions[:end]
        del self._log[:end]
        self._log_start = max(self._log_start, min(revision, self._revision))


class SnapshotCache:
    """All resources at the current revision.

    Nodes are shown every resource, but of the secrets only those that a service names: a credential goes nowhere
    without a use for it.
    """

    def __init__(self, world: StoredWorld) -> None:
        self.epoch: Final = world.epoch
        self.references: Final = ReferenceIndex()
        self._revision = world.revision
        self._resources: dict[Key, CachedResource] = {}
        self._records: dict[Key, StoredEntry] = {}
        self._keys = ConsumerKeys()
        self._messages: dict[tuple[Kind, str], ConfigMessage] = {}
        self._sorted_keys: list[Key] | None = None
        for key, entry in world.entries.items():
            if key.is_record:
                self._records[key] = entry
                self._keys.replace(key, entry)
                continue
            resource = self._resources[key] = cached_resource(entry, entry.decode())
            self._messages[key] = resource.message
            self.references.replace(key, frozenset(), resource.names)
        self._views: Final = {
            info.type_url: TypeView(info.type_url, world.revision, self._shown(info.kind)) for info in KINDS
        }

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def messages(self) -> World:
        return self._messages

    @property
    def resources(self) -> Mapping[Key, CachedResource]:
        return self._resources

    @property
    def records(self) -> Mapping[Key, StoredEntry]:
        """What the server keeps for itself. Not among the resources."""
        return self._records

    def entry(self, key: Key) -> StoredEntry:
        return self._resources[key].entry

    def message(self, key: Key) -> ConfigMessage:
        return self._messages[key]

    def sorted_keys(self) -> Sequence[Key]:
        """All keys by kind and name. A list that is never changed: it may be walked while the cache moves on."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self._resources)
        return self._sorted_keys

    def view(self, type_url: str) -> TypeView | None:
        """What nodes see of a type; None for a type that is no configuration kind."""
        return self._views.get(type_url)

    @property
    def views(self) -> Iterable[TypeView]:
        return self._views.values()

    def apply(self, update: CacheUpdate) -> None:
        """Moves on to a committed revision."""
        self._revision = update.revision
        for view in self._views.values():
            view.advance(update.revision)
        touched: dict[Key, None] = {}  # in order, so that nodes are told of changes in the order of the batch
        for key in update.deletes:
            if key.is_record:
                del self._records[key]
                touched.update(dict.fromkeys(self._keys.replace(key, None)))
            else:
                touched.update(dict.fromkeys(self._put(key, None)))
        for entry in update.records:
            self._records[entry.key] = entry
            touched.update(dict.fromkeys(self._keys.replace(entry.key, entry)))
        for resource in update.upserts:
            touched.update(dict.fromkeys(self._put(resource.entry.key, resource)))
        for key in touched:
            self._show_or_hide(key)

    def _put(self, key: Key, resource: CachedResource | None) -> Iterator[Key]:
        """Creates, replaces or deletes a resource. Gives the keys whose visibility may have changed by it."""
        yield key
        before = self._resources.get(key)
        if resource is None:
            del self._resources[key], self._messages[key]
        else:
            self._resources[key], self._messages[key] = resource, resource.message
        if before is None or resource is None:
            self._sorted_keys = None
        old = frozenset[Key]() if before is None else before.names
        new = frozenset[Key]() if resource is None else resource.names
        if old != new:
            self.references.replace(key, old, new)
            yield from (other for other in old ^ new if other.kind == KIND_SECRET)

    def _show_or_hide(self, key: Key) -> None:
        view = self._views[kind_info(key.kind).type_url]
        resource = self._resources.get(key)
        if resource is not None and self._is_shown(key):
            view.put(self._keys.joined(resource.entry, resource.encoded))
        else:
            view.remove(key.name)

    def _shown(self, kind: Kind) -> Iterator[EncodedResource]:
        for key, resource in self._resources.items():
            if key.kind == kind and self._is_shown(key):
                yield self._keys.joined(resource.entry, resource.encoded)

    def _is_shown(self, key: Key) -> bool:
        return key.kind != KIND_SECRET or bool(self.references.users(key))
