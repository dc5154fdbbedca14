"""What clients of config servers saw, and whether servers that keep their word could have shown it to them.

The log is what the servers say at the end that every revision changed, and which write made it.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from tests.config_server.faults.model import Ask, Changes, State, after, changes, refusal

# Reasons of refusals that say nothing of the write itself: it could not be done, and was not.
NOT_DONE = frozenset({"STORE_UNAVAILABLE", "TOO_MANY_WRITES", "TOO_MANY_CONFLICTS", "HISTORY_LOST"})
REUSED = "REQUEST_ID_REUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write and its answer: a revision, or the reason of a refusal. Neither: nobody knows what became of it.

    One that is repeated under its request id is there again.
    """

    ask: Ask
    begin: float
    end: float
    revision: int | None = None
    response: bytes = b""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was there of `names` (None: of all), at one moment. `revision` None: the answer did not tell it."""

    begin: float
    end: float
    revision: int | None
    state: State
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What one watch brought, resumed whenever it broke: perhaps a first list, then what each revision changed."""

    after_revision: int
    first: State | None = None
    seen: list[tuple[int, Changes]] = field(default_factory=list)

    @property
    def revision(self) -> int:
        """What it is to be resumed after."""
        return self.seen[-1][0] if self.seen else self.after_revision


@dataclass(frozen=True, slots=True)
class Revision:
    """What a revision changed, and the token of the write that made it."""

    number: int
    token: str
    changes: Changes


