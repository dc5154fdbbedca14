"""The contract of a store. What it holds stands in `resources`; how it keeps it is each backend's own."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self, TypeAlias

from config_server.resources import Key, StoredChange, StoredEntry, StoredWorld

# Of what resource it is, and its body; the body that is to take its place, or None.
BodyReplacement: TypeAlias = Callable[[Key, bytes], bytes | None]


class StoreError(Exception):
    """The store cannot be opened. The text is one line for the operator: what is wrong and what to do."""


class StoreUnavailableError(Exception):
    """A read or write failed although the store is open: disk full, I/O error. Nothing was changed."""


class OutcomeUnknownError(StoreUnavailableError):
    """The store failed while it committed: the revision may have been made, or not."""


class RevisionConflictError(Exception):
    """Another writer made a revision since the batch was planned. Nothing was changed."""


class RevisionCompactedError(Exception):
    """What a revision left, or what it changed, is no longer known. `oldest`: of this revision it still is."""

    def __init__(self, what: str, oldest: int) -> None:
        super().__init__(f"{what} is not kept any more; the oldest that is kept is that of revision {oldest}")
        self.oldest = oldest

    @classmethod
    def of_content(cls, revision: int, horizon: int) -> Self:
        """For a revision before the horizon."""
        return cls(f"the configuration of revision {revision}", horizon)

    @classmethod
    def of_changes(cls, revision: int, horizon: int) -> Self:
        """For a revision up to the horizon: it takes the one before to tell what has changed."""
        return cls(f"what revision {revision} changed", horizon + 1)


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
    message: str = ""
    time: datetime
    request: AnsweredRequest | None = None

    @property
    def revision(self) -> int:
        return self.base_revision + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRecord:
    """Who made a revision, when and why. Kept beyond the horizon."""

    revision: int
    author: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """What is kept of a node: a serialized `janua.config.v1.Node`."""

    node_id: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """Where a store is: its epoch, its revision, and when that was made, None for revision 0."""

    epoch: str
    revision: int
    time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerNode:
    """A node as another server knows it: a serialized `janua.config.v1.Node`. `replica`: one run of that server."""

    replica: str
    node_id: str
    record: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerNodes:
    """What other servers have written of their nodes, which of them are there, and when that was so, by the store's
    clock."""

    nodes: Sequence[PeerNode]
    alive: frozenset[str]
    time: datetime


class Peers(Protocol):
    """Other config servers that write to the same store. Methods raise StoreUnavailableError or else say so."""

    async def position(self, known: int) -> tuple[Position, datetime | None]:
        """Where the store is now, and when its revision `known` was made, None if it has no such revision.

        A store whose revision is of another time than the one that was seen has gone back and on again.
        """
        ...

    def positions(self) -> AsyncIterator[Position]:
        """Where the store is, again and again, soon after each change. Never ends, whatever fails."""
        ...

    def line(self) -> AbstractAsyncContextManager[None]:
        """Entered by one server at a time, first come, first served, so that writes do not keep each other from coming
        through. Nothing is wrong if it is left out or lost meanwhile: `commit` tells who came too late."""
        ...

    async def say_alive(self) -> None:
        """To be called every second: tells the others that this server is there."""
        ...

    async def say_gone(self) -> None:
        """Tells the others that this server stops, as far as that can be told. Never fails."""
        ...

    async def nodes(self, since: datetime | None) -> PeerNodes:
        """What others have written of their nodes since `since`, or ever. Some of it may have been told before."""
        ...

    async def forget(self) -> None:
        """Drops what servers have written that are gone, if it is old or others know better."""
        ...


class Store(Protocol):
    """Keeps resources, their changes by revision, and node records.

    Revisions are dense: every commit makes the next one, and every revision holds at least one change. All methods
    raise `StoreUnavailableError` when the medium fails. `peers` is None where only one server can use the store.
    """

    @property
    def peers(self) -> Peers | None:
        """The other servers over it."""
        ...

    async def load(self) -> StoredWorld:
        """Everything at the current revision."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Writes one revision durably. Raises `RevisionConflictError` unless `base_revision` is the current one."""
        ...

    async def changes_of(self, revision: int) -> Sequence[StoredChange]:
        """The changes of one revision, in the order they were committed. Empty for one that was never made.

        Raises RevisionCompactedError for one up to the horizon, of which some may be missing.
        """
        ...

    async def entries_at(self, revision: int) -> Mapping[Key, StoredEntry]:
        """Everything as it was at `revision`. Raises RevisionCompactedError for one before the horizon."""
        ...

    async def revisions(self, *, before: int | None = None, limit: int) -> Sequence[RevisionRecord]:
        """The newest revisions first, those before `before` if given, at most `limit`."""
        ...

    async def horizon(self) -> int:
        """The oldest revision that can be read."""
        ...

    async def replace_bodies(self, kind: int, replaced: BodyReplacement) -> int:
        """Writes the bodies of a kind anew, in the present and in all that is kept of the past, each with its digest.

        `replaced` gives the new body, or None to leave it. All are replaced or none; returns how many were.
        """
        ...

    async def compact(self, horizon: int) -> None:
        """Forgets what is needed for revisions before `horizon` only. Never moves the horizon back."""
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
