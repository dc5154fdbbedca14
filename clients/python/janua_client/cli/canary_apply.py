"""What `apply --canary` has of its own: its options, and its words."""

from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import ApplyResponse, CanaryOptions, ChangeResult

from janua_client.cli.failures import CommandError, ExitCode, usage_error
from janua_client.cli.output import stdout, warn
from janua_client.node_selector import describe_nodes, parse_node_selector, parse_percent
from janua_client.rollout import RolloutProgress

Canary = Annotated[
    str,
    typer.Option(
        "--canary",
        envvar="JANUA_CANARY",
        metavar="10%|cluster=NAME|id=NAME",
        help="Try it on these nodes first; `janua canary promote` writes it for all.",
    ),
]

MaxFailed = Annotated[
    str,
    typer.Option(
        "--max-failed",
        envvar="JANUA_MAX_FAILED",
        metavar="N%",
        help="Abort the canary when more requests fail on its nodes; 0% never does.",
    ),
]


def canary_options(canary: str, max_failed: str) -> CanaryOptions | None:
    """Reads `--canary` and `--max-failed`; None without a canary. Raises `CommandError`."""
    if not canary:
        return None
    try:
        nodes = parse_node_selector(canary)
    except ValueError as error:
        raise usage_error(f"--canary: {error}") from error
    try:
        return CanaryOptions(nodes=nodes, max_failed_percent=parse_percent(max_failed))
    except ValueError as error:
        raise usage_error(f"--max-failed: {error}") from error


def print_begun(response: ApplyResponse, options: CanaryOptions) -> None:
    """The last lines of a report, unless nothing was to be changed."""
    if all(result.outcome == ChangeResult.OUTCOME_UNCHANGED for result in response.results):
        stdout().print(f"nothing to try at revision {response.revision}")
        return
    nodes = "1 connected node" if response.connected_nodes == 1 else f"{response.connected_nodes} connected nodes"
    stdout().print(f"canary of revision {response.revision} on {describe_nodes(options.nodes)}: {nodes}")
    if not response.connected_nodes:
        warn("no connected node is among those: nobody tries it yet; `janua nodes` lists those there are")


def refused_canary(progress: RolloutProgress, failure: CommandError) -> CommandError:
    """The failure of a wait that a node's refusal has ended, and the canary with it."""
    refusing = ", ".join(node.node_id for node in progress.rejecting)
    message = f"the canary of revision {progress.revision} is refused by {refusing}, which aborts it: correct the files"
    return CommandError(f"{message} and apply again", code=ExitCode.NOT_SYNCED, details=failure.details)
