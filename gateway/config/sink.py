"""What the subscriber needs of whoever takes the configuration."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from gateway.config.resources import ReceivedResource, Rejection


class ConfigSink(Protocol):
    """Takes configuration as it arrives.

    `update` is awaited once at a time for each type, for several types at the same time: a service that waits for its
    secret must not keep the secret from coming. It is never cancelled because a stream is lost, only when the
    subscriber itself is.
    """

    @property
    def epoch(self) -> str:
        """The history that the configuration in use belongs to; empty if that is not known."""

    def held_versions(self, type_url: str) -> Mapping[str, str]:
        """Name to version of what is accepted and in use. Not what is refused, or still waits in an `update`."""

    def secret_names(self) -> Collection[str]:
        """Secrets that the services name, those in a pending `update` included.

        Read after each update of services and whenever `Subscriber.refresh_secret_names` is called.
        """

    async def update(
        self, type_url: str, revision: str, upserts: Sequence[ReceivedResource], removals: Sequence[str]
    ) -> Sequence[Rejection]:
        """Takes one response. Returns once every upsert is in use or refused; that may take seconds, not minutes.

        Says what is refused; the version before stays in use. Removal of an unknown name is no error.
        """

    def synced(self, epoch: str, revision: int) -> None:
        """An initial sync is complete: all that came before on the stream has been through `update`."""
