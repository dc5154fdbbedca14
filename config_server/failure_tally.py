"""How many requests have failed on the nodes of a canary since they took it over. Pure: nodes' reports go in."""

from dataclasses import dataclass
from typing import Final

# A node that has just changed its configuration reports at once; what it says then is where counting begins.
SETTLING_S: Final = 2.0


@dataclass(slots=True, kw_only=True)
class _Node:
    since: float
    is_counting: bool = False
    requests: int = 0
    failed: int = 0
    last_requests: int = 0
    last_failed: int = 0


class FailureTally:
    """Counts for one canary. Nodes report totals since they started, which begin anew when they do."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    @property
    def requests(self) -> int:
        return sum(node.requests for node in self._nodes.values())

    @property
    def failed(self) -> int:
        return sum(node.failed for node in self._nodes.values())

    def observe(self, node_id: str, requests: int, failed: int, *, now: float) -> None:
        """Takes the last report of a node that has the canary's changes; `now` in seconds of a steady clock."""
        node = self._nodes.setdefault(node_id, _Node(since=now))
        if node.is_counting:
            is_restarted = requests < node.last_requests
            node.requests += requests - (0 if is_restarted else node.last_requests)
            node.failed += failed - (0 if is_restarted else node.last_failed)
        elif now - node.since < SETTLING_S:
            return
        node.is_counting = True
        node.last_requests, node.last_failed = requests, failed
