"""Live views: what is so now, again each time it changes, until the command is interrupted."""

import json
from collections.abc import AsyncIterable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from janua_client.cli.failures import usage_error
from janua_client.cli.output import Json, OutputFormat, print_view, stdout

State = TypeVar("State")

Watch = Annotated[bool, typer.Option("--watch", "-w", envvar="JANUA_WATCH", help="Show it again when it changes.")]

_REFRESHES_PER_SECOND = 2  # how long ago something was changes by itself


def check_watch(output: OutputFormat) -> None:
    """Refuses what cannot be watched. Raises `CommandError`."""
    if output is OutputFormat.YAML:
        raise usage_error("--watch prints a table, or with -o json a line of JSON for each state")


async def show_live(
    states: AsyncIterable[State],
    output: OutputFormat,
    *,
    view: Callable[[State], RenderableType],
    data: Callable[[State], Json],
) -> None:
    """Shows the newest state in its place on a terminal; elsewhere all, one after the other. Ends with `states`."""
    console = stdout()
    if output is OutputFormat.JSON:
        async for state in states:
            print(json.dumps(data(state), ensure_ascii=False), flush=True)
    elif not console.is_terminal:
        async for state in states:
            print_view(Group(view(state), ""))
    else:
        newest: list[State] = []
        with Live(
            get_renderable=lambda: view(newest[0]) if newest else "asking the config server …",
            console=console,
            refresh_per_second=_REFRESHES_PER_SECOND,
        ) as live:
            async for state in states:
                newest[:] = [state]
                live.refresh()
