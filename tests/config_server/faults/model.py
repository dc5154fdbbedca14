"""What a config server must do to a write, said once more in the simplest way. Pure.

Resources are names that hold a text and may be in a set; a write is all done or all refused.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class Item(NamedTuple):
    """What a name holds, and the revision that it was last written in: the one that its etag stands for."""

    text: str
    set: str
    written: int


State: TypeAlias = Mapping[str, Item]
# None: it is gone.
Changes: TypeAlias = Mapping[str, Item | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one write asks for. `token` names it, and nothing else is named so."""

    token: str
    upserts: Mapping[str, str] = field(default_factory=dict)
    deletes: Sequence[str] = ()
    set: str = ""
    prune: bool = False
    base_revision: int | None = None
    held: Mapping[str, int] = field(default_factory=dict)
    """The names that must be as they were when they were written in that revision: those with an etag."""
    new: Collection[str] = ()
    """The names that must not be there yet."""


def refusal(ask: Ask, revision: int, state: State) -> str | None:
    """Why the write must be refused at `revision`, where all is as in `state`. None: it must be done."""
    if ask.base_revision not in (None, revision):
        return "BASE_REVISION_MISMATCH"
    return next(_refusals(ask, state), None)


def _refusals(ask: Ask, state: State) -> Iterator[str]:
    for name in (*ask.upserts, *ask.deletes):
        item = state.get(name)
        if item is None:
            if name in ask.deletes or name in ask.held:
                yield "RESOURCE_NOT_FOUND"
        elif name in ask.new:
            yield "RESOURCE_EXISTS"
        elif ask.held.get(name, item.written) != item.written:
            yield "ETAG_MISMATCH"


def changes(ask: Ask, revision: int, state: State) -> Changes:
    """What the write does at `revision`, in the next one. Nothing: there is no next one."""
    made: dict[str, Item | None] = {}
    for name, text in ask.upserts.items():
        before = state.get(name)
        set_name = ask.set or (before.set if before is not None else "")
        if before is None or (before.text, before.set) != (text, set_name):
            made[name] = Item(text, set_name, revision + 1)
    for name in ask.deletes:
        made[name] = None
    if ask.prune:
        kept = {*ask.upserts, *ask.deletes}
        made.update((name, None) for name, item in state.items() if item.set == ask.set and name not in kept)
    return made


def after(state: State, made: Changes) -> State:
    """The state that these changes lead to."""
    left = {name: item for name, item in state.items() if name not in made}
    return left | {name: item for name, item in made.items() if item is not None}
