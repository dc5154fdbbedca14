"""The options beside `--server` of every command that has it: a token, and TLS."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from janua_client.security import PLAIN, Security

SECURITY: Final[ContextVar[Security]] = ContextVar("SECURITY", default=PLAIN)
"""Of the command that runs."""

Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="JANUA_TOKEN",
        metavar="TOKEN",
        help="Who asks. Others on this machine see it: better a variable.",
    ),
]
Tls = Annotated[bool, typer.Option("--tls", envvar="JANUA_TLS", help="Speak TLS with the config server.")]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", envvar="JANUA_CA", metavar="FILE", help="TLS, and trust these authorities (PEM) alone."),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--client-cert", envvar="JANUA_CLIENT_CERT", metavar="FILE", help="TLS, with this certificate (PEM)."),
]
Key = Annotated[
    Path | None,
    typer.Option("--client-key", envvar="JANUA_CLIENT_KEY", metavar="FILE", help="Its private key (PEM)."),
]


def _options(
    token: Token = "", tls: Tls = False, ca: Ca = None, client_cert: Certificate = None, client_key: Key = None
) -> Security:
    return Security(tls=tls, ca=ca, certificate=client_cert, key=client_key, token=token)


def with_credentials(command: Callable[..., object]) -> Callable[..., object]:
    """The command with these options too, if it has `--server`. They reach `connect` by SECURITY."""
    own = inspect.signature(command)
    if "server" not in own.parameters:
        return command
    added = inspect.signature(_options).parameters

    @functools.wraps(command)
    def run(**arguments: Any) -> object:
        SECURITY.set(_options(**{name: arguments.pop(name) for name in added}))
        return command(**arguments)

    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added.values()])  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in get_type_hints(_options, include_extras=True).items() if name in added}
    run.__annotations__ = {**get_type_hints(command, include_extras=True), **hints}
    return run
