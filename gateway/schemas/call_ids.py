"""Ids of function calls in conversations of dialects that have none, or need not have them."""

from collections import defaultdict, deque


class CallIds:
    """The calls of a conversation that have no result yet, read in their order."""

    def __init__(self) -> None:
        self._made = 0
        self._open: deque[str] = deque()
        self._of_name: defaultdict[str, deque[str]] = defaultdict(deque)

    def begin(self, name: str, identifier: str | None) -> str:
        """The id of a call: its own, or one made for it."""
        identifier = identifier or self._make()
        self._open.append(identifier)
        self._of_name[name].append(identifier)
        return identifier

    def answer(self, name: str | None, identifier: str | None) -> str:
        """The id of the call that a result is for: what it says, else the first open call, of that name if it has one.

        A result of nothing gets an id of its own.
        """
        if identifier is None:
            waiting = self._of_name[name] if name else self._open
            identifier = waiting[0] if waiting else self._make()
        for waiting in (self._open, *self._of_name.values()):
            if identifier in waiting:
                waiting.remove(identifier)
        return identifier

    def _make(self) -> str:
        self._made += 1
        return f"call_{self._made - 1}"
