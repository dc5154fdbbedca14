"""A subscription by itself: moments of a sync that a stream over the wire comes to by chance only."""

from config_server.subscription import Page, Subscription, SubscriptionRequest
from config_server.type_view import TypeView
from config_server.wire import encode_resource

TYPE = "type.googleapis.com/test.Type"


class World:
    """A view, of which each change is a revision, and one subscription to it."""

    def __init__(self) -> None:
        self.view = TypeView(TYPE)
        self.subscription = Subscription(self.view)

    def put(self, name: str, version: str) -> None:
        self.view.advance(self.view.revision + 1)
        self.view.put(encode_resource(type_url=TYPE, name=name, version=version, body=b"x"))

    def remove(self, name: str) -> None:
        self.view.advance(self.view.revision + 1)
        self.view.remove(name)

    def take(self) -> Page | None:
        """The next page, which is acknowledged at once."""
        self.subscription.absorb()
        page = self.subscription.next_answer() or self.subscription.next_change() or self.subscription.next_removal()
        if page is not None:
            self.subscription.deliver(page, nonce="1", revision=self.view.revision)
            self.subscription.request(SubscriptionRequest(nonce="1"))
        return page


def test_what_goes_and_comes_back_while_all_is_sent_again_is_sent() -> None:
    world = World()
    world.put("a", "v1")
    world.subscription.request(SubscriptionRequest())
    world.subscription.request(SubscriptionRequest(subscribe=["*"]))  # before the first answer
    world.remove("a")
    assert world.take() == Page([], [])
    world.put("a", "v1")
    page = world.take()
    assert page is not None
    assert [(resource.name, resource.version) for resource in page.resources] == [("a", "v1")]
    assert world.take() is None
