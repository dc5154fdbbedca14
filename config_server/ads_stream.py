"""One discovery stream over all types: which response comes next. Pure and synchronous; no gRPC."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.sync_state_pb2 import SyncState
from janua_resources.kinds import KINDS, SYNC_STATE_NAME, SYNC_STATE_TYPE_URL, kind_info

from config_server.resources import digest_of, encode
from config_server.snapshot_cache import SnapshotCache
from config_server.subscription import Delivery, Page, Subscription, SubscriptionRequest
from config_server.type_view import TypeView
from config_server.wire import EncodedResource, ResponseEncoder, encode_resource

# What a client may make one stream remember. Far beyond any real one.
MAX_TYPES: Final = 64
MAX_NAMES_PER_TYPE: Final = 100_000

_PLACES: Final = {info.type_url: place for place, info in enumerate(KINDS)}
_SECRET_TYPE_URL: Final = kind_info(KIND_SECRET).type_url


class TooManySubscriptionsError(Exception):
    """The client asks for more types or names than a stream may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response to be written. `data` is the serialized `DeltaDiscoveryResponse`."""

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

    def __init__(self, source: Callable[[], SnapshotCache], encoder: ResponseEncoder, *, stream_id: str) -> None:
        self._source = source
        self._cache = cache = source()
        self._encoder = encoder
        self._stream_id = stream_id
        self._responses = 0
        self._revision = cache.revision
        self._subscriptions: dict[str, Subscription] = {}
        # All but that to `SyncState`, make before break; types that are not ours last.
        self._ordered: Sequence[tuple[str, Subscription]] = ()
        # Only of this stream: its one resource appears when the first sync is complete.
        self._sync_view = TypeView(SYNC_STATE_TYPE_URL)
        self._sync: Subscription | None = None

    def request(self, type_url: str, request: SubscriptionRequest) -> Delivery | None:
        """Takes in a request. Returns the delivery that it accepts or refuses, if it does.

        Raises TooManySubscriptionsError.
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            subscription = self._subscribe(type_url)
        if subscription.name_count + len(request.subscribe) > MAX_NAMES_PER_TYPE:
            raise TooManySubscriptionsError(f"a stream may name {MAX_NAMES_PER_TYPE} resources of a type")
        if subscription is self._sync:
            # The mark is sent on every stream: a client that held it from another would wait for it in vain.
            request = replace(request, initial_versions={})
        return subscription.request(request)

    def _subscribe(self, type_url: str) -> Subscription:
        if len(self._subscriptions) >= MAX_TYPES:
            raise TooManySubscriptionsError(f"a stream may ask for {MAX_TYPES} types")
        if type_url == SYNC_STATE_TYPE_URL:
            subscription = self._sync = Subscription(self._sync_view)
        else:
            subscription = Subscription(self._view(type_url), is_by_name_only=type_url == _SECRET_TYPE_URL)
            self._ordered = sorted((*self._ordered, (type_url, subscription)), key=_place)
        self._subscriptions[type_url] = subscription
        return subscription

    def _view(self, type_url: str) -> TypeView:
        # A type that is not ours is one without resources.
        return self._cache.view(type_url) or TypeView(type_url)

    @property
    def revision(self) -> int:
        """The revision up to which changes have been taken in."""
        return self._revision

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
        return self._subscriptions[type_url].is_settled

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
                subscription.move_to(self._view(type_url))
        elif self._revision != self._cache.revision:
            self._revision = self._cache.revision
            for _, subscription in self._ordered:
                subscription.absorb()

    def _next_answer(self) -> Response | None:
        for type_url, subscription in self._ordered:
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

    def _respond(self, type_url: str, subscription: Subscription, page: Page) -> Response:
        self._responses += 1
        nonce = f"{self._stream_id}.{self._responses}"
        revision = self._revision
        subscription.deliver(page, nonce=nonce, revision=revision)
        data = self._encoder.encode(
            type_url=type_url, nonce=nonce, revision=revision, resources=page.resources, removed=page.removed
        )
        return Response(type_url=type_url, revision=revision, data=data)


def _place(subscription: tuple[str, Subscription]) -> int:
    """Where a type stands in the order; types that are not ours have the last place together."""
    return _PLACES.get(subscription[0], len(_PLACES))


def _sync_state(epoch: str, revision: int) -> EncodedResource:
    """The end mark. Its version is that of the epoch: a later revision alone is no news."""
    return encode_resource(
        type_url=SYNC_STATE_TYPE_URL,
        name=SYNC_STATE_NAME,
        version=digest_of(epoch.encode())[:16].hex(),
        body=encode(SyncState(epoch=epoch, revision=revision)),
    )
