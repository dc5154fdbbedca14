"""The command `canary`: how a change that is tried on some nodes goes, and how that ends."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import Canary, GetCanaryResponse, PromoteCanaryRequest
from rich.console import Group, RenderableType
from rich.text import Text

from janua_client.cli.ages import ago, rfc3339
from janua_client.cli.apply_report import (
    change_lines,
    changes_data,
    print_changes,
    print_warnings,
    report_data,
    summary,
)
from janua_client.cli.live import Outage, Watch, check_watch, show_live
from janua_client.cli.options import (
    DEFAULT_SERVER,
    LAST_REVISION,
    Author,
    Message,
    Output,
    Server,
    Timeout,
    Wait,
    duration_seconds,
)
from janua_client.cli.output import Cell, Json, OutputFormat, make_table, print_data, print_view, stdout
from janua_client.cli.push import author as default_author
from janua_client.cli.rollout_report import node_data, print_end, rejection_line, rollout_data, state_words
from janua_client.cli.rollout_wait import wait, wait_target
from janua_client.cli.server import connect
from janua_client.config_client import ConfigClient
from janua_client.errors import JanuaError
from janua_client.node_selector import describe_nodes
from janua_client.rollout import WaitTarget
from janua_client.streams import LOST

_LOOK_EVERY = 1.0  # seconds between two looks of --watch; failures are counted while no node changes

Revision = Annotated[
    int,
    typer.Argument(
        min=0,
        max=LAST_REVISION,
        metavar="[REVISION]",
        help="The canary of this revision, and no other. Default: whichever.",
    ),
]


def canary() -> None:
    """See how a change goes that `janua apply --canary` tries on some nodes; then write it for all, or drop it.

    Examples:

      janua apply -f janua.yaml --canary cluster=edge --wait all
      janua canary status --watch
      janua canary promote --wait all
      janua canary abort -m "answers are slow"
    """


def status(watch: Watch = False, server: Server = DEFAULT_SERVER, output: Output = OutputFormat.TABLE) -> None:
    """Show what is tried, on which nodes, and how it goes; or how the last canary ended.

    A node that refuses it aborts it, and so do too many failed requests on its nodes.

    Examples:

      janua canary status
      janua canary status --watch
    """
    if watch:
        check_watch(output)
    asyncio.run(_watch(server, output) if watch else _show(server, output))


async def _show(server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        told = await client.canary()
    if output is OutputFormat.TABLE:
        print_view(_view(told))
    else:
        print_data(_data(told), output)


async def _watch(server: str, output: OutputFormat) -> None:
    outage = Outage(server)
    async with connect(server) as client, aclosing(_states(client, outage.reconnecting.on_lost)) as states:
        await show_live(states, output, view=_view, data=_data, outage=outage)


async def _states(client: ConfigClient, on_lost: Callable[[JanuaError], None]) -> AsyncGenerator[GetCanaryResponse]:
    """What is so, each time it has changed and when the server is back. Raises what the first look fails with."""
    told = await client.canary()
    yield told
    is_lost = False
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        try:
            now = await client.canary()
        except LOST as error:
            is_lost = True
            on_lost(error)
            continue
        if is_lost or now != told:
            yield now
        told, is_lost = now, False


def _view(told: GetCanaryResponse) -> RenderableType:
    canary, now = told.canary, datetime.now(UTC)
    head = f"canary of revision {canary.revision} on {describe_nodes(canary.options.nodes)}: {_state(canary)}"
    begun = f"begun {ago(canary.create_time, now)} by {canary.author or '-'}" + (
        f": {canary.message}" if canary.message else ""
    )
    if canary.state != Canary.STATE_RUNNING:
        end = f"ended {ago(canary.end_time, now)} by revision {canary.end_revision}"
        return Group(head, begun, f"{end}: {canary.end_reason}" if canary.end_reason else end)
    nodes = make_table(("NODE", "CONFIG", "CONNECTED"), _rows(told)) if told.nodes else "no node is among those"
    refusals = (f"{node.node_id} refuses {rejection_line(each)}" for node in told.nodes for each in node.rejections)
    return Group(head, begun, _requests(told), "", *change_lines(canary.changes), "", nodes, *refusals)


def _state(canary: Canary) -> str:
    return Canary.State.Name(canary.state).removeprefix("STATE_").lower()


def _requests(told: GetCanaryResponse) -> str:
    limit = told.canary.options.max_failed_percent
    aborts = f"more than {limit}% abort it" if limit else "that aborts nothing"
    return f"{told.failed_requests} of {told.requests} requests failed; {aborts}"


def _rows(told: GetCanaryResponse) -> Sequence[Sequence[Cell]]:
    return [(node.node_id, Text(state_words(node)), "yes" if node.connected else "no") for node in told.nodes]


def _data(told: GetCanaryResponse) -> Json:
    canary = told.canary
    return {
        "revision": canary.revision,
        "state": _state(canary),
        "nodes_chosen": describe_nodes(canary.options.nodes),
        "max_failed_percent": canary.options.max_failed_percent,
        "author": canary.author,
        "message": canary.message,
        "time": rfc3339(canary.create_time),
        "end_revision": canary.end_revision or None,
        "end_time": rfc3339(canary.end_time),
        "end_reason": canary.end_reason,
        "changes": changes_data(canary.changes),
        "nodes": [node_data(node) for node in told.nodes],
        "requests": told.requests,
        "failed_requests": told.failed_requests,
    }


def promote(
    revision: Revision = 0,
    message: Message = "",
    author: Author = "",
    wait_: Wait = "",
    timeout: Timeout = "30s",
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Write for all nodes what is tried. Those that have it already are sent nothing.

    Examples:

      janua canary promote --wait all
      janua canary promote 42 -m "no failures in an hour"

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 written, but not synced in time
    or refused by a node.
    """
    target = wait_target(wait_)
    seconds = duration_seconds("--timeout", timeout)
    request = PromoteCanaryRequest(revision=revision, author=author or default_author(), message=message)
    asyncio.run(_promote(request, server, output, target=target, timeout=(timeout, seconds)))


async def _promote(
    request: PromoteCanaryRequest,
    server: str,
    output: OutputFormat,
    *,
    target: WaitTarget | None,
    timeout: tuple[str, float],
) -> None:
    async with connect(server) as client:
        response = await client.promote_canary(request)
        if output is OutputFormat.TABLE:
            print_changes(response.results, stdout())
            stdout().print(summary(response, dry_run=False))
        print_warnings(response)
        progress, failure = await wait(client, response, target, *timeout)
    if output is not OutputFormat.TABLE:
        data = report_data(response, dry_run=False)
        print_data(data | ({"rollout": rollout_data(progress)} if progress else {}), output)
    elif progress is not None:
        print_end(progress)
    if failure is not None:
        raise failure


def abort(
    revision: Revision = 0,
    message: Message = "",
    author: Author = "",
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Drop what is tried: its nodes go back to what all others have.

    Examples:

      janua canary abort -m "answers are slow"
    """
    asyncio.run(_abort(revision, message, author or default_author(), server, output))


async def _abort(revision: int, message: str, author: str, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        ended_by = await client.abort_canary(revision, author=author, message=message)
    if output is OutputFormat.TABLE:
        stdout().print(f"aborted   revision {ended_by}")
    else:
        print_data({"revision": ended_by}, output)
