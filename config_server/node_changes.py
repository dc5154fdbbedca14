"""Which nodes have changed since one last looked. Knows nothing of what a node is."""

from config_server.revision_signal import RevisionSignal


class NodeChanges:
    """Counts changes of nodes. Any number may wait for the next, and catch up at their own pace with what they missed.

    Of a node only the last change is kept, so a slow reader costs nothing.
    """

    def __init__(self) -> None:
        self._signal = RevisionSignal(0)
        # Of each node the number of its last change, the oldest first.
        self._last: dict[str, int] = {}

    @property
    def number(self) -> int:
        """How many changes there have been."""
        return self._signal.revision

    def changed(self, node_id: str) -> None:
        number = self._signal.revision + 1
        self._last.pop(node_id, None)
        self._last[node_id] = number
        self._signal.announce(number)

    def forgotten(self, node_id: str) -> None:
        self._last.pop(node_id, None)
        self._signal.announce(self._signal.revision + 1)

    def since(self, number: int) -> set[str]:
        """The nodes that have changed after that change, those left out that are forgotten."""
        found = set()
        for node_id, changed in reversed(self._last.items()):
            if changed <= number:
                break
            found.add(node_id)
        return found

    async def beyond(self, number: int) -> int:
        """Waits for a change after that one, and gives the number of the last. Raises SignalClosedError."""
        return await self._signal.beyond(number)
