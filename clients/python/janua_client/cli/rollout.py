"""The command `rollout`: how far a revision has come, node by node."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import GetRolloutResponse, NodeRollout
from rich.console import Group, RenderableType
from rich.text import Text

from janua_client.cli.ages import ago
from janua_client.cli.live import Outage, Watch, check_watch, show_live
from janua_client.cli.options import DEFAULT_SERVER, LAST_REVISION, Output, Server
from janua_client.cli.output import Cell, Json, OutputFormat, make_table, print_data, print_table, stdout, warn, warning
from janua_client.cli.rollout_report import node_data, rejection_line, state_words
from janua_client.cli.server import connect

_COLUMNS = ("NODE", "CONFIG", "ACKED", "CONNECTED", "CONFIG SERVER")
_STYLES = {NodeRollout.STATE_SYNCED: "green", NodeRollout.STATE_ERROR: "red"}


def rollout() -> None:
    """See how far a revision has come on the nodes.

    Examples:

      janua rollout status
      janua rollout status 42 -o json
      janua rollout status --watch
    """


def status(
    revision: Annotated[
        int,
        typer.Argument(
            min=0,
            max=LAST_REVISION,
            metavar="[REVISION]",
            help="The revision. Without it the newest, also with --watch.",
        ),
    ] = 0,
    watch: Watch = False,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show which nodes have a revision, and what the others say. Only what changed in that revision counts.

    CONFIG is synced, stale (sent, not answered yet), not sent, or error (refused).

    Examples:

      janua rollout status 42 --watch
      janua rollout status --watch -o json | jq .
    """
    if watch:
        check_watch(output)
    asyncio.run(_watch(revision, server, output) if watch else _show(revision, server, output))


async def _show(revision: int, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        rollout = await client.rollout(revision)
    if output is not OutputFormat.TABLE:
        print_data(_data(rollout), output)
        return
    stdout().print(f"{_summary(rollout)}\n")
    print_table(_COLUMNS, _rows(rollout), empty="no node has been seen yet")
    for text in _refusals(rollout):
        warn(text)


async def _watch(revision: int, server: str, output: OutputFormat) -> None:
    outage = Outage(server)
    async with connect(server, outage.reconnecting) as client, aclosing(client.watch_rollout(revision)) as states:
        await show_live(states, output, view=_view, data=_data, outage=outage)


def _view(rollout: GetRolloutResponse) -> RenderableType:
    table = make_table(_COLUMNS, _rows(rollout))
    return Group(_summary(rollout), "", table, *map(warning, _refusals(rollout)))


def _summary(rollout: GetRolloutResponse) -> str:
    synced = sum(node.state == NodeRollout.STATE_SYNCED for node in rollout.nodes)
    return f"revision {rollout.revision}: {synced} of {len(rollout.nodes)} nodes have it"


def _rows(rollout: GetRolloutResponse) -> Sequence[Sequence[Cell]]:
    now = datetime.now(UTC)
    return [
        (
            node.node_id,
            Text(state_words(node), _STYLES.get(node.state, "yellow")),
            str(node.acked_revision),
            ago(node.connect_time, now) if node.connected else "no",
            node.replica or "-",
        )
        for node in rollout.nodes
    ]


def _refusals(rollout: GetRolloutResponse) -> Sequence[str]:
    return [f"{node.node_id} refuses {rejection_line(each)}" for node in rollout.nodes for each in node.rejections]


def _data(rollout: GetRolloutResponse) -> Json:
    return {"revision": rollout.revision, "nodes": [node_data(node) for node in rollout.nodes]}
