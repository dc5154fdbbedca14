"""Requests that the node does not look into."""

from typing import Any, Self

from gateway.edits import JsonEdit


class UnreadRequest:
    """Of such a request policies change nothing but headers. See `Editable`."""

    __slots__ = ()

    def canonical(self) -> None:
        """What it says is not known."""
        return

    def with_canonical(self, request: Any) -> Self:
        """Never asked for."""
        raise NotImplementedError

    def with_json(self, edit: JsonEdit, *, stream: bool) -> Self:
        """The very same."""
        return self
