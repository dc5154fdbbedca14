"""What every authentication policy is to the pipeline, and the keys of all consumers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from gateway.config.snapshot import ConsumerConfig
from gateway.context import RequestContext


class Authenticator(Protocol):
    """One way to find out who calls."""

    def authenticate(self, context: RequestContext) -> ConsumerConfig | None:
        """The caller, or None for an anonymous one where that is allowed.

        Raises `UnauthenticatedError` when credentials are missing, wrong or expired.
        """


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose key it is, and until when."""

    consumer: ConsumerConfig
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """The keys of all consumers by their SHA-256 digest."""

    owners: Mapping[bytes, KeyOwner]
    now: Callable[[], datetime]

    @classmethod
    def of(
        cls, consumers: Iterable[ConsumerConfig], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> "KeyIndex":
        """An index of these consumers' keys."""
        owners = {
            bytes.fromhex(key.sha256): KeyOwner(consumer, key.expires)
            for consumer in consumers
            for key in consumer.api_keys
        }
        return cls(owners, now)
