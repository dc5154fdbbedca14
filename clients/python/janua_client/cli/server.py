"""The connection of a command to the config server, and the server's errors in a person's words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from janua_client.cli.credentials import CREDENTIALS
from janua_client.cli.failures import CommandError, one_line, usage_error
from janua_client.cli.tls_files import checked
from janua_client.config_client import ConfigClient
from janua_client.errors import DeadlineExceededError, JanuaError, UnavailableError, UnimplementedError
from janua_client.streams import Reconnecting


@asynccontextmanager
async def connect(server: str, reconnecting: Reconnecting | None = None) -> AsyncIterator[ConfigClient]:
    """A client of the server; within it, errors of calls are errors of the command."""
    credentials = CREDENTIALS.get()
    try:
        tls = credentials.tls and checked(credentials.tls)
        opened = ConfigClient(server, tls=tls, token=credentials.token, reconnecting=reconnecting)
    except ValueError as error:
        raise usage_error(str(error)) from error
    async with opened as client:
        try:
            yield client
        except JanuaError as error:
            raise command_error(error, server) from error


def command_error(error: JanuaError, server: str) -> CommandError:
    """What went wrong, all violations, and what to do next."""
    message = one_line(error.message)
    match error:
        case UnavailableError():
            cause = _cause(message)
            return CommandError(f"cannot reach the config server at {server} ({cause}): {_advice(cause)}")
        case UnimplementedError():
            advice = "--server wants the gRPC address of `janua config-server`, by default on port 18000"
            return CommandError(f"the server at {server} is no config server, or an older one: {advice}")
        case DeadlineExceededError():
            return CommandError(f"the config server at {server} did not answer in time: try again")
    details = map(str, error.violations) if len(error.violations) > 1 else ()  # a single one is the message
    return CommandError(message, details=details)


def _advice(cause: str) -> str:
    if CREDENTIALS.get().tls is not None:
        return "see that it speaks TLS, with a certificate for this name by an authority that --ca names"
    if cause == "Socket closed":
        return "if it speaks TLS, give --tls or --ca"
    return "start one with `janua up` or `janua config-server`, or name another with --server"


def _cause(message: str) -> str:
    """The last part of gRPC's report of a failed connection, which is the system's own error."""
    return message.rpartition(": ")[2] if message.startswith("failed to connect") else message
