"""One discovery stream as the node sees it, without the wire: a subscription for each type, and what is to be said."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from gateway.config.discovery import DiscoveryRequest, DiscoveryResponse
from gateway.config.resources import RESOURCE_TYPES, SECRET, SYNC_STATE, Rejection
from gateway.config.sink import ConfigSink
from gateway.config.subscription import WILDCARD, Subscription


class Stream:
    """A new stream starts blank. Whatever gives it something to say sets `has_news`; `requests` says it.

    Once `is_live` is false, what it is told goes nowhere.
    """

    def __init__(self, sink: ConfigSink) -> None:
        self.is_live = True
        self.has_news = asyncio.Event()
        self._sink = sink
        # Requests go out in this order.
        self._subscriptions = {
            SECRET: Subscription(SECRET, partial(sink.held_versions, SECRET), wanted=sink.secret_names()),
            **{
                type_url: Subscription(type_url, partial(sink.held_versions, type_url), wanted={WILDCARD})
                for type_url in RESOURCE_TYPES
                if type_url != SECRET
            },
            # The end of the sync is to be told on every stream, so it is never listed as held.
            SYNC_STATE: Subscription(SYNC_STATE, dict, wanted={WILDCARD}),
        }

    def open(self, type_url: str) -> None:
        """Lets the type's first request go, which lists what is held."""
        self._subscriptions[type_url].open()
        self.has_news.set()

    def refresh_secret_names(self) -> None:
        """Asks for the secrets that the sink names by now, and no longer for others."""
        self._subscriptions[SECRET].want(self._sink.secret_names())
        self.has_news.set()

    def recover(self, type_url: str, names: Collection[str]) -> None:
        """Asks once more for names that were refused and are in use after all."""
        self._subscriptions[type_url].recover(names)
        self.has_news.set()

    def asks_for(self, type_url: str, name: str) -> bool:
        """Whether such a resource may come."""
        return self._subscriptions[type_url].asks_for(name)

    def answer(self, response: DiscoveryResponse, rejections: Sequence[Rejection] = ()) -> None:
        """Accepts or refuses a response, also one of a type that was never asked for."""
        subscription = self._subscriptions.get(response.type_url)
        if subscription is None:
            subscription = Subscription(response.type_url, dict)
            self._subscriptions[response.type_url] = subscription
        subscription.answer(response.nonce, response.names, rejections)
        self.has_news.set()

    def requests(self) -> Iterator[DiscoveryRequest]:
        """All that is to be said now, and what comes up meanwhile."""
        for subscription in list(self._subscriptions.values()):
            while (request := subscription.next_request()) is not None:
                yield request
