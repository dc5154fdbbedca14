"""The current configuration in memory: decoded for validation and reads, encoded for discovery. Knows no gRPC.

Everything here runs on the event loop and is shared by all streams.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from janua.config.v1.resource_pb2 import KIND_SECRET
from janua_resources.kinds import KINDS, ConfigMessage, World, kind_info

from config_server.api_keys import ConsumerKeys
from config_server.proposal import PROPOSAL_KEY, Proposal, proposal_of
from config_server.reference_index import ReferenceIndex, named_by
from config_server.resources import OTHER_EPOCHS, Key, Kind, StoredEntry, StoredWorld
from config_server.type_view import TypeView
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
class CanaryView:
    """What the nodes of a canary see: a cache of its own, which shares all but what is proposed."""

    proposal: Proposal
    cache: "SnapshotCache"

    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """By type, the names that are proposed, each with the version that is sent; "" for a deletion."""
        return {
            type_url: {name: view.version_of(name) or "" for name in names}
            for type_url, names in self.proposal.versions.items()
            if (view := self.cache.view(type_url)) is not None
        }


class SnapshotCache:
    """All resources at the current revision.

    Nodes are shown every resource, but of the secrets only those that a service names: a credential goes nowhere
    without a use for it. While a canary runs, its nodes are shown another cache.
    """

    def __init__(self, world: StoredWorld) -> None:
        self.epoch: Final = world.epoch
        self.references = ReferenceIndex()
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
        self._proposal: Proposal | None = None
        self._canary: CanaryView | None = None
        self._take_proposal()

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

    @property
    def proposal(self) -> Proposal | None:
        """The canary under way, or the last one."""
        return self._proposal

    @property
    def canary(self) -> CanaryView | None:
        """The canary under way."""
        return self._canary

    def for_node(self, node_id: str, cluster: str) -> "SnapshotCache":
        """What a node is shown: this, or the cache of the canary."""
        canary = self._canary
        return self if canary is None or not canary.proposal.selection.covers(node_id, cluster) else canary.cache

    @property
    def accepts_other_epochs(self) -> bool:
        """Whether nodes may be served that hold a configuration of another store."""
        return OTHER_EPOCHS in self._records

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
        """All views, those of a canary too."""
        return (*self._views.values(), *(self._canary.cache.views if self._canary else ()))

    def apply(self, update: CacheUpdate) -> None:
        """Moves on to a committed revision."""
        self._apply(update)
        if any(entry.key == PROPOSAL_KEY for entry in update.records):
            self._take_proposal()
        elif self._canary is not None:
            # No resource is written while it runs: only records are, which all nodes are concerned by.
            self._canary.cache.apply(update)

    def _take_proposal(self) -> None:
        entry = self._records.get(PROPOSAL_KEY)
        proposal = self._proposal = None if entry is None else proposal_of(entry)
        self._canary = None
        if proposal is not None and proposal.is_running:
            fork = self._fork()
            upserts = [cached_resource(entry, entry.decode()) for entry in proposal.upserts]
            fork._apply(CacheUpdate(revision=self._revision, upserts=upserts, deletes=proposal.deletes))
            self._canary = CanaryView(proposal, fork)

    def _fork(self) -> "SnapshotCache":
        """The same once more, of the same resources."""
        fork = SnapshotCache(StoredWorld(epoch=self.epoch, revision=self._revision, entries={}))
        fork.references = self.references.copy()
        fork._resources.update(self._resources)
        fork._messages.update(self._messages)
        fork._keys = self._keys.copy()
        fork._records.update({key: entry for key, entry in self._records.items() if key != PROPOSAL_KEY})
        for type_url, view in self._views.items():
            fork._views[type_url] = TypeView(type_url, self._revision, view.resources())
        return fork

    def _apply(self, update: CacheUpdate) -> None:
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
