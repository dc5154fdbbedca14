"""What clients of config servers saw, and whether a server that keeps its word could have shown it to them.

Each write replaces both of a pair of resources by one token, so that a half applied write shows. The log is what the
server says at the end that every revision changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

# Name of a resource → the token that it holds.
State: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write and its last answer. `revision` None: refused, or nobody knows (`is_known` says which)."""

    token: str
    changes: State
    begin: float
    end: float
    revision: int | None
    is_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """All there was, at one moment."""

    begin: float
    end: float
    revision: int
    state: State


@dataclass(slots=True, kw_only=True)
class History:
    """All that was seen. `watched`: what one watch brought, resumed whenever it broke. `log`: from revision 1 on."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    watched: list[tuple[int, State]] = field(default_factory=list)
    log: list[tuple[int, State]] = field(default_factory=list)


def violations(history: History) -> list[str]:
    """Every way in which the servers did not keep their word."""
    return [
        *_dense(history.log),
        *_acknowledged(history.writes, history.log),
        *_once(history.writes, history.log),
        *_read(history),
        *_watched(history.watched, history.log),
    ]


def _dense(log: Sequence[tuple[int, State]]) -> Iterator[str]:
    revisions = [revision for revision, _ in log]
    if revisions != list(range(1, len(log) + 1)):
        yield f"revisions have gaps or come twice: {revisions}"


def _acknowledged(writes: Iterable[Write], log: Sequence[tuple[int, State]]) -> Iterator[str]:
    made = dict(log)
    for write in writes:
        if write.revision is not None and made.get(write.revision) != write.changes:
            found = made.get(write.revision)
            yield f"{write.token} was acknowledged as revision {write.revision}, which holds {found}"


def _once(writes: Iterable[Write], log: Sequence[tuple[int, State]]) -> Iterator[str]:
    known = {write.token: write for write in writes}
    seen: dict[str, int] = {}
    for revision, changes in log:
        for token in sorted(set(changes.values())):
            write = known.get(token)
            if token in seen:
                yield f"{token} was applied in revision {seen[token]} and again in {revision}"
            elif write is None:
                yield f"revision {revision} holds {token}, which nobody wrote"
            elif changes != write.changes:
                yield f"{token} was half applied in revision {revision}: {changes}"
            elif write.is_known and write.revision is None:
                yield f"{token} was refused, and is in revision {revision}"
            seen[token] = revision


def _read(history: History) -> Iterator[str]:
    states: dict[int, State] = {0: {}}
    for revision, changes in history.log:
        states[revision] = {**states.get(revision - 1, {}), **changes}
    for read in history.reads:
        if states.get(read.revision) != read.state:
            yield f"a read of revision {read.revision} showed what was never so"
        promised = max((write.revision or 0 for write in history.writes if write.end < read.begin), default=0)
        before = max((other.revision for other in history.reads if other.end < read.begin), default=0)
        if read.revision < max(promised, before):
            yield f"a read showed revision {read.revision} after {max(promised, before)} had been told"


def _watched(watched: Sequence[tuple[int, State]], log: Sequence[tuple[int, State]]) -> Iterator[str]:
    expected = list(log[: len(watched)])
    if list(watched) != expected:
        for seen, made in zip(watched, expected, strict=False):
            if seen != made:
                yield f"a watch showed {seen} where {made} was made"
                return
        yield f"a watch showed {len(watched)} revisions, and {len(log)} were made"
