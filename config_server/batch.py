"""A batch of changes as asked for: its shape, its sizes, which resources it names. Nothing about what is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from google.rpc import code_pb2
from janua.config.v1 import config_service_pb2
from janua_resources.kinds import ConfigMessage, kind_of, unwrap
from janua_resources.violations import DUPLICATE, INVALID_FIELD, UNKNOWN_KIND

from config_server.errors import ApiError, RequestViolation, invalid
from config_server.request_rules import request_violations
from config_server.resources import Key, Kind, key_from_proto, key_of

MAX_CHANGES: Final = 10_000
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchChange:
    """One change. `message` is None for a delete; `path` leads to the resource within the request.

    `body`: the bytes of the message, if they are known already. `set`: the set that it is to be in, whatever the batch
    and the present say.
    """

    key: Key
    message: ConfigMessage | None
    etag: str = ""
    must_not_exist: bool = False
    path: str
    body: bytes | None = None
    set: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A well-formed batch: every change has an operation, no resource is named twice."""

    changes: Sequence[BatchChange]
    base_revision: int | None
    set: str = ""
    prune: bool = False
    prune_kinds: frozenset[Kind] = frozenset()
    author: str
    message: str
    accept_new_epoch: bool = False


def parse_batch(request: config_service_pb2.ApplyRequest) -> Batch:
    """Reads a request. Raises ApiError with all that is wrong with its shape."""
    _check_size(request)
    violations = list(_envelope_violations(request))
    changes: list[BatchChange] = []
    for index, change in enumerate(request.changes):
        found = list(_change_violations(f"changes[{index}]", change))
        violations.extend(found)
        if not found:
            changes.append(_change(f"changes[{index}]", change))
    violations.extend(_duplicates(changes))
    if violations:
        raise invalid(violations)
    return Batch(
        changes=changes,
        base_revision=request.base_revision if request.HasField("base_revision") else None,
        set=request.set,
        prune=request.prune,
        prune_kinds=frozenset(request.prune_kinds),
        author=request.author,
        message=request.message,
        accept_new_epoch=request.accept_new_epoch,
    )


def _check_size(request: config_service_pb2.ApplyRequest) -> None:
    if len(request.changes) > MAX_CHANGES:
        text = f"a batch holds at most {MAX_CHANGES} changes, not {len(request.changes)}: split it"
        raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_CHANGES", text)
    size = request.ByteSize()
    if size > MAX_BATCH_BYTES:
        text = f"a batch holds at most {MAX_BATCH_BYTES // _MIB} MiB, not {size / _MIB:.1f} MiB: split it"
        raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "BATCH_TOO_LARGE", text)


def _envelope_violations(request: config_service_pb2.ApplyRequest) -> Iterator[RequestViolation]:
    # The changes are left out: resources have more rules than those of the .proto, and are checked later.
    envelope = config_service_pb2.ApplyRequest(
        base_revision=request.base_revision,
        request_id=request.request_id,
        set=request.set,
        prune_kinds=request.prune_kinds,
        author=request.author,
        message=request.message,
        canary=request.canary if request.HasField("canary") else None,
    )
    yield from request_violations(envelope)
    if request.prune and not request.set:
        yield _violation("set", "is required with prune: only what is marked with a set is ever pruned")
    if request.prune and not request.changes:
        yield _violation("changes", "is empty: with prune this would delete the whole set")
    if request.HasField("canary") and not request.canary.nodes.ByteSize():
        yield _violation("canary.nodes", "says nothing of the nodes: give ids, clusters or percent")
    if request.prune_kinds and not request.prune:
        yield _violation("prune_kinds", "has no meaning without prune")
    if request.accept_new_epoch and request.HasField("canary"):
        yield _violation("accept_new_epoch", "cannot be tried on some nodes: apply it by itself")


def _change_violations(path: str, change: config_service_pb2.Change) -> Iterator[RequestViolation]:
    match change.WhichOneof("operation"):
        case None:
            yield _violation(path, "has no operation: give upsert or delete")
        case "upsert":
            if change.upsert.WhichOneof("kind") is None:
                text = "holds no resource, or one of a kind that this server does not know"
                yield _violation(f"{path}.upsert", text, UNKNOWN_KIND)
            if change.must_not_exist and change.etag:
                yield _violation(f"{path}.must_not_exist", "contradicts etag")
        case "delete":
            for found in request_violations(change.delete):
                yield replace(found, path=f"{path}.delete.{found.path}")
            if change.must_not_exist:
                yield _violation(f"{path}.must_not_exist", "has no meaning for a delete")


def _change(path: str, change: config_service_pb2.Change) -> BatchChange:
    message = unwrap(change.upsert) if change.HasField("upsert") else None
    return BatchChange(
        key=key_from_proto(change.delete) if message is None else key_of(message),
        message=message,
        etag=change.etag,
        must_not_exist=change.must_not_exist,
        path=f"{path}.delete" if message is None else f"{path}.upsert.{kind_of(message).field}",
    )


def _duplicates(changes: Sequence[BatchChange]) -> Iterator[RequestViolation]:
    first: dict[Key, BatchChange] = {}
    for change in changes:
        other = first.setdefault(change.key, change)
        if other is not change:
            text = f"{change.key} is named before, by {other.path}; a batch may name a resource once"
            yield _violation(change.path, text, DUPLICATE)


def _violation(path: str, message: str, reason: str = INVALID_FIELD) -> RequestViolation:
    return RequestViolation(path=path, message=message, reason=reason)
