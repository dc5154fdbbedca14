"""What one stream wants of one resource type, and what it must still be sent. Pure and synchronous; no gRPC.

The rules are those of delta xDS ("Incremental variants", xDS REST and gRPC protocol).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from config_server.resource_stages import ResourceStage, stages_of
from config_server.type_view import Changed, TypeView
from config_server.wire import EncodedResource, removed_size

WILDCARD: Final = "*"


class _Demand(Enum):
    """Marks a name that the client asked for: answered whatever it holds."""

    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimit:
    """How much one response may hold. 1 MiB leaves room here for what surrounds the resources."""

    size: int = 1024 * 1024 - 4096
    names: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRequest:
    """The parts of a discovery request that concern one type's subscription. `nonce` is empty if it answers none.

    In delta, `subscribe` are names that are wanted from now on; in state of the world, all that are wanted.
    """

    subscribe: Sequence[str] = ()
    unsubscribe: Sequence[str] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of one response. No name occurs twice."""

    resources: Sequence[EncodedResource]
    removed: Sequence[str]

    @property
    def names(self) -> frozenset[str]:
        """All that it speaks of."""
        return frozenset(resource.name for resource in self.resources).union(self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A page on its way. `is_complete`: with it the stream has everything of this type at `revision`."""

    nonce: str
    revision: int
    page: Page
    is_complete: bool


_DEFAULT_LIMIT: Final = PageLimit()

# Stands for the version of what a client may hold or not. It is none, so that whatever comes back is sent.
_UNKNOWN: Final = ""
_NOTHING: Final = Page((), ())


class Subscription:
    """State of one type on one stream.

    To be used in turns: `request` for what the client says; `absorb`, then one of the `next_…` methods, then `deliver`
    for what it gets. One response is under way at a time: while `is_awaiting_ack` the `next_…` methods return None.

    What the stream holds is not kept by name. It holds what the view held at the absorbed revision, but for the names
    in `_answers`, `_changed` and `_removed`, and for those that a first walk has not come to. So an idle wildcard
    stream costs one integer, however many resources there are.
    """

    def __init__(
        self, view: TypeView, *, is_by_name_only: bool = False, page_limit: PageLimit = _DEFAULT_LIMIT
    ) -> None:
        """With `is_by_name_only` a wildcard covers nothing: only names that are asked for are answered."""
        self._view = view
        self._is_by_name_only = is_by_name_only
        self._page_limit = page_limit
        self._is_new = True
        self._has_wildcard = False
        self._names: set[str] = set()
        self._revision = view.revision
        # Owed because the client asked for the name, or for everything; then the value is the version it holds.
        self._answers: dict[str, _Demand | str | None] = {}
        self._owes_response = False
        # Owed because the content changed: name → version that the stream was left with.
        self._changed: dict[str, str | None] = {}
        self._removed: dict[str, str] = {}
        # The last name that the walk over everything has come to; None when no walk is on.
        self._cursor: str | None = None
        self._is_repeated_walk = False
        # Names that the walk need not come to any more: they were asked for, and answered, meanwhile.
        self._answered_ahead: set[str] = set()
        self._outstanding: Delivery | None = None

    @property
    def is_awaiting_ack(self) -> bool:
        return self._outstanding is not None

    @property
    def has_changes(self) -> bool:
        return bool(self._changed)

    @property
    def has_removals(self) -> bool:
        return bool(self._removed)

    @property
    def is_caught_up(self) -> bool:
        """Whether everything has been sent, if perhaps not acknowledged."""
        return not (self._is_new or self.is_answer_owed or self._changed or self._removed)

    @property
    def is_settled(self) -> bool:
        """Whether everything has been sent and acknowledged."""
        return self._outstanding is None and self.is_caught_up

    @property
    def is_answer_owed(self) -> bool:
        return self._owes_response or bool(self._answers) or self._cursor is not None

    def name_count_after(self, request: SubscriptionRequest) -> int:
        """How many names it holds once it has taken in the request, at most."""
        return len(self._names) + len(request.subscribe)

    def request(self, request: SubscriptionRequest) -> Delivery | None:
        """Takes in a request. Returns the delivery that it accepts or refuses, if it is the one under way.

        A nonce that is not the last one says nothing; the subscription changes beside it count all the same.
        """
        answered = self._outstanding
        if answered is not None and request.nonce == answered.nonce:
            self._outstanding = None
        else:
            answered = None
        if self._is_new:
            self._begin(request)
        else:
            self.absorb()
            self._change_interest(request)
        return answered

    def _begin(self, request: SubscriptionRequest) -> None:
        """The first request of the type: `initial_versions` is what the client still holds from another stream."""
        self._is_new = False
        self._revision = self._view.revision
        # Never having named anything means the wildcard: so do clients that know nothing of names.
        self._has_wildcard = not request.subscribe or WILDCARD in request.subscribe
        self._names.update(name for name in request.subscribe if name != WILDCARD)
        self._unsubscribe(request.unsubscribe)
        self._owes_response = self._has_wildcard
        held = request.initial_versions
        for name in self._names:
            if name not in held or self._view.version_of(name) != held[name]:
                self._answers[name] = held.get(name, _Demand.EXPLICIT)
        if self._covers_all:
            self._begin_wildcard(held)
        if self._has_wildcard:
            self._removed.update((name, held[name]) for name in held if not self._is_shown(name))

    def _begin_wildcard(self, held: Mapping[str, str]) -> None:
        if not held:
            self._begin_walk()
            return
        for resource in self._view.resources():
            if held.get(resource.name) != resource.version:
                self._answers.setdefault(resource.name, held.get(resource.name))

    def _change_interest(self, request: SubscriptionRequest) -> None:
        for name in request.subscribe:
            if name == WILDCARD:
                self._subscribe_to_all()
            else:
                self._names.add(name)
                self._owe_answer(name)
        self._unsubscribe(request.unsubscribe)

    def _subscribe_to_all(self) -> None:
        self._has_wildcard = True
        self._owes_response = True
        if self._covers_all:
            self._begin_walk()
            self._is_repeated_walk = True
            self._changed.clear()

    def _owe_answer(self, name: str) -> None:
        self._changed.pop(name, None)
        self._removed.pop(name, None)
        self._answers[name] = _Demand.EXPLICIT

    def _unsubscribe(self, names: Sequence[str]) -> None:
        for name in names:
            if name == WILDCARD:
                self._unsubscribe_from_all()
            elif name in self._names:
                self._names.remove(name)
                if self._has_wildcard:
                    # The client cannot know whether the wildcard covers the name: it is told.
                    self._owe_answer(name)
                else:
                    self._drop(name)

    def _unsubscribe_from_all(self) -> None:
        if not self._has_wildcard:
            return
        self._has_wildcard = False
        for name in self._names:
            # The walk would have brought what has changed of it.
            if self._is_ahead(name) and self._view.get(name) is not None:
                self._answers[name] = _Demand.EXPLICIT
        self._end_walk()
        for name in {*self._answers, *self._changed, *self._removed} - self._names:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._answers.pop(name, None)
        self._changed.pop(name, None)
        self._removed.pop(name, None)

    def absorb(self) -> None:
        """Takes in how the view has changed since it was last looked at."""
        if self._revision == self._view.revision:
            return
        self._absorb_all(self._view.changes_since(self._revision))
        self._revision = self._view.revision

    def move_to(self, view: TypeView) -> None:
        """Goes on with another view of the type: what differs there is a change like any other."""
        self.absorb()
        differences = view.changes_from(self._view)
        self._view, self._revision = view, view.revision
        self._absorb_all(differences)

    def _absorb_all(self, changes: Iterable[Changed]) -> None:
        for changed in changes:
            if self._covers(changed.name) and changed.name not in self._answers:
                self._absorb(changed.name, changed.held)

    def _absorb(self, name: str, held: str | None) -> None:
        version = self._view.version_of(name)
        if self._is_ahead(name):
            # The walk will come to it, if it is there.
            self._removed.pop(name, None)
            if version is None and self._is_repeated_walk:
                self._removed[name] = _UNKNOWN
            return
        if name in self._changed:
            held = self._changed.pop(name)
        held = self._removed.pop(name, held)
        if version is None:
            if held is not None:
                self._removed[name] = held
        elif version != held:
            self._changed[name] = held

    def next_answer(self) -> Page | None:
        """What the client asked for: at most a page of it. None if nothing, or not now."""
        if self.is_awaiting_ack or not self.is_answer_owed:
            return None
        page = _PageBuilder(self._page_limit)
        is_forced = self._owes_response
        self._owes_response = False
        self._add_answers(page)
        if not self._answers and self._cursor is not None:
            self._walk(page)
        return page.build() if page.has_content or is_forced else None

    def _add_answers(self, page: "_PageBuilder") -> None:
        for name in tuple(self._answers):
            held = self._answers[name]
            resource = self._view.get(name) if self._covers(name) else None
            if resource is None:
                if held is not None and not page.remove(name):
                    return
            elif resource.version != held and not page.add(resource):
                return
            del self._answers[name]
            if self._is_ahead(name):
                self._answered_ahead.add(name)

    def _walk(self, page: "_PageBuilder") -> None:
        assert self._cursor is not None
        for name in self._view.names_after(self._cursor):
            resource = self._view.get(name)
            if resource is not None and self._is_ahead(name) and not page.add(resource):
                return
            self._cursor = name
        self._end_walk()

    def _begin_walk(self) -> None:
        self._cursor = ""
        self._answered_ahead.clear()

    def _end_walk(self) -> None:
        self._cursor = None
        self._is_repeated_walk = False
        self._answered_ahead.clear()

    def next_change(self) -> Page | None:
        """Created and changed resources: at most a page of them."""
        if self.is_awaiting_ack or not self._changed:
            return None
        page = _PageBuilder(self._page_limit)
        for name in tuple(self._changed):
            resource = self._view.get(name)
            if resource is not None and not page.add(resource):
                break
            del self._changed[name]
        return page.build()

    def next_removal(self) -> Page | None:
        """Names that are gone: at most a page of them."""
        if self.is_awaiting_ack or not self._removed:
            return None
        page = _PageBuilder(self._page_limit)
        for name in tuple(self._removed):
            if not page.remove(name):
                break
            del self._removed[name]
        return page.build()

    def deliver(self, page: Page, *, nonce: str, revision: int) -> None:
        """Notes that `page` is on its way."""
        self._outstanding = Delivery(nonce=nonce, revision=revision, page=page, is_complete=self.is_caught_up)

    def stages(self) -> Iterator[ResourceStage]:
        """How far each resource has come that the client asks for, or that it has to be told is gone."""
        page = _NOTHING if self._outstanding is None else self._outstanding.page
        names = {*self._names, *self._removed, *page.removed}
        if self._covers_all:
            names.update(self._view.names_after(""))
        unsent = {changed.name for changed in self._view.changes_since(self._revision)}
        unsent.update(self._answers, self._changed, self._removed, filter(self._is_ahead, names))
        return stages_of(self._view, names, unsent=unsent, under_way=page.names)

    @property
    def _covers_all(self) -> bool:
        return self._has_wildcard and not self._is_by_name_only

    def _covers(self, name: str) -> bool:
        return self._covers_all or name in self._names

    def _is_shown(self, name: str) -> bool:
        return (self._covers(name) and self._view.get(name) is not None) or name in self._answers

    def _is_ahead(self, name: str) -> bool:
        """Whether the walk has still to come to this name."""
        return self._cursor is not None and name > self._cursor and name not in self._answered_ahead


class _PageBuilder:
    """Collects a page. Refuses what is over the limits, but never the first piece: a page must get on."""

    def __init__(self, limit: PageLimit) -> None:
        self._limit = limit
        self._resources: list[EncodedResource] = []
        self._removed: list[str] = []
        self._size = 0

    @property
    def has_content(self) -> bool:
        return bool(self._resources or self._removed)

    def add(self, resource: EncodedResource) -> bool:
        if not self._take(resource.size):
            return False
        self._resources.append(resource)
        return True

    def remove(self, name: str) -> bool:
        if not self._take(removed_size(name)):
            return False
        self._removed.append(name)
        return True

    def _take(self, size: int) -> bool:
        names = len(self._resources) + len(self._removed)
        is_full = names >= self._limit.names or self._size + size > self._limit.size
        if is_full and self.has_content:
            return False
        self._size += size
        return True

    def build(self) -> Page:
        return Page(self._resources, self._removed)
