"""Going back: old content as the batch of a new revision, which then takes the way of every other."""

from collections.abc import Iterator, Mapping

from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import RollbackRequest, RollbackResponse
from janua.config.v1.resource_pb2 import KIND_SECRET

from config_server.apply import Applier
from config_server.batch import Batch, BatchChange
from config_server.errors import ApiError
from config_server.history import History
from config_server.resources import Key, StoredEntry
from config_server.snapshot_cache import CachedResource, SnapshotCache


class Rollbacks:
    """Carries out rollbacks."""

    def __init__(self, *, cache: SnapshotCache, history: History, applier: Applier) -> None:
        self._cache = cache
        self._history = history
        self._applier = applier

    async def rollback(self, request: RollbackRequest) -> RollbackResponse:
        """Raises ApiError, RevisionCompactedError, and StoreUnavailableError if the store fails."""
        response = await self._applier.write(request, lambda: self._batch(request))
        return RollbackResponse(
            revision=response.revision,
            results=response.results,
            warnings=response.warnings,
            connected_nodes=response.connected_nodes,
        )

    async def _batch(self, request: RollbackRequest) -> Batch:
        if request.WhichOneof("target") == "to_revision":
            target = await self._history.resources_at(request.to_revision)
            keys = {*target, *self._cache.resources}
            message = f"back to revision {request.to_revision}"
        else:
            target, keys = await self._before(request.undo_revision)
            message = f"revision {request.undo_revision} undone"
        if not request.include_secrets:
            keys = {key for key in keys if key.kind != KIND_SECRET}
        return Batch(
            changes=list(_changes(keys, target, self._cache.resources)),
            base_revision=request.base_revision if request.HasField("base_revision") else None,
            author=request.author,
            message=request.message or message,
        )

    async def _before(self, revision: int) -> tuple[Mapping[Key, StoredEntry], set[Key]]:
        """The state before a revision, and the keys that it changed, none of which has been changed since."""
        before, after = await self._history.around(revision)
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        current = self._cache.resources
        moved = [key for key in sorted(changed) if (current[key].entry if key in current else None) != after.get(key)]
        if moved:
            text = f"changed again after revision {revision}, so that it cannot be undone: {', '.join(map(str, moved))}"
            raise ApiError(code_pb2.ABORTED, "CHANGED_SINCE", text)
        return before, changed


def _changes(
    keys: set[Key], target: Mapping[Key, StoredEntry], current: Mapping[Key, CachedResource]
) -> Iterator[BatchChange]:
    for key in sorted(keys):
        entry = target.get(key)
        if entry is not None:
            yield BatchChange(key=key, message=entry.decode(), path=str(key), body=entry.body, set=entry.set)
        elif key in current:
            yield BatchChange(key=key, message=None, path=str(key))
