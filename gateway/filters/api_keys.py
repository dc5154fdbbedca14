"""The keys of all consumers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from gateway.config.snapshot import ConsumerConfig


class KeyOwner(msgspec.Struct, frozen=True):
    """Whose key it is, and until when. A struct, because thousands are made in one turn when a consumer changes."""

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
