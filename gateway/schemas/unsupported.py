"""What a dialect has no place for: refused by name, or left out where the service says so."""

from collections.abc import Collection

from gateway.errors import InvalidRequestError
from gateway.types import FilePart

# What a file has beside its `url` in other words, of which that has all the content.
_SAME_CONTENT = frozenset({"block", "bedrock_block", "source", "document_url", "file_data"})
_WITHOUT_EFFECT = ("auto", {"enabled": False})


class UnsupportedByBackendError(InvalidRequestError):
    """The request can never succeed at this backend, without it having been asked; at another one it may."""

    default_reason = "UNSUPPORTED_FIELD"


def nothing_said() -> InvalidRequestError:
    """The error for a conversation of which nothing is left to send, to be raised."""
    return InvalidRequestError("at least one message of the user with something in it is needed", param="messages")


class Unsupported:
    """Takes note of each field that cannot be carried. With `drop` nothing happens, else the first is an error."""

    def __init__(self, target: str, *, drop: bool) -> None:
        self._target = target
        self._drop = drop

    def field(self, param: str, what: str = "") -> None:
        """A field that was given. Raises `UnsupportedByBackendError` that names it."""
        if not self._drop:
            text = what or f"{param} cannot be carried"
            raise UnsupportedByBackendError(
                f"{text}: the service of this route speaks {self._target}, which has nothing like it",
                param=param,
            )

    def file_details(self, file: FilePart, *, known: Collection[str] = ()) -> None:
        """What is said of a file beside those details. Raises as `field` does."""
        for name, value in (file.extra or {}).items():
            if name not in known and name not in _SAME_CONTENT and value not in _WITHOUT_EFFECT:
                self.field("messages", f"'{name}' of a file")
