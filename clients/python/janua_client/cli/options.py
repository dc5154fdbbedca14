"""Options that several commands share, so that they mean the same everywhere."""

from typing import Annotated

import typer
from janua_resources.durations import parse_duration, to_nanos

from janua_client.cli.failures import usage_error
from janua_client.cli.output import OutputFormat

DEFAULT_SERVER = "127.0.0.1:18000"

LAST_REVISION = 2**63 - 1
"""No higher number can be asked for."""


def host_and_port(text: str) -> str:
    """Checks `HOST:PORT`; gRPC would take another port without a word if it were missing."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise typer.BadParameter(f"{text!r} is not HOST:PORT.")
    return text


def duration_seconds(option: str, text: str) -> float:
    """Reads a duration such as `30s` or `500ms`. Raises `CommandError` naming the option."""
    try:
        seconds = to_nanos(parse_duration(text)) / 1e9
    except ValueError as error:
        raise usage_error(f"{option}: {error}") from error
    if seconds < 0:
        raise usage_error(f"{option}: {text!r} is negative")
    return seconds


Server = Annotated[
    str,
    typer.Option(
        "--server", envvar="JANUA_SERVER", metavar="HOST:PORT", callback=host_and_port, help="The config server."
    ),
]

Output = Annotated[OutputFormat, typer.Option("--output", "-o", envvar="JANUA_OUTPUT", help="Form of the result.")]

Wait = Annotated[
    str,
    typer.Option("--wait", envvar="JANUA_WAIT", metavar="all|majority|N%", help="Wait until so many nodes have it."),
]

Timeout = Annotated[
    str, typer.Option("--timeout", envvar="JANUA_TIMEOUT", metavar="DURATION", help="How long to wait for nodes.")
]

Message = Annotated[
    str, typer.Option("--message", "-m", envvar="JANUA_MESSAGE", metavar="TEXT", help="Why, kept with the revision.")
]

Author = Annotated[
    str, typer.Option("--author", envvar="JANUA_AUTHOR", metavar="WHO", help="Who does this. Default: user@host.")
]

Files = Annotated[
    list[str],
    typer.Option(
        "--file",
        "-f",
        envvar="JANUA_FILE",
        metavar="FILE|DIR|-",
        help="YAML or JSON: a file, all files below a directory, or standard input. May be given several times.",
    ),
]
