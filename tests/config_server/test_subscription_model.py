"""A model client and a subscription under random requests, changes, refusals and reconnects."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from config_server.subscription import Page, PageLimit, Subscription, SubscriptionRequest
from config_server.type_view import TypeView
from config_server.wire import encode_resource

pytestmark = pytest.mark.timeout(600)  # thousands of steps, on a machine that may be busy

NAMES = tuple("abcdef")
TYPE = "type.googleapis.com/test.Type"

names = st.sampled_from(NAMES)
interest = st.lists(st.sampled_from((*NAMES, "*")), max_size=3)
edits = st.dictionaries(names, st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=4)


class ModelClient(RuleBasedStateMachine):
    """Checks every page against what a client that follows the protocol may be sent."""

    by_name_only = False

    def __init__(self) -> None:
        super().__init__()
        self.view = TypeView(TYPE)
        self.revision = 0
        self.nonces = 0

    @initialize(world=edits)
    def fill(self, world: dict[str, int | None]) -> None:
        self.change(world)
        self.accepted: dict[str, str] = {}
        self.connect([], [])

    def change(self, world: dict[str, int | None]) -> None:
        self.revision += 1
        self.view.advance(self.revision)
        for name, content in world.items():
            if content is None:
                self.view.remove(name)
            else:
                self.view.put(encode_resource(type_url=TYPE, name=name, version=f"{name}{content}", body=b"x" * 10))

    @rule(world=edits)
    def apply(self, world: dict[str, int | None]) -> None:
        self.change(world)

    @rule(world=edits, before=edits)
    def move(self, world: dict[str, int | None], before: dict[str, int | None]) -> None:
        """The stream goes on with another view, which has gone on otherwise from here."""
        other = TypeView(TYPE, self.revision, self.view.resources())
        self.change(before)  # in the old view, and perhaps not taken in yet
        self.view, self.revision = other, self.revision - 1
        self.change(world)
        self.subscription.move_to(other)

    @rule(subscribe=interest, unsubscribe=interest)
    def connect(self, subscribe: list[str], unsubscribe: list[str]) -> None:
        self.subscription = Subscription(self.view, is_by_name_only=self.by_name_only, page_limit=PageLimit(names=2))
        self.wildcard = (not subscribe or "*" in subscribe) and "*" not in unsubscribe
        self.names = {name for name in subscribe if name != "*"} - set(unsubscribe)
        self.accepted = {name: version for name, version in self.accepted.items() if self.is_wanted(name)}
        self.seen: dict[str, str | None] = dict(self.accepted)
        both = set(subscribe) & set(unsubscribe)
        self.demanded = {name for name in self.names if self.accepted.get(name) is None} | both
        self.owes_first = self.wildcard
        self.under_way: tuple[str, Page] | None = None
        self.subscription.request(
            SubscriptionRequest(subscribe=subscribe, unsubscribe=unsubscribe, initial_versions=dict(self.accepted))
        )

    @rule(subscribe=interest, unsubscribe=interest, stale=st.booleans())
    def change_interest(self, subscribe: list[str], unsubscribe: list[str], stale: bool) -> None:
        request = SubscriptionRequest(
            subscribe=subscribe, unsubscribe=unsubscribe, nonce="of another stream" if stale else ""
        )
        self.note_interest(subscribe, unsubscribe)
        assert self.subscription.request(request) is None

    def note_interest(self, subscribe: list[str], unsubscribe: list[str]) -> None:
        for name in subscribe:
            if name == "*":
                self.wildcard = True
                self.owes_first = True
                self.demanded.update(NAMES)
            else:
                self.names.add(name)
                self.demanded.add(name)
        for name in unsubscribe:
            if name == "*":
                self.wildcard = False
            elif name in self.names:
                self.names.remove(name)
                self.demanded.add(name)
        for name in NAMES:
            if not self.is_wanted(name) and not self.wildcard:
                self.seen.pop(name, None)
                self.accepted.pop(name, None)
                self.demanded.discard(name)

    @rule(refuse=st.sets(names), subscribe=interest)
    def answer(self, refuse: set[str], subscribe: list[str]) -> None:
        """Accepts the response under way but for the names in `refuse`, in one request with new interest."""
        if self.under_way is None:
            return
        nonce, page = self.under_way
        self.under_way = None
        for resource in page.resources:
            if resource.name not in refuse and resource.name in self.seen:
                self.accepted[resource.name] = resource.version
        for name in page.removed:
            self.accepted.pop(name, None)
        self.note_interest(subscribe, [])
        delivery = self.subscription.request(SubscriptionRequest(subscribe=subscribe, nonce=nonce))
        assert delivery is not None
        assert delivery.page is page

    @rule()
    def take(self) -> None:
        self.subscription.absorb()
        page = self.subscription.next_answer() or self.subscription.next_change() or self.subscription.next_removal()
        if page is None:
            return
        assert self.under_way is None, "a second response before the first was answered"
        self.check(page)
        self.nonces += 1
        nonce = str(self.nonces)
        self.subscription.deliver(page, nonce=nonce, revision=self.revision)
        self.under_way = nonce, page

    def check(self, page: Page) -> None:
        mentioned = [*(resource.name for resource in page.resources), *page.removed]
        assert len(mentioned) == len(set(mentioned))
        assert mentioned or self.owes_first or self.demanded
        self.owes_first = False
        for resource in page.resources:
            assert self.is_wanted(resource.name)
            assert self.view.get(resource.name) == resource
            is_news = self.seen.get(resource.name) != resource.version
            assert is_news or resource.name in self.demanded, "an unchanged version was sent again"
            self.seen[resource.name] = resource.version
        for name in page.removed:
            assert self.view.get(name) is None or not self.is_wanted(name)
            assert self.seen.get(name) is not None or name in self.demanded, "a removal of what was never held"
            self.seen[name] = None
        self.demanded.difference_update(mentioned)

    def is_wanted(self, name: str) -> bool:
        return name in self.names or (self.wildcard and not self.by_name_only)

    @invariant()
    def a_caught_up_client_has_the_state_of_the_store(self) -> None:
        if self.revision == 0 or not self.subscription.is_caught_up:
            return
        self.subscription.absorb()
        if self.subscription.is_caught_up:
            for name in filter(self.is_wanted, NAMES):
                assert self.seen.get(name) == self.view.version_of(name)

    def teardown(self) -> None:
        """Everything owed is delivered in the end, and then nothing more."""
        if self.revision == 0:
            return
        for _ in range(len(NAMES) * 4):
            self.answer_all()
            self.take()
        assert self.under_way is None
        assert self.subscription.is_caught_up
        self.a_caught_up_client_has_the_state_of_the_store()

    def answer_all(self) -> None:
        if self.under_way is not None:
            self.subscription.request(SubscriptionRequest(nonce=self.under_way[0]))
            self.under_way = None


class ByNameOnlyClient(ModelClient):
    by_name_only = True


def test_model_client() -> None:
    run_state_machine_as_test(ModelClient, settings=settings(max_examples=200, stateful_step_count=40, deadline=None))


def test_model_client_of_a_type_that_is_by_name_only() -> None:
    run_state_machine_as_test(
        ByNameOnlyClient, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )
