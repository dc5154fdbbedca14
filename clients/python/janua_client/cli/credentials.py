"""The options beside `--server` of every command that has it: a token, and TLS."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

import typer

from janua_client.cli.failures import usage_error
from janua_client.tls import Tls


class Credentials(NamedTuple):
    """What a command shows the config server, and how it knows that it is the right one. No TLS: in clear."""

    tls: Tls | None = None
    token: str = ""


_NOTHING_SHOWN: Final = Credentials()

CREDENTIALS: Final[ContextVar[Credentials]] = ContextVar("CREDENTIALS", default=_NOTHING_SHOWN)
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
WithTls = Annotated[bool, typer.Option("--tls", envvar="JANUA_TLS", help="Speak TLS with the config server.")]
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
    typer.Option(
        "--client-key", envvar="JANUA_CLIENT_KEY", metavar="FILE", help="Its private key, if it is not there."
    ),
]


def _options(
    token: Token = "", tls: WithTls = False, ca: Ca = None, client_cert: Certificate = None, client_key: Key = None
) -> Credentials:
    if client_key is not None and client_cert is None:
        raise usage_error("--client-key is the key of a certificate: give --client-cert too")
    if not tls and ca is None and client_cert is None:
        return Credentials(token=token)
    return Credentials(Tls(ca_file=ca, certificate_file=client_cert, key_file=client_key), token)


def with_credentials(command: Callable[..., object]) -> Callable[..., object]:
    """The command with these options too, if it has `--server`. They reach `connect` by CREDENTIALS."""
    own = inspect.signature(command)
    if "server" not in own.parameters:
        return command
    added = inspect.signature(_options).parameters

    @functools.wraps(command)
    def run(**arguments: Any) -> object:
        CREDENTIALS.set(_options(**{name: arguments.pop(name) for name in added}))
        return command(**arguments)

    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added.values()])  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in get_type_hints(_options, include_extras=True).items() if name in added}
    run.__annotations__ = {**get_type_hints(command, include_extras=True), **hints}
    return run
