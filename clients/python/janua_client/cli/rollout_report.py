"""How far a revision has come: progress while waiting, the end, and a failure that names each node and its reasons."""

from collections.abc import Iterator
from contextlib import contextmanager

from janua.config.v1.config_service_pb2 import NodeRollout, Rejection
from janua_resources.kinds import kind_by_type_url

from janua_client.cli.ages import rfc3339
from janua_client.cli.failures import CommandError, ExitCode, one_line
from janua_client.cli.output import Json, stderr, stdout, warn
from janua_client.config_client import Progress
from janua_client.rollout import RolloutProgress, RolloutVerdict


@contextmanager
def shown_progress() -> Iterator[Progress | None]:
    """Shows progress on stderr while a person looks; what is yielded takes it."""
    console = stderr()
    if not console.is_terminal:
        yield None
        return
    with console.status("asking the nodes …") as status:
        yield lambda progress: status.update(_line(progress))


def _line(progress: RolloutProgress) -> str:
    missing = ", ".join(f"{node.node_id} {state_words(node)}" for node in progress.missing[:5])
    more = f" and {len(progress.missing) - 5} more" if len(progress.missing) > 5 else ""
    told = f"{len(progress.synced)} of {progress.needed} nodes have revision {progress.revision}"
    return f"{told}; {missing}{more}" if missing else told


def rollout_data(progress: RolloutProgress) -> Json:
    """The state of every node; `verdict` is `synced`, `no_nodes`, `rejected` or `timed_out`."""
    timed_out = progress.verdict is RolloutVerdict.WAITING
    counted = {node.node_id for node in progress.counted}
    return {
        "verdict": "timed_out" if timed_out else progress.verdict.name.lower(),
        "needed": progress.needed,
        "nodes": [
            node_data(node) | {"counted": node.node_id in counted}
            for node in (*progress.counted, *progress.disconnected)
        ],
    }


def node_data(node: NodeRollout) -> dict[str, Json]:
    """How far it has come on a node."""
    return {
        "id": node.node_id,
        "state": state(node),
        "connected": node.connected,
        "connected_since": rfc3339(node.connect_time) if node.connected else None,
        "config_server": node.replica,
        "acked_revision": node.acked_revision,
        "rejections": [rejection_data(rejection) for rejection in node.rejections],
    }


def rejection_data(rejection: Rejection) -> dict[str, Json]:
    """A refused resource, and why."""
    kind = kind_by_type_url(rejection.type_url)
    return {
        "kind": kind.field if kind else rejection.type_url,
        "name": rejection.name,
        "reason": rejection.reason,
        "field": rejection.field,
        "message": rejection.message,
    }


def rejection_line(rejection: Rejection) -> str:
    """`route/chat: backends[0].service: service 'x' is unknown (UNRESOLVED_REFERENCE)`"""
    kind = kind_by_type_url(rejection.type_url)
    field = f" {rejection.field}:" if rejection.field else ""
    subject = f"{kind.field if kind else rejection.type_url}/{rejection.name}"
    return f"{subject}:{field} {one_line(rejection.message)} ({rejection.reason})"


def state(node: NodeRollout) -> str:
    """`synced`, `stale`, `not_sent` or `error`."""
    return NodeRollout.State.Name(node.state).removeprefix("STATE_").lower()


def state_words(node: NodeRollout) -> str:
    """The state for people."""
    return state(node).replace("_", " ")


def print_end(progress: RolloutProgress) -> None:
    """Says that the wait was met, if it was; warns of nodes that it was not about."""
    if progress.verdict is RolloutVerdict.NO_NODES:
        warn("no node is connected: nobody serves this configuration yet")
    elif progress.verdict is RolloutVerdict.SYNCED:
        stdout().print(f"{len(progress.synced)} of {len(progress.counted)} nodes have it", soft_wrap=True)
    if progress.disconnected:
        names = ", ".join(node.node_id for node in progress.disconnected)
        warn(f"not connected, and not waited for: {names}")


def rollout_error(progress: RolloutProgress, timeout: str) -> CommandError | None:
    """The failure of a wait that was not met, or None if it was."""
    match progress.verdict:
        case RolloutVerdict.SYNCED | RolloutVerdict.NO_NODES:
            return None
        case RolloutVerdict.REJECTED:
            lines = [
                f"node {node.node_id} refuses {rejection_line(rejection)}"
                for node in progress.rejecting
                for rejection in node.rejections
            ]
            refusing = ", ".join(node.node_id for node in progress.rejecting)
            message = f"revision {progress.revision} is refused by {refusing}: correct the files and apply again"
            return CommandError(message, code=ExitCode.NOT_SYNCED, details=lines)
        case RolloutVerdict.WAITING:
            message = (
                f"{len(progress.synced)} of {progress.needed} nodes have revision {progress.revision} after {timeout}; "
                f"missing: {_missing(progress)}; see `janua nodes`"
            )
            return CommandError(message, code=ExitCode.NOT_SYNCED)


def _missing(progress: RolloutProgress) -> str:
    named = [f"{node.node_id} ({state_words(node)})" for node in progress.missing]
    gone = progress.needed - len(progress.counted)
    if gone > 0:
        named.append(f"{gone} that left meanwhile")
    return ", ".join(named)
