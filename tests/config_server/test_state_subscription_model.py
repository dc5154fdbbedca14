"""A model client and a state-of-the-world subscription under random requests, changes, refusals and reconnects."""

from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from config_server.fleet.envoy_types import ENDPOINTS
from config_server.resource_stages import Stage
from config_server.state_subscription import StateSubscription
from config_server.subscription import Page, SubscriptionRequest
from config_server.type_view import TypeView
from config_server.wire import encode_resource

pytestmark = pytest.mark.timeout(600)  # thousands of steps, on a machine that may be busy

NAMES = tuple("abcdef")

names = st.sampled_from(NAMES)
interest = st.lists(st.sampled_from((*NAMES, "*")), max_size=3)
edits = st.dictionaries(names, st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=4)


class ModelClient(RuleBasedStateMachine):
    """Checks every page against all that the client wants, and that none comes without need, nor stays away."""

    type_url: ClassVar = "type.googleapis.com/test.Type"
    is_partial: ClassVar = False

    def __init__(self) -> None:
        super().__init__()
        self.view = TypeView(self.type_url)
        self.revision = 0
        self.nonces = 0

    @initialize(world=edits, wanted=interest)
    def fill(self, world: dict[str, int | None], wanted: list[str]) -> None:
        self.apply(world)
        self.connect(wanted)

    @rule(world=edits)
    def apply(self, world: dict[str, int | None]) -> None:
        self.revision += 1
        self.view.advance(self.revision)
        for name, content in world.items():
            if content is None:
                self.view.remove(name)
            else:
                self.view.put(encode_resource(type_url=self.type_url, name=name, version=f"{content}", body=b"x"))

    @rule(wanted=interest)
    def connect(self, wanted: list[str]) -> None:
        self.subscription = StateSubscription(self.view, is_by_name_only=self.is_partial)
        self.wanted: set[str] = set()
        self.has_named = False
        self.has_all = False
        self.seen: dict[str, str] = {}
        self.nonce = ""
        self.old_nonces: list[str] = []
        self.is_under_way = False
        self.is_answer_due = not self.is_partial
        self.send(wanted)

    @rule(wanted=interest)
    def send(self, wanted: list[str]) -> None:
        """A change of interest, which accepts what came last."""
        self.miss_what_is_gone()
        before = set(self.covered()) if self.is_partial else self.wanted | ({"*"} if self.has_all else set())
        self.has_all = "*" in wanted or (not wanted and not self.has_named)
        self.has_named = self.has_named or bool(wanted)
        self.wanted = set(wanted) - {"*"}
        now = set(self.covered()) if self.is_partial else self.wanted | ({"*"} if self.has_all else set())
        self.is_answer_due = self.is_answer_due or bool(now - before)
        self.seen = {name: version for name, version in self.seen.items() if self.covers(name)}
        answered = self.subscription.request(SubscriptionRequest(subscribe=wanted, nonce=self.nonce))
        assert (answered is not None) == (self.is_under_way and bool(self.nonce))
        self.is_under_way = False

    @precondition(lambda self: self.old_nonces)
    @rule(wanted=interest, data=st.data())
    def send_stale(self, wanted: list[str], data: st.DataObject) -> None:
        nonce = data.draw(st.sampled_from(self.old_nonces))
        assert self.subscription.request(SubscriptionRequest(subscribe=wanted, nonce=nonce)) is None

    @rule()
    def pull(self) -> None:
        self.subscription.absorb()
        self.miss_what_is_gone()
        page = self.subscription.next_answer() or self.subscription.next_change()
        if page is None:
            assert self.is_under_way or self.is_up_to_date()
            return
        assert not self.is_under_way
        assert self.is_answer_due or not self.is_up_to_date()
        self.take(page)

    def miss_what_is_gone(self) -> None:
        """Of what is not there the server says nothing, and remembers nothing: it is sent anew when it comes back."""
        if self.is_partial:
            self.seen = {name: version for name, version in self.seen.items() if self.view.get(name) is not None}

    def take(self, page: Page) -> None:
        given = {resource.name: resource.version for resource in page.resources}
        assert len(given) == len(page.resources)
        assert given == self.covered()
        self.seen = given
        self.is_answer_due = False
        self.is_under_way = True
        if self.nonce:
            self.old_nonces.append(self.nonce)
        self.nonces += 1
        self.nonce = str(self.nonces)
        self.subscription.deliver(page, nonce=self.nonce, revision=self.revision)

    @rule()
    def compare_stages(self) -> None:
        stages = {each.name: each for each in self.subscription.stages()}
        for name, version in self.covered().items():
            assert stages[name].version == version
            if self.seen.get(name) != version:
                assert stages[name].stage is Stage.NOT_SENT
        if not self.is_under_way:
            assert all(each.stage is not Stage.UNDER_WAY for each in stages.values())

    def covers(self, name: str) -> bool:
        return (self.has_all and not self.is_partial) or name in self.wanted

    def covered(self) -> dict[str, str]:
        return {each.name: each.version for each in self.view.resources() if self.covers(each.name)}

    def is_up_to_date(self) -> bool:
        if self.is_partial:
            return all(self.seen.get(name) == version for name, version in self.covered().items())
        return self.seen == self.covered()


class ModelClientOfEndpoints(ModelClient):
    """Of a type that is asked for by name, and of which nothing is said until it is there."""

    type_url = ENDPOINTS
    is_partial = True


def test_the_client_follows_the_world() -> None:
    run_state_machine_as_test(ModelClient, settings=settings(max_examples=100, stateful_step_count=30, deadline=None))


def test_the_client_follows_endpoints() -> None:
    run_state_machine_as_test(
        ModelClientOfEndpoints,
        settings=settings(max_examples=100, stateful_step_count=30, deadline=None),
    )