@dataclass(slots=True, kw_only=True)
class History:
    """All that was seen, in no particular order, and the log from revision 1 on."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    log: list[Revision] = field(default_factory=list)


def violations(history: History) -> list[str]:
    """Every way in which the servers did not keep their word."""
    checker = _Checker(history)
    return [
        *checker.dense(),
        *checker.made_as_asked(),
        *checker.answers(),
        *checker.refusals(),
        *checker.repeated_answers(),
        *checker.order(),
        *checker.reads(),
        *checker.watches(),
    ]


_Call: TypeAlias = Write | Read


class _Checker:
    def __init__(self, history: History) -> None:
        self._history = history
        self._log = history.log
        self._asks = {write.ask.token: write.ask for write in history.writes}
        nothing: State = {}
        self._states = list(accumulate((each.changes for each in history.log), after, initial=nothing))
        self._told = list(_first_told(history))
        told = self._told
        # The highest revision told by calls up to each end, and the lowest by calls from each begin on.
        by_end = sorted(told, key=lambda call: call.end)
        self._ends = [call.end for call in by_end]
        self._told_before = list(accumulate((call.revision or 0 for call in by_end), max, initial=0))
        by_begin = sorted(told, key=lambda call: call.begin)
        self._begins = [call.begin for call in by_begin]
        later = accumulate((call.revision or 0 for call in reversed(by_begin)), min, initial=len(history.log))
        self._told_after = list(later)[::-1]

    def _window(self, call: _Call) -> range:
        """The revisions that there may have been while the call was answered."""
        least = self._told_before[bisect_left(self._ends, call.begin)]
        most = self._told_after[bisect_right(self._begins, call.end)]
        return range(least, min(most, len(self._log)) + 1)

    def _state(self, revision: int) -> State | None:
        return self._states[revision] if 0 <= revision < len(self._states) else None

    def dense(self) -> Iterator[str]:
        numbers = [each.number for each in self._log]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"revisions have gaps or come twice: {numbers}"

    def made_as_asked(self) -> Iterator[str]:
        """Every revision is one write, all of it, that could be done then."""
        seen: dict[str, int] = {}
        for revision, before in zip(self._log, self._states, strict=False):
            ask = self._asks.get(revision.token)
            if ask is None:
                yield f"revision {revision.number} is of {revision.token!r}, which nobody wrote"
                continue
            if ask.token in seen:
                yield f"{ask.token} was applied in revision {seen[ask.token]} and again in {revision.number}"
            seen[ask.token] = revision.number
            reason = refusal(ask, revision.number - 1, before)
            if reason is not None:
                yield f"{ask.token} was applied in revision {revision.number} in spite of {reason}"
            elif (expected := changes(ask, revision.number - 1, before)) != revision.changes:
                found = dict(revision.changes)
                yield f"{ask.token} was half applied in revision {revision.number}: {found}, not {expected}"

    def answers(self) -> Iterator[str]:
        """Whatever was acknowledged is there."""
        for write in self._history.writes:
            if write.revision is None:
                continue
            state = self._state(write.revision)
            made = self._log[write.revision - 1].token if state is not None and write.revision else None
            if made == write.ask.token:
                continue
            if state is None or changes(write.ask, write.revision, state):
                yield f"{write.ask.token} was acknowledged as revision {write.revision}, which is of {made}"

    def refusals(self) -> Iterator[str]:
        """Whatever was refused is not there, and had to be refused."""
        made = {revision.token: revision.number for revision in self._log}
        for write in self._history.writes:
            if not write.reason:
                continue
            token = write.ask.token
            if token in made:
                yield f"{token} was refused, and is in revision {made[token]}"
            elif write.reason not in NOT_DONE | {REUSED} and not self._could_refuse(write):
                yield f"{token} was refused for {write.reason}, which was not so"

    def _could_refuse(self, write: Write) -> bool:
        return any(
            refusal(write.ask, revision, self._states[revision]) == write.reason for revision in self._window(write)
        )

    def repeated_answers(self) -> Iterator[str]:
        """A request id has one answer."""
        answers: defaultdict[str, set[tuple[int, bytes]]] = defaultdict(set)
        for write in self._history.writes:
            if write.revision is not None:
                answers[write.ask.token].add((write.revision, write.response))
        for token, found in answers.items():
            if len(found) > 1:
                yield f"{token} was answered differently when it was repeated: {sorted(found)}"

    def order(self) -> Iterator[str]:
        """Whoever asks later sees no earlier state."""
        for call in self._told:
            least = self._told_before[bisect_left(self._ends, call.begin)]
            if call.revision is not None and call.revision < least:
                what = "a read" if isinstance(call, Read) else call.ask.token
                yield f"{what} was told revision {call.revision} after {least} had been told"

    def reads(self) -> Iterator[str]:
        """Whatever was read was so, all of it at one moment."""
        for read in self._history.reads:
            window = self._window(read) if read.revision is None else (read.revision,)
            if not any(_shows(read, self._state(revision)) for revision in window):
                told = "" if read.revision is None else f" of revision {read.revision}"
                yield f"a read{told} showed what was not so: {dict(read.state)}"

    def watches(self) -> Iterator[str]:
        """A watch brings every revision once, whole, in order."""
        log = [(revision.number, revision.changes) for revision in self._log]
        for watch in self._history.watches:
            if watch.first is not None and watch.first != self._state(watch.after_revision):
                yield f"a watch began at revision {watch.after_revision} with what was not so: {dict(watch.first)}"
            expected = log[watch.after_revision : watch.after_revision + len(watch.seen)]
            for seen, made in zip(watch.seen, expected, strict=False):
                if seen != made:
                    yield f"a watch showed {seen} where {made} was made"
                    break
            else:
                if len(expected) < len(watch.seen):
                    yield f"a watch showed {len(watch.seen)} revisions, and {len(expected)} were made"


def _first_told(history: History) -> Iterator[_Call]:
    """The calls whose answer told the revision that was. An answer that is given again tells the one of then."""
    yield from (read for read in history.reads if read.revision is not None)
    answered: set[str] = set()
    for write in sorted(history.writes, key=lambda write: write.end):
        if write.revision is not None and write.ask.token not in answered:
            answered.add(write.ask.token)
            yield write


def _shows(read: Read, state: State | None) -> bool:
    if state is None:
        return False
    return read.state == {name: item for name, item in state.items() if read.names is None or name in read.names}
