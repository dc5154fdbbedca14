"""Resources as a store would hold them, for tests without a store."""

from datetime import UTC, datetime

from janua_resources.kinds import ConfigMessage

from config_server.fleet.fleet_view import FleetView
from config_server.nodes import NodeRegistry
from config_server.resources import Key, StoredEntry, StoredWorld, digest_of, encode, key_of
from config_server.snapshot_cache import CacheUpdate, SnapshotCache, cached_resource

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def stored(message: ConfigMessage, *, revision: int = 1, set_name: str = "", author: str = "") -> StoredEntry:
    body = encode(message)
    return StoredEntry(
        key=key_of(message),
        body=body,
        digest=digest_of(body),
        create_revision=revision,
        revision=revision,
        create_time=NOW,
        update_time=NOW,
        author=author,
        set=set_name,
    )


def cache_of(*messages: ConfigMessage, revision: int = 1) -> SnapshotCache:
    entries = {key_of(message): stored(message) for message in messages}
    return SnapshotCache(StoredWorld(epoch="epoch", revision=revision, entries=entries))


def change(cache: SnapshotCache, *upserts: ConfigMessage, deletes: tuple[Key, ...] = ()) -> None:
    """Moves the cache on by one revision."""
    revision = cache.revision + 1
    resources = [cached_resource(stored(message, revision=revision), message) for message in upserts]
    cache.apply(CacheUpdate(revision=revision, upserts=resources, deletes=deletes))


def empty_fleet() -> FleetView:
    """That of a server which never had a node."""
    return FleetView(NodeRegistry([], clock=lambda: NOW))
