"""Printing results: tables for people, JSON and YAML for programs, colours only where a person looks."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

import yaml
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from janua_client.cli.printable import shown

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Cell: TypeAlias = str | Text

_NO_WRAP_WIDTH = 10_000  # characters; what is read by a program must not be folded


class OutputFormat(StrEnum):
    """The forms of a result."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def stdout() -> Console:
    """A console for results. Colours, unless NO_COLOR is set, and folding only on a terminal."""
    return _console(stderr=False)


def stderr() -> Console:
    """A console for remarks and progress, which are no part of the result."""
    return _console(stderr=True)


class _Console(Console):
    """Prints no control characters but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))


def _console(*, stderr: bool) -> Console:
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return _Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=None if is_terminal else _NO_WRAP_WIDTH
    )


def print_data(data: Json, form: OutputFormat) -> None:
    """Prints data on stdout as JSON or YAML."""
    if form is OutputFormat.JSON:
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")


def make_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Rows below the names of their columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Prints rows on stdout, or on stderr that there are none."""
    table = make_table(columns, rows)
    if table.row_count:
        print_view(table)
    else:
        stderr().print(empty)


def print_view(view: RenderableType) -> None:
    """Prints what has columns on stdout, where nobody looks without the blanks at the ends of lines."""
    console = stdout()
    if console.is_terminal:
        console.print(view)
        return
    with console.capture() as captured:
        console.print(view)
    print(*(line.rstrip() for line in captured.get().splitlines()), sep="\n", flush=True)


def warn(message: str) -> None:
    """Says on stderr what a person should know although the command goes on."""
    stderr().print(warning(message), soft_wrap=True)


def warning(message: str) -> Text:
    """The line that says so."""
    return Text.assemble(("warning: ", "yellow"), message)
