"""Which response of a stream comes next, without a wire."""

from janua.discovery.v3.ads_pb2 import DeltaDiscoveryResponse
from janua_resources.kinds import SYNC_STATE_TYPE_URL

from config_server.ads_stream import AdsStream
from config_server.snapshot_cache import SnapshotCache
from config_server.subscription import SubscriptionRequest
from config_server.wire import ResponseEncoder
from tests.config_server.stored import cache_of, change, empty_fleet
from tests.config_server.worlds import ROUTE, UPSTREAM, consumer, route, service, upstream


class Client:
    """Takes responses from a stream and acknowledges them when told so."""

    def __init__(self, cache: SnapshotCache) -> None:
        self.stream = AdsStream(lambda: cache, ResponseEncoder("replica"), fleet=empty_fleet(), stream_id="7")

    def ask(self, type_url: str, *subscribe: str, nonce: str = "") -> None:
        self.stream.request(type_url, SubscriptionRequest(subscribe=subscribe, nonce=nonce))

    def take(self, *, push: bool = True) -> DeltaDiscoveryResponse | None:
        response = self.stream.next_response(push=push)
        return None if response is None else DeltaDiscoveryResponse.FromString(response.data)

    def take_and_ack(self) -> DeltaDiscoveryResponse:
        response = self.take()
        assert response is not None
        self.ask(response.type_url, nonce=response.nonce)
        return response


def test_answers_come_before_pushes_of_types_that_are_earlier_in_order() -> None:
    cache = cache_of(upstream("u"), service("s"), route("a"))
    client = Client(cache)
    for type_url in (UPSTREAM, ROUTE):
        client.ask(type_url)
        client.take_and_ack()
    change(cache, upstream("u", description="changed"))
    client.ask(ROUTE, "a")
    assert [client.take_and_ack().type_url for _ in range(2)] == [ROUTE, UPSTREAM]
    assert client.take() is None


def test_without_a_push_changes_wait() -> None:
    cache = cache_of(upstream("u"))
    client = Client(cache)
    client.ask(UPSTREAM)
    client.take_and_ack()
    change(cache, upstream("u", description="changed"))
    assert client.take(push=False) is None
    assert client.stream.has_unsent_changes
    assert client.take() is not None
    assert not client.stream.has_unsent_changes


def test_removals_wait_for_all_that_is_new() -> None:
    cache = cache_of(upstream("u"), service("s"), route("a"))
    client = Client(cache)
    for type_url in (UPSTREAM, ROUTE):
        client.ask(type_url)
        client.take_and_ack()
    change(cache, route("a", description="one"))
    unanswered = client.take()
    assert unanswered is not None
    change(cache, upstream("v"), route("a", description="two"))
    change(cache, deletes=(next(key for key in cache.resources if key.name == "v"),))
    # The upstream came and went: there is nothing to tell of it, and the route waits for its acknowledgement.
    assert client.take() is None
    client.ask(ROUTE, nonce=unanswered.nonce)
    assert client.take_and_ack().type_url == ROUTE
    assert client.take() is None


def test_the_sync_state_waits_for_everything_asked_for_before() -> None:
    cache = cache_of(upstream("u"))
    client = Client(cache)
    client.ask(UPSTREAM)
    client.ask(SYNC_STATE_TYPE_URL)
    assert client.take_and_ack().type_url == UPSTREAM
    change(cache, upstream("v"))
    assert client.take(push=False) is None
    assert client.take_and_ack().type_url == UPSTREAM
    mark = client.take_and_ack()
    assert (mark.type_url, mark.system_version_info) == (SYNC_STATE_TYPE_URL, "2")


def test_settled_types_are_those_with_nothing_to_send_or_to_answer() -> None:
    cache = cache_of(upstream("u"), consumer("c"))
    client = Client(cache)
    client.ask(UPSTREAM)
    assert list(client.stream.settled_types()) == []
    response = client.take()
    assert response is not None
    assert list(client.stream.settled_types()) == []
    client.ask(UPSTREAM, nonce=response.nonce)
    assert list(client.stream.settled_types()) == [UPSTREAM]


def test_the_revision_is_that_of_what_has_been_looked_at() -> None:
    cache = cache_of(upstream("u"))
    client = Client(cache)
    client.ask("type.googleapis.com/test.Other")  # of which nothing ever changes
    client.ask(UPSTREAM)
    client.take_and_ack()
    change(cache, upstream("v"))
    assert client.stream.revision == 1
    assert client.take() is not None
    assert client.stream.revision == 2


def test_a_stream_is_idle_while_nothing_is_owed() -> None:
    cache = cache_of(upstream("u"))
    client = Client(cache)
    assert client.stream.is_idle
    client.ask(UPSTREAM)
    assert not client.stream.is_idle
    response = client.take()
    assert response is not None
    assert client.stream.is_idle
    client.ask(UPSTREAM, nonce=response.nonce)
    assert client.stream.is_idle
    client.ask(SYNC_STATE_TYPE_URL)
    assert not client.stream.is_idle
