"""The command `secrets`: values that the config server keeps sealed. They are never on a command line, or shown."""

import asyncio
import getpass
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import ApplyResponse, Change, ChangeResult
from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.secret_pb2 import Secret

from janua_client.cli.apply_report import outcome
from janua_client.cli.failures import CommandError, usage_error
from janua_client.cli.options import DEFAULT_SERVER, Message, Output, Server
from janua_client.cli.output import OutputFormat, print_data, stdout
from janua_client.cli.push import author
from janua_client.cli.server import connect
from janua_client.config_client import ConfigClient
from janua_client.errors import AbortedError, AlreadyExistsError, NotFoundError


def secrets() -> None:
    """Give the config server the values of secrets, which it keeps encrypted.

    Examples:

      janua secrets set openai-key < key.txt
      pass show openai | janua secrets set openai-key --allowed-host api.openai.com
    """


def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the secret; made if there is none.")],
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            envvar="JANUA_ALLOWED_HOST",
            metavar="HOST",
            help="Where it may be sent; may be given several times. Default: as it is.",
        ),
    ] = None,
    message: Message = "",
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Set the value of a secret to what comes on standard input; on a terminal it is asked for.

    One line break at the end is dropped. Labels and description stay as they are;
    a secret that named an environment variable or a file holds the value instead.

    Examples:

      janua secrets set openai-key < key.txt
    """
    value = _read_value(name)
    response, revision = asyncio.run(_set(name, value, allowed_host or (), message, server))
    if output is OutputFormat.TABLE:
        stdout().print(f"revision {revision}: secret/{name} {outcome(response)}")
    else:
        print_data({"revision": revision, "name": name, "outcome": outcome(response)}, output)


def _read_value(name: str) -> str:
    if sys.stdin.isatty():
        value = getpass.getpass(f"Value of {name}: ")
    else:
        try:
            value = sys.stdin.read()
        except UnicodeDecodeError:
            raise CommandError("standard input is no text: encode the value, for example with base64") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise usage_error("standard input is empty: give the value there, never on the command line")
    return value


async def _set(
    name: str, value: str, allowed_hosts: Sequence[str], message: str, server: str
) -> tuple[ChangeResult, int]:
    async with connect(server) as client:
        try:
            response = await _write(client, name, value, allowed_hosts, message)
        except (AbortedError, AlreadyExistsError) as error:
            raise CommandError(f"secret {name!r} was changed by somebody else meanwhile: set it again") from error
    return response.results[0], response.revision


async def _write(
    client: ConfigClient, name: str, value: str, allowed_hosts: Sequence[str], message: str
) -> ApplyResponse:
    change = Change(must_not_exist=True)
    secret = Secret(name=name)
    try:
        stored = await client.get(KIND_SECRET, name)
    except NotFoundError:
        pass
    else:
        secret.CopyFrom(stored.resource.secret)
        change = Change(etag=stored.etag)
    secret.value = value
    if allowed_hosts:
        secret.allowed_hosts[:] = allowed_hosts
    change.upsert.secret.CopyFrom(secret)
    return await client.apply([change], author=author(), message=message)
