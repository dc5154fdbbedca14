"""How far a revision has come, and when that is far enough. Pure: who asks, and how long, is the caller's business."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction

from janua.config.v1.config_service_pb2 import GetRolloutResponse, NodeRollout


@dataclass(frozen=True, slots=True)
class WaitTarget:
    """Which part of the nodes must have a revision."""

    text: str
    _part: Fraction
    _more_than: bool = False  # `majority` is more than a half, not at least

    def needed(self, nodes: int) -> int:
        """How many of so many nodes are enough."""
        exact = self._part * nodes
        return exact.numerator // exact.denominator + 1 if self._more_than else -(-exact.numerator // exact.denominator)

    def __str__(self) -> str:
        return self.text


ALL = WaitTarget("all", Fraction(1))
MAJORITY = WaitTarget("majority", Fraction(1, 2), _more_than=True)


def parse_wait_target(text: str) -> WaitTarget:
    """Reads `all`, `majority`, or `N%` with 1 to 100. Raises `ValueError`."""
    match text.strip().lower():
        case "all":
            return ALL
        case "majority":
            return MAJORITY
        case percent if percent.endswith("%") and percent[:-1].isascii() and percent[:-1].isdigit():
            number = int(percent[:-1])
            if 1 <= number <= 100:
                return WaitTarget(f"{number}%", Fraction(number, 100))
    raise ValueError(f"{text!r} is not `all`, `majority` or a percentage such as `50%`")


class RolloutVerdict(Enum):
    """Whether a wait is over, and how it ended."""

    WAITING = auto()
    SYNCED = auto()
    NO_NODES = auto()
    REJECTED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutProgress:
    """How far a revision has come at one moment."""

    revision: int
    verdict: RolloutVerdict
    needed: int
    """How many nodes must have it."""
    counted: tuple[NodeRollout, ...]
    """The nodes that count: connected when it was made, or since."""
    disconnected: tuple[NodeRollout, ...]
    """The nodes that were not connected all the while; nobody waits for them."""

    @property
    def synced(self) -> tuple[NodeRollout, ...]:
        return self._in_state(NodeRollout.STATE_SYNCED)

    @property
    def rejecting(self) -> tuple[NodeRollout, ...]:
        return self._in_state(NodeRollout.STATE_ERROR)

    @property
    def missing(self) -> tuple[NodeRollout, ...]:
        """The counted nodes that have neither accepted nor refused it."""
        answered = (NodeRollout.STATE_SYNCED, NodeRollout.STATE_ERROR)
        return tuple(node for node in self.counted if node.state not in answered)

    def _in_state(self, state: NodeRollout.State.ValueType) -> tuple[NodeRollout, ...]:
        return tuple(node for node in self.counted if node.state == state)


class RolloutTracker:
    """Turns successive answers of the server into progress, remembering which nodes have been connected."""

    def __init__(self, target: WaitTarget, *, connected_at_commit: int) -> None:
        self._target = target
        self._connected_at_commit = connected_at_commit
        self._seen_connected: set[str] = set()

    def progress(self, rollout: GetRolloutResponse) -> RolloutProgress:
        """Takes the newest answer."""
        self._seen_connected.update(node.node_id for node in rollout.nodes if node.connected)
        counted = tuple(node for node in rollout.nodes if node.node_id in self._seen_connected)
        # A node that left between the commit and the first answer cannot be named, yet it counts.
        total = max(len(counted), self._connected_at_commit)
        needed = self._target.needed(total) if total else 0
        return RolloutProgress(
            revision=rollout.revision,
            verdict=_verdict(counted, total=total, needed=needed),
            needed=needed,
            counted=counted,
            disconnected=tuple(node for node in rollout.nodes if node.node_id not in self._seen_connected),
        )


def is_over(progress: RolloutProgress) -> bool:
    """Whether nothing more is to be waited for: it is met, or every node has answered and some have refused."""
    if progress.verdict is RolloutVerdict.REJECTED:
        return not progress.missing
    return progress.verdict is not RolloutVerdict.WAITING


def _verdict(counted: Iterable[NodeRollout], *, total: int, needed: int) -> RolloutVerdict:
    states = [node.state for node in counted]
    if not total:
        return RolloutVerdict.NO_NODES
    if NodeRollout.STATE_ERROR in states:
        return RolloutVerdict.REJECTED
    if states.count(NodeRollout.STATE_SYNCED) >= needed:
        return RolloutVerdict.SYNCED
    return RolloutVerdict.WAITING
