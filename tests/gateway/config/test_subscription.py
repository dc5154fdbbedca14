"""The bookkeeping of one type's interest, without a stream."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.config.discovery import DiscoveryRequest
from gateway.config.resources import ROUTE, SECRET, Rejection
from gateway.config.subscription import WILDCARD, Subscription

_REJECTION = Rejection(type_url=ROUTE, name="a", version="v1", reason="INVALID_FIELD")


def _opened(wanted: set[str], held: Mapping[str, str] | None = None) -> Subscription:
    subscription = Subscription(SECRET, lambda: held or {}, wanted=wanted)
    subscription.open()
    return subscription


def test_nothing_is_said_before_it_is_opened() -> None:
    subscription = Subscription(ROUTE, dict, wanted={WILDCARD})
    assert subscription.next_request() is None
    subscription.open()
    assert subscription.next_request() == DiscoveryRequest(type_url=ROUTE, subscribe=(WILDCARD,))
    assert subscription.next_request() is None


def test_what_is_held_is_read_when_the_first_request_is_made() -> None:
    held = {"a": "v1"}
    subscription = _opened({WILDCARD}, held)
    held["b"] = "v2"
    request = subscription.next_request()
    assert request is not None
    assert request.initial_versions == {"a": "v1", "b": "v2"}


def test_with_nothing_to_name_nothing_is_said_until_there_is() -> None:
    subscription = _opened(set(), {"a": "v1", "unasked": "v1"})
    assert subscription.next_request() is None
    subscription.want({"a"})
    assert subscription.next_request() == DiscoveryRequest(
        type_url=SECRET, subscribe=("a",), initial_versions={"a": "v1"}
    )


def test_names_that_change_back_before_they_are_said_are_not_said() -> None:
    subscription = _opened({"a"})
    subscription.next_request()
    subscription.want({"b"})
    subscription.want({"a"})
    assert subscription.next_request() is None


def test_an_answer_and_a_change_of_interest_go_in_one_request() -> None:
    subscription = _opened({"a"})
    subscription.next_request()
    subscription.want({"b"})
    subscription.answer("n1", {"a"}, [_REJECTION])
    assert subscription.next_request() == DiscoveryRequest(
        type_url=SECRET, subscribe=("b",), unsubscribe=("a",), nonce="n1", rejections=(_REJECTION,)
    )


def test_answers_keep_their_order() -> None:
    subscription = _opened({WILDCARD})
    subscription.next_request()
    subscription.answer("n1", ())
    subscription.answer("n2", ())
    nonces = [request.nonce for request in (subscription.next_request(), subscription.next_request()) if request]
    assert nonces == ["n1", "n2"]


def test_an_answer_is_given_though_the_type_is_not_open() -> None:
    subscription = Subscription(ROUTE, lambda: {"a": "v1"}, wanted={WILDCARD})
    subscription.answer("n1", {"a"})
    assert subscription.next_request() == DiscoveryRequest(type_url=ROUTE, unsubscribe=(WILDCARD,), nonce="n1")
    # The versions would not count any more.
    subscription.open()
    assert subscription.next_request() == DiscoveryRequest(type_url=ROUTE, subscribe=(WILDCARD,))


def test_recover_before_the_first_request_says_nothing_since_that_lists_the_name() -> None:
    subscription = _opened({WILDCARD}, {"a": "v1"})
    subscription.recover({"a"})
    request = subscription.next_request()
    assert request is not None
    assert (request.subscribe, request.initial_versions) == ((WILDCARD,), {"a": "v1"})


def test_a_response_from_before_the_recovery_was_asked_for_does_not_end_it() -> None:
    subscription = _opened({WILDCARD})
    subscription.next_request()
    subscription.recover({"a"})
    subscription.answer("n1", {"a"})
    assert subscription.next_request() == DiscoveryRequest(type_url=SECRET, subscribe=("a",), nonce="n1")
    subscription.answer("n2", {"a"})
    assert subscription.next_request() == DiscoveryRequest(type_url=SECRET, unsubscribe=("a",), nonce="n2")


def test_recovering_the_same_name_again_asks_again() -> None:
    subscription = _opened({WILDCARD})
    subscription.next_request()
    for _ in range(2):
        subscription.recover({"a"})
        request = subscription.next_request()
        assert request is not None
        assert request.subscribe == ("a",)
    subscription.answer("n1", {"a"})
    request = subscription.next_request()
    assert request is not None
    assert (request.subscribe, request.unsubscribe) == ((), ("a",))


def test_a_response_to_an_earlier_request_does_not_end_a_recovery_not_yet_asked_for_again() -> None:
    subscription = _opened({WILDCARD})
    subscription.next_request()
    subscription.recover({"a"})
    subscription.next_request()
    subscription.recover({"a"})
    subscription.answer("n1", {"a"})
    assert subscription.next_request() == DiscoveryRequest(type_url=SECRET, subscribe=("a",), nonce="n1")


def test_a_name_refused_again_while_it_is_recovered_is_unsubscribed_all_the_same() -> None:
    subscription = _opened({WILDCARD})
    subscription.next_request()
    subscription.recover({"a"})
    subscription.next_request()
    subscription.answer("n1", {"a"}, [_REJECTION])
    request = subscription.next_request()
    assert request is not None
    assert (request.unsubscribe, request.rejections) == (("a",), (_REJECTION,))


_NAMES = st.sampled_from("abcd")


class ServerAndClient(RuleBasedStateMachine):
    """Whatever happens in whatever order, once all is said the server's view of the interest is the client's."""

    is_wildcard = False

    def __init__(self) -> None:
        super().__init__()
        self.wanted = frozenset({WILDCARD} if self.is_wildcard else ())
        self.recovering: set[str] = set()
        self.subscription = Subscription(SECRET, dict, wanted=self.wanted)
        self.is_open = False
        self.interest: set[str] = set()
        self.nonces: list[str] = []
        self.sent = 0

    @rule()
    def open(self) -> None:
        self.subscription.open()
        self.is_open = True

    @rule(names=st.frozensets(_NAMES))
    def want(self, names: frozenset[str]) -> None:
        if not self.is_wildcard:
            self.subscription.want(names)
            self.wanted = names

    @rule(names=st.frozensets(_NAMES))
    def recover(self, names: frozenset[str]) -> None:
        self.subscription.recover(names)

    @rule(names=st.frozensets(_NAMES))
    def respond(self, names: frozenset[str]) -> None:
        self.sent += 1
        self.nonces.append(f"n{self.sent}")
        self.subscription.answer(f"n{self.sent}", names)

    @rule()
    def say(self) -> None:
        while (request := self.subscription.next_request()) is not None:
            assert not set(request.subscribe) & set(request.unsubscribe)
            if request.nonce:
                assert request.nonce == self.nonces.pop(0)
            self.interest = (self.interest | set(request.subscribe)) - set(request.unsubscribe)
        assert not self.nonces

    @rule()
    def settle(self) -> None:
        """The server answers every name: then no name is left but those of lasting interest."""
        self.say()
        self.respond(frozenset("abcd"))
        self.say()
        if self.is_open:
            assert self.interest == self.wanted

    @invariant()
    def nothing_is_asked_for_before_it_is_opened(self) -> None:
        assert self.is_open or not self.interest


class WildcardServerAndClient(ServerAndClient):
    is_wildcard = True


TestByName = ServerAndClient.TestCase
TestByName.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestByWildcard = WildcardServerAndClient.TestCase
TestByWildcard.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(wanted=st.frozensets(_NAMES), held=st.dictionaries(_NAMES, st.sampled_from(["v1", "v2"])))
def test_only_what_is_asked_for_is_listed_as_held(wanted: frozenset[str], held: dict[str, str]) -> None:
    request = _opened(set(wanted), held).next_request()
    listed = {} if request is None else dict(request.initial_versions)
    assert listed == {name: version for name, version in held.items() if name in wanted}
