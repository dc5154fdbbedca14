"""What one state-of-the-world stream wants of one resource type, and what it must be sent. Pure; no gRPC.

The rules are those of the basic variants ("Basic Protocol Overview", xDS REST and gRPC protocol).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from config_server.fleet.envoy_types import ENDPOINTS, ROUTES
from config_server.resource_stages import ResourceStage, stages_of
from config_server.subscription import WILDCARD, Delivery, Page, SubscriptionRequest
from config_server.type_view import TypeView
from config_server.wire import EncodedResource

_NOTHING: Final = Page((), ())

# Types of which a client takes what is absent for not yet there. Of all others, what is absent is gone.
_PARTIAL_TYPES: Final = frozenset({ROUTES, ENDPOINTS})


class StateSubscription:
    """State of one type on one stream. Used in turns as `Subscription` is; `subscribe` is all that the client wants.

    Every response has all that is there of that, in one piece: a page would tell that the rest is gone. Names that
    are gone stand in the page's `removed` for the books of the server; the client sees that they are absent.
    """

    def __init__(self, view: TypeView, *, is_by_name_only: bool = False) -> None:
        """With `is_by_name_only` a wildcard covers nothing."""
        self._view = view
        self._is_by_name_only = is_by_name_only
        self._is_partial = view.type_url in _PARTIAL_TYPES
        self._revision = view.revision
        self._is_new = True
        self._names: frozenset[str] = frozenset()
        self._has_wildcard = False
        # Naming something once means that an empty list is no wildcard from then on.
        self._has_named = False
        self._is_answer_owed = False
        # What differs from what was sent last: name → version that the client was left with.
        self._changed: dict[str, str | None] = {}
        self._nonce = ""
        self._outstanding: Delivery | None = None

    @property
    def is_awaiting_ack(self) -> bool:
        return self._outstanding is not None

    @property
    def has_changes(self) -> bool:
        return bool(self._changed)

    @property
    def has_removals(self) -> bool:
        """Never: they are changes of the whole."""
        return False

    @property
    def is_answer_owed(self) -> bool:
        return self._is_answer_owed

    @property
    def is_caught_up(self) -> bool:
        return not (self._is_new or self._is_answer_owed or self._changed)

    @property
    def is_settled(self) -> bool:
        return self._outstanding is None and self.is_caught_up

    def name_count_after(self, request: SubscriptionRequest) -> int:
        return len(request.subscribe)

    def request(self, request: SubscriptionRequest) -> Delivery | None:
        """Takes in a request. Returns the delivery that it accepts or refuses, if it does.

        One that answers an older response than the last is as if it were not there: the client sends another when it
        has seen the last one.
        """
        if request.nonce and request.nonce != self._nonce:
            return None
        answered = None
        if request.nonce:
            answered, self._outstanding = self._outstanding, None
        self.absorb()
        self._change_interest(request)
        self._is_new = False
        return answered

    def _change_interest(self, request: SubscriptionRequest) -> None:
        names = frozenset(request.subscribe) - {WILDCARD}
        has_wildcard = WILDCARD in request.subscribe or not (request.subscribe or self._has_named)
        self._has_named = self._has_named or bool(request.subscribe)
        added = names - self._names
        if self._is_partial:
            # Nothing is said of names that are not there yet.
            is_asking = any(map(self._view.get, added))
        else:
            is_asking = self._is_new or bool(added) or (has_wildcard and not self._has_wildcard)
        self._is_answer_owed = self._is_answer_owed or is_asking
        self._names, self._has_wildcard = names, has_wildcard
        self._changed = {name: held for name, held in self._changed.items() if self._covers(name)}

    def absorb(self) -> None:
        """Takes in how the view has changed since it was last looked at."""
        if self._revision == self._view.revision:
            return
        for changed in self._view.changes_since(self._revision):
            if self._covers(changed.name):
                self._absorb(changed.name, changed.held)
        self._revision = self._view.revision

    def move_to(self, view: TypeView) -> None:
        """Goes on with another view of the type: what differs there is a change like any other."""
        self.absorb()
        differences = view.changes_from(self._view)
        self._view, self._revision = view, view.revision
        for changed in differences:
            if self._covers(changed.name):
                self._absorb(changed.name, changed.held)

    def _absorb(self, name: str, held: str | None) -> None:
        held = self._changed.pop(name, held)
        version = self._view.version_of(name)
        if version != held and not (version is None and self._is_partial):
            self._changed[name] = held

    def next_answer(self) -> Page | None:
        """What the client asked for. None if nothing, or not now."""
        return self._next() if self._is_answer_owed else None

    def next_change(self) -> Page | None:
        """The whole again, because something of it has changed. None if nothing has, or not now."""
        return self._next() if self._changed else None

    def next_removal(self) -> None:
        """Never any."""

    def _next(self) -> Page | None:
        if self.is_awaiting_ack:
            return None
        removed = [name for name in self._changed if self._view.get(name) is None]
        self._is_answer_owed = False
        self._changed.clear()
        return Page(list(self._covered()), removed)

    def _covered(self) -> Iterable[EncodedResource]:
        if self._covers_all:
            return self._view.resources()
        return filter(None, map(self._view.get, sorted(self._names)))

    def deliver(self, page: Page, *, nonce: str, revision: int) -> None:
        """Notes that `page` is on its way."""
        self._nonce = nonce
        self._outstanding = Delivery(nonce=nonce, revision=revision, page=page, is_complete=self.is_caught_up)

    def stages(self) -> Iterator[ResourceStage]:
        """How far each resource has come that the client asks for, or that it has to be told is gone."""
        page = _NOTHING if self._outstanding is None else self._outstanding.page
        names = {*self._names, *self._changed, *page.removed}
        if self._covers_all:
            names.update(self._view.names_after(""))
        unsent = {changed.name for changed in self._view.changes_since(self._revision)}
        unsent.update(names if self._is_answer_owed else self._changed)
        return stages_of(self._view, names, unsent=unsent, under_way=page.names)

    @property
    def _covers_all(self) -> bool:
        return self._has_wildcard and not self._is_by_name_only

    def _covers(self, name: str) -> bool:
        return self._covers_all or name in self._names
