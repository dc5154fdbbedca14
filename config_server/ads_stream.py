"""One discovery stream over all types: which response comes next. Pure and synchronous; no gRPC."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.sync_state_pb2 import SyncState
from janua_resources.kinds import SYNC_STATE_NAME, SYNC_STATE_TYPE_URL, kind_info

from config_server.fleet.envoy_types import BY_NAME_ONLY, ENVOY_TYPES
from config_server.fleet.fleet_view import FleetView
from config_server.resource_stages import ResourceStage
from config_server.resources import digest_of, encode
from config_server.snapshot_cache import SnapshotCache
from config_server.subscription import Delivery, Page, Subscription, SubscriptionRequest
from config_server.type_order import place
from config_server.type_subscription import SubscriptionFactory, TypeSubscription
from config_server.type_view import TypeView
from config_server.wire import EncodedResource, Encoder, encode_resource

# What a client may make one stream remember. Far beyond any real one.
MAX_TYPES: Final = 64
MAX_NAMES_PER_TYPE: Final = 100_000

_BY_NAME_ONLY: Final = {kind_info(KIND_SECRET).type_url, *BY_NAME_ONLY}


class TooManySubscriptionsError(Exception):
    """The client asks for more types or names than a stream may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response to be written. `data` is the serialized response."""

    type_url: str
    revision: int
    data: bytes


class AdsStream:
    """The subscriptions of one stream, and the order in which they are served.

    Answers come before pushes. Pushes make before they break: new and changed resources first, what is named before
    what names it, then removals the other way round. A type whose last response is not acknowledged holds up the
    pushes of the types behind it, or the order would be lost. At the end of the first sync comes `SyncState`.

    `source` gives what the node is shown: the same cache as long as no canary that it is of begins or ends.
    """

    def __init__(
        self,
        source: Callable[[], SnapshotCache],
        encoder: Encoder,
        *,
        fleet: FleetView,
        stream_id: str,
        make_subscription: SubscriptionFactory = Subscription,
    ) -> None:
        """Of delta, unless another kind of subscription is made, with the encoder that goes with it."""
        self._source = source
        self._cache = cache = source()
        self._fleet = fleet
        self._encoder = encoder
        self._stream_id = stream_id
        self._make_subscription = make_subscription
        self._responses = 0
        self._revision = cache.revision
        self._fleet_revision = fleet.revision
        self._subscriptions: dict[str, TypeSubscription] = {}
        # All but that to `SyncState`, make before break; types that are not ours last.
        self._ordered: Sequence[tuple[str, TypeSubscription]] = ()
        # Only of this stream: its one resource appears when the first sync is complete.
        self._sync_view = TypeView(SYNC_STATE_TYPE_URL)
        self._sync: TypeSubscription | None = None

    def request(self, type_url: str, request: SubscriptionRequest) -> Delivery | None:
        """Takes in a request. Returns the delivery that it accepts or refuses, if it does.

        Raises TooManySubscriptionsError.
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            subscription = self._subscribe(type_url)
        if subscription.name_count_after(request) > MAX_NAMES_PER_TYPE:
            raise TooManySubscriptionsError(f"a stream may name {MAX_NAMES_PER_TYPE} resources of a type")
        if subscription is self._sync:
            # The mark is sent on every stream: a client that held it from another would wait for it in vain.
            request = replace(request, initial_versions={})
        return subscription.request(request)

    def _subscribe(self, type_url: str) -> TypeSubscription:
        if len(self._subscriptions) >= MAX_TYPES:
            raise TooManySubscriptionsError(f"a stream may ask for {MAX_TYPES} types")
        if type_url == SYNC_STATE_TYPE_URL:
            subscription = self._sync = self._make_subscription(self._sync_view, is_by_name_only=False)
        else:
            subscription = self._make_subscription(self._view(type_url), is_by_name_only=type_url in _BY_NAME_ONLY)
            self._ordered = sorted((*self._ordered, (type_url, subscription)), key=lambda each: place(each[0]))
        self._subscriptions[type_url] = subscription
        return subscription

    def _view(self, type_url: str) -> TypeView:
        # A type that is not ours is one without resources.
        return self._cache.view(type_url) or self._fleet.view(type_url) or TypeView(type_url)

    @property
    def revision(self) -> int:
        """The revision up to which changes have been taken in."""
        return self._revision

    @property
    def fleet_revision(self) -> int:
        """That of the fleet."""
        return self._fleet_revision

    @property
    def asks_for_fleet(self) -> bool:
        """Whether the client wants to know which nodes there are."""
        return any(type_url in self._subscriptions for type_url in ENVOY_TYPES)

    @property
    def has_settled_fleet(self) -> bool:
        """Whether the client has acknowledged which nodes there are now, as far as it asks."""
        if not self.asks_for_fleet:
            return True
        return self._fleet_revision == self._fleet.revision and all(map(self.is_settled, ENVOY_TYPES))

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to send, now or after an acknowledgement."""
        return all(other.is_caught_up for _, other in self._ordered) and (self._sync is None or self._sync.is_caught_up)

    @property
    def has_unsent_changes(self) -> bool:
        """Whether something waits to be pushed."""
        return any(subscription.has_changes or subscription.has_removals for _, subscription in self._ordered)

    def settled_types(self) -> Iterator[str]:
        """The types of which the client has acknowledged all there is."""
        return (type_url for type_url, subscription in self._subscriptions.items() if subscription.is_settled)

    def is_settled(self, type_url: str) -> bool:
        """Whether the client has acknowledged all there is of a type. So it has of one that it does not ask for."""
        subscription = self._subscriptions.get(type_url)
        return subscription is None or subscription.is_settled

    def stages(self) -> Iterator[tuple[str, ResourceStage]]:
        """By type, how far each resource has come that the client asks for."""
        for type_url, subscription in self._subscriptions.items():
            for stage in subscription.stages():
                yield type_url, stage

    def next_response(self, *, push: bool) -> Response | None:
        """The response that comes next, None if there is none now. Without `push`, only answers and `SyncState`."""
        self._absorb()
        response = self._next_answer()
        if response is None and push:
            response = self._next_change() or self._next_removal()
        return response or self._next_sync_state()

    def _absorb(self) -> None:
        """Brings all types to one revision: what is sent never mixes two."""
        source = self._source()
        if source is not self._cache:
            self._cache = source
            self._revision = source.revision
            for type_url, subscription in self._ordered:
                if (view := source.view(type_url)) is not None:
                    subscription.move_to(view)
        if (self._revision, self._fleet_revision) != (self._cache.revision, self._fleet.revision):
            self._revision, self._fleet_revision = self._cache.revision, self._fleet.revision
            for _, subscription in self._ordered:
                subscription.absorb()

    def _next_answer(self) -> Response | None:
        for type_url, subscription in self._ordered:
            if self._fleet.is_held(type_url):
                continue
            if subscription.is_answer_owed and (page := subscription.next_answer()) is not None:
                return self._respond(type_url, subscription, page)
        return None

    def _next_change(self) -> Response | None:
        for type_url, subscription in self._ordered:
            if subscription.has_changes:
                page = subscription.next_change()
                return None if page is None else self._respond(type_url, subscription, page)
        return None

    def _next_removal(self) -> Response | None:
        if any(subscription.has_changes for _, subscription in self._ordered):
            return None
        for type_url, subscription in reversed(self._ordered):
            if subscription.has_removals:
                page = subscription.next_removal()
                return None if page is None else self._respond(type_url, subscription, page)
        return None

    def _next_sync_state(self) -> Response | None:
        if self._sync is None or self._sync.is_caught_up:
            return None
        if not all(other.is_caught_up for _, other in self._ordered):
            return None
        if self._sync_view.get(SYNC_STATE_NAME) is None:
            self._sync_view.put(_sync_state(self._cache.epoch, self._revision))
        page = self._sync.next_answer()
        return None if page is None else self._respond(SYNC_STATE_TYPE_URL, self._sync, page)

    def _respond(self, type_url: str, subscription: TypeSubscription, page: Page) -> Response:
        self._responses += 1
        nonce = f"{self._stream_id}.{self._responses}"
        revision = self._revision
        subscription.deliver(page, nonce=nonce, revision=revision)
        data = self._encoder.encode(
            type_url=type_url, nonce=nonce, revision=revision, resources=page.resources, removed=page.removed
        )
        return Response(type_url=type_url, revision=revision, data=data)


def _sync_state(epoch: str, revision: int) -> EncodedResource:
    """The end mark. Its version is that of the epoch: a later revision alone is no news."""
    return encode_resource(
        type_url=SYNC_STATE_TYPE_URL,
        name=SYNC_STATE_NAME,
        version=digest_of(epoch.encode())[:16].hex(),
        body=encode(SyncState(epoch=epoch, revision=revision)),
    )
