"""What the caller of an Apply said must be so: base revision, etags, existence."""

from collections.abc import Mapping

from google.rpc import code_pb2

from config_server.batch import Batch, BatchChange
from config_server.errors import ApiError
from config_server.resources import Key
from config_server.snapshot_cache import CachedResource


def check_preconditions(batch: Batch, revision: int, resources: Mapping[Key, CachedResource]) -> None:
    """Raises ApiError for the first one that does not hold."""
    if batch.base_revision is not None and batch.base_revision != revision:
        text = f"the configuration is at revision {revision}, not {batch.base_revision}: read it again"
        raise ApiError(code_pb2.ABORTED, "BASE_REVISION_MISMATCH", text)
    for change in batch.changes:
        _check_change(change, resources.get(change.key))


def _check_change(change: BatchChange, current: CachedResource | None) -> None:
    if current is None:
        if change.message is None or change.etag:
            raise ApiError(code_pb2.NOT_FOUND, "RESOURCE_NOT_FOUND", f"{change.path}: {change.key} does not exist")
    elif change.must_not_exist:
        raise ApiError(code_pb2.ALREADY_EXISTS, "RESOURCE_EXISTS", f"{change.path}: {change.key} exists already")
    elif change.etag and change.etag != current.entry.etag:
        text = f"{change.path}: {change.key} has changed since its etag was read: read it again"
        raise ApiError(code_pb2.ABORTED, "ETAG_MISMATCH", text)
