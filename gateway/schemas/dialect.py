"""What the data path must know of a wire format to relay it without decoding it."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from gateway.config.snapshot import Failure
from gateway.framing.framing import Framing
from gateway.types import Usage


class EventKind(Enum):
    """What an event of a streamed answer means for the commit point."""

    PREAMBLE = auto()
    CONTENT = auto()
    ERROR = auto()


class ErrorReader(Protocol):
    """What must be known of a wire format to tell what a backend's error means."""

    @property
    def error_family(self) -> str:
        """Whose form errors have: dialects of one family understand each other's."""

    def read_error(self, body: bytes) -> str | None:
        """The message of an error body, or None if the body is not an error of this format."""

    def classify_error(self, body: bytes) -> Failure | None:
        """What the error in a body, or in an event's data, means for trying elsewhere; None if it does not tell."""


class Dialect(ErrorReader, Protocol):
    """A wire format that a backend speaks for one operation."""

    @property
    def framing(self) -> Framing:
        """What cuts a streamed answer into events."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """What every request carries, unless the caller, who speaks the same dialect, sent another value."""

    @property
    def tail_bytes(self) -> int:
        """How much of the end of a stream must be kept to know that it is complete, and its usage."""

    def path(self, model: str, *, stream: bool) -> str:
        """Where requests for a model are posted, below the base URL; special characters are percent-encoded."""

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """The request for the model `asked` as one for `model`, such that no reader can find another in it."""

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Whether an event carries nothing yet, something the client waits for, or an error.

        Raises `ValueError` for data that is not of this dialect.
        """

    def is_complete(self, tail: bytes) -> bool:
        """Whether the last bytes of a stream show that it ended as it should."""

    def read_stream_usage(self, ends: bytes) -> Usage | None:
        """The usage in the first and last bytes of a stream, if it is there."""

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage in a unary answer, if it is there."""

    def with_model(self, body: bytes, model: str) -> bytes:
        """An answer, or one event's data, with another model name; as it is if the dialect's answers have none."""
