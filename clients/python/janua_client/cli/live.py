"""Live views: what is so now, again each time it changes, until the command is interrupted."""

import json
from collections.abc import AsyncIterable, Callable
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from janua_client.cli.failures import one_line, usage_error
from janua_client.cli.output import Json, OutputFormat, print_view, stdout, warn, warning
from janua_client.errors import JanuaError
from janua_client.streams import Reconnecting

State = TypeVar("State")

Watch = Annotated[bool, typer.Option("--watch", "-w", envvar="JANUA_WATCH", help="Show it again when it changes.")]

_REFRESHES_PER_SECOND = 2  # how long ago something was changes by itself


def check_watch(output: OutputFormat) -> None:
    """Refuses what cannot be watched. Raises `CommandError`."""
    if output is OutputFormat.YAML:
        raise usage_error("--watch prints a table, or with -o json a line of JSON for each state")


class Outage:
    """The config server that is watched, while it cannot be reached: what is shown is how it was."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.reconnecting: Final = Reconnecting(on_lost=self._on_lost)
        self.text = ""
        """What to tell of it; nothing while all is well."""

    def is_over(self) -> None:
        """Something was heard."""
        self.text = ""

    def _on_lost(self, error: JanuaError) -> None:
        is_news = not self.text
        cause = one_line(error.message).rpartition(": ")[2]
        self.text = f"the config server at {self._server} is lost ({cause}): this is how it was, tried again"
        if is_news and not stdout().is_terminal:
            warn(self.text)


async def show_live(
    states: AsyncIterable[State],
    output: OutputFormat,
    *,
    view: Callable[[State], RenderableType],
    data: Callable[[State], Json],
    outage: Outage | None = None,
) -> None:
    """Shows the newest state in its place on a terminal; elsewhere all, one after the other. Ends with `states`."""
    console, outage = stdout(), outage or Outage("")
    if output is OutputFormat.JSON:
        async for state in states:
            outage.is_over()
            print(json.dumps(data(state), ensure_ascii=False), flush=True)
    elif not console.is_terminal:
        async for state in states:
            outage.is_over()
            print_view(Group(view(state), ""))
    else:
        newest: list[State] = []

        def renderable() -> RenderableType:
            if not newest:
                return "asking the config server …"
            shown = view(newest[0])
            return Group(shown, warning(outage.text)) if outage.text else shown

        with Live(get_renderable=renderable, console=console, refresh_per_second=_REFRESHES_PER_SECOND) as live:
            async for state in states:
                outage.is_over()
                newest[:] = [state]
                live.refresh()
