"""The contract of a store. What it holds stands in `resources`; how it keeps it is each backend's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from config_server.resources import StoredChange, StoredWorld


class StoreError(Exception):
    """The store cannot be opened. The text is one line for the operator: what is wrong and what to do."""


class StoreUnavailableError(Exception):
    """A read or write failed although the store is open: disk full, I/O error. Nothing was changed."""


class RevisionConflictError(Exception):
    """Another writer made a revision since the batch was planned. Nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRequest:
    """An Apply that carried a request id: what was asked (its digest) and what was answered."""

    request_id: str
    digest: bytes
    response: bytes
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One revision to be written: all of it or nothing."""

    base_revision: int
    changes: Sequence[StoredChange]
    author: str
    time: datetime
    request: AnsweredRequest | None = None

    @property
    def revision(self) -> int:
        return self.base_revision + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """What is kept of a node: a serialized `janua.config.v1.Node`."""

    node_id: str
    record: bytes


class Store(Protocol):
    """Keeps resources, their changes by revision, and node records.

    Revisions are dense: every commit makes the next one, and every revision holds at least one change. All methods
    raise `StoreUnavailableError` when the medium fails.
    """

    async def load(self) -> StoredWorld:
        """Everything at the current revision."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Writes one revision durably. Raises `RevisionConflictError` unless `base_revision` is the current one."""
        ...

    async def changes_of(self, revision: int) -> Sequence[StoredChange]:
        """The changes of one revision, in the order they were committed. Empty for one that was never made."""
        ...

    async def find_request(self, request_id: str, *, not_before: datetime) -> AnsweredRequest | None:
        """The answer given under a request id, unless it is older than `not_before`."""
        ...

    async def save_request(self, request: AnsweredRequest) -> None:
        """Keeps the answer of an Apply that made no revision."""
        ...

    async def forget_requests(self, *, before: datetime) -> None:
        """Drops answers older than `before`."""
        ...

    async def load_nodes(self) -> Sequence[NodeRow]:
        """All node records."""
        ...

    async def save_nodes(self, changed: Sequence[NodeRow], removed: Sequence[str]) -> None:
        """Writes node records in one transaction; drops those of the ids in `removed`."""
        ...

    async def close(self) -> None:
        """Ends after the write under way. The store is not used afterwards."""
        ...
