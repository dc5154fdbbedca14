"""What policies change of one request and of its answer, decided before a backend is called. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gateway.types import ChatEvent

Pairs: TypeAlias = Iterable[tuple[bytes, bytes]]

JsonEdit: TypeAlias = Callable[[dict[str, Any]], None]
"""Changes a JSON object in place."""


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Headers that are taken away, and then those that are set; names are in lower case."""

    removed: frozenset[bytes] = frozenset()
    added: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether they change nothing."""
        return not self.removed and not self.added

    def then(self, later: "HeaderEdits") -> "HeaderEdits":
        """Both, one after the other."""
        kept = tuple((name, value) for name, value in self.added if name not in later.removed)
        return HeaderEdits(self.removed | later.removed, (*kept, *later.added))

    def apply(self, headers: Pairs) -> list[tuple[bytes, bytes]]:
        """The headers, names in lower case, changed."""
        return [*((name, value) for name, value in headers if name not in self.removed), *self.added]


def header_edits(removed: Iterable[bytes], added: Sequence[tuple[bytes, bytes]]) -> HeaderEdits:
    """Edits that remove these headers and set those, whatever was there."""
    return HeaderEdits(frozenset(removed) | {name for name, _ in added}, tuple(added))


def edited_pairs(edits: HeaderEdits | None, headers: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """The headers, changed if there is something to change."""
    return headers if edits is None else edits.apply(headers)


def edited_mapping(edits: HeaderEdits | None, headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The same for headers by name."""
    return headers if edits is None else dict(edits.apply(headers.items()))


class EventEditor(Protocol):
    """Changes the events of one answer."""

    def edit(self, event: ChatEvent) -> Sequence[ChatEvent]:
        """What goes on now. Raises `GatewayError` where the answer must end."""

    def finish(self) -> Sequence[ChatEvent]:
        """What has been held until the end."""


class JudgingEditor:
    """Holds events for somebody elsewhere to judge."""

    def edit(self, event: ChatEvent) -> Sequence[ChatEvent]:
        """What goes on at once: nothing that has to be judged, nor what comes after it."""
        raise NotImplementedError

    @property
    def is_due(self) -> bool:
        """Whether there is enough to be judged."""
        raise NotImplementedError

    async def judge(self, *, is_last: bool) -> Sequence[ChatEvent]:
        """What goes on of all that is held. Raises `GatewayError` where the answer must end."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEdits:
    """What is changed of an answer: its headers, its events, then its JSON.

    An editor is made for each answer; it is told whether the answer is there as a whole. `is_judged`: some of them are
    of those who ask somebody elsewhere.
    """

    headers: HeaderEdits = HeaderEdits()
    events: tuple[Callable[[bool], EventEditor | JudgingEditor], ...] = ()
    json: tuple[JsonEdit, ...] = ()
    is_judged: bool = False

    def then(self, later: "AnswerEdits") -> "AnswerEdits":
        """Both, one after the other."""
        return AnswerEdits(
            headers=self.headers.then(later.headers),
            events=(*self.events, *later.events),
            json=(*self.json, *later.json),
            is_judged=self.is_judged or later.is_judged,
        )


class EditedEvents:
    """The events of one answer, through all editors in turn."""

    def __init__(self, edits: AnswerEdits, *, is_whole: bool = False) -> None:
        self._editors: list[EventEditor | JudgingEditor] = [make(is_whole) for make in edits.events]

    def edit(self, event: ChatEvent) -> Iterable[ChatEvent]:
        """What goes on of an event. Raises what editors raise."""
        return self._through(0, [event])

    def edit_all(self, events: Iterable[ChatEvent]) -> list[ChatEvent]:
        """What goes on of several. Raises what editors raise."""
        return [edited for event in events for edited in self.edit(event)]

    def finish(self) -> Iterable[ChatEvent]:
        """What editors have held of an answer that nobody judges. Raises what editors raise."""
        for number, editor in enumerate(self._editors):
            assert not isinstance(editor, JudgingEditor), "what is judged has an end of its own"
            yield from self._through(number + 1, editor.finish())

    async def settle(self) -> list[ChatEvent]:
        """What goes on of what is to be judged by now. Raises what editors raise."""
        settled: list[ChatEvent] = []
        for number, editor in enumerate(self._editors):
            if isinstance(editor, JudgingEditor) and editor.is_due:
                settled += self._through(number + 1, await editor.judge(is_last=False))
        return settled

    async def end(self) -> list[ChatEvent]:
        """What editors have held, once it is judged. Raises what editors raise."""
        ended: list[ChatEvent] = []
        for number, editor in enumerate(self._editors):
            held = await editor.judge(is_last=True) if isinstance(editor, JudgingEditor) else editor.finish()
            ended += self._through(number + 1, held)
        return ended

    def _through(self, first: int, events: Iterable[ChatEvent]) -> Iterable[ChatEvent]:
        for editor in self._editors[first:]:
            events = [edited for event in events for edited in editor.edit(event)]
        return events


async def edited_events(edits: AnswerEdits | None, events: Sequence[ChatEvent]) -> Sequence[ChatEvent]:
    """The events of a whole answer, changed if there is something to change."""
    if edits is None or not edits.events:
        return events
    through = EditedEvents(edits, is_whole=True)
    return [*through.edit_all(events), *await through.end()]
