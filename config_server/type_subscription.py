"""What a stream needs of the subscription to one type, whichever variant of the protocol it speaks."""

from collections.abc import Iterator
from typing import Protocol

from config_server.resource_stages import ResourceStage
from config_server.subscription import Delivery, Page, SubscriptionRequest
from config_server.type_view import TypeView


class TypeSubscription(Protocol):
    """State of one type on one stream: see `Subscription` for what each part means."""

    @property
    def is_awaiting_ack(self) -> bool: ...

    @property
    def has_changes(self) -> bool: ...

    @property
    def has_removals(self) -> bool: ...

    @property
    def is_answer_owed(self) -> bool: ...

    @property
    def is_caught_up(self) -> bool: ...

    @property
    def is_settled(self) -> bool: ...

    def name_count_after(self, request: SubscriptionRequest) -> int: ...

    def request(self, request: SubscriptionRequest) -> Delivery | None: ...

    def absorb(self) -> None: ...

    def move_to(self, view: TypeView) -> None: ...

    def next_answer(self) -> Page | None: ...

    def next_change(self) -> Page | None: ...

    def next_removal(self) -> Page | None: ...

    def deliver(self, page: Page, *, nonce: str, revision: int) -> None: ...

    def stages(self) -> Iterator[ResourceStage]: ...


class SubscriptionFactory(Protocol):
    """Makes the subscription to a type. With `is_by_name_only` a wildcard covers nothing."""

    def __call__(self, view: TypeView, *, is_by_name_only: bool) -> TypeSubscription: ...
