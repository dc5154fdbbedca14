"""Ids of function calls in conversations of dialects that have none, or need not have them."""


class CallIds:
    """The calls of a conversation that have no result yet, read in their order."""

    def __init__(self) -> None:
        self._made = 0
        # Dictionaries for their order: of many calls each is found, and taken out, at once.
        self._open: dict[str, str] = {}
        self._of_name: dict[str, dict[str, None]] = {}

    def begin(self, name: str, identifier: str | None) -> str:
        """The id of a call: its own, or one made for it."""
        identifier = identifier or self._make()
        self._open[identifier] = name
        self._of_name.setdefault(name, {})[identifier] = None
        return identifier

    def answer(self, name: str | None, identifier: str | None) -> str:
        """The id of the call that a result is for: what it says, else the first open call, of that name if it has one.

        A result of nothing gets an id of its own.
        """
        if identifier is None:
            waiting = self._of_name.get(name, {}) if name else self._open
            identifier = next(iter(waiting), None) or self._make()
        called = self._open.pop(identifier, None)
        if called is not None:
            self._of_name[called].pop(identifier, None)
        return identifier

    def _make(self) -> str:
        self._made += 1
        return f"call_{self._made - 1}"
