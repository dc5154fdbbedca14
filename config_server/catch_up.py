"""What other servers have committed, as updates of the cache."""

from collections.abc import Mapping, Sequence

from config_server.resources import Key, Operation, StoredChange, StoredEntry
from config_server.snapshot_cache import CachedResource, CacheUpdate, SnapshotCache, cached_resource


def update_of(revision: int, changes: Sequence[StoredChange]) -> CacheUpdate:
    """What the changes of a revision do to the cache of the one before."""
    written = [change.entry for change in changes if change.operation is not Operation.DELETED]
    return CacheUpdate(
        revision=revision,
        upserts=[_cached(entry) for entry in written if not entry.key.is_record],
        records=[entry for entry in written if entry.key.is_record],
        deletes=[change.entry.key for change in changes if change.operation is Operation.DELETED],
    )


def update_to(revision: int, entries: Mapping[Key, StoredEntry], cache: SnapshotCache) -> CacheUpdate:
    """What leads from the cache to that state, whatever lies between."""
    before: dict[Key, StoredEntry] = {key: resource.entry for key, resource in cache.resources.items()}
    before.update(cache.records)
    changed = [entry for key, entry in entries.items() if before.get(key) != entry]
    return CacheUpdate(
        revision=revision,
        upserts=[_cached(entry) for entry in changed if not entry.key.is_record],
        records=[entry for entry in changed if entry.key.is_record],
        deletes=[key for key in before if key not in entries],
    )


def _cached(entry: StoredEntry) -> CachedResource:
    return cached_resource(entry, entry.decode())
