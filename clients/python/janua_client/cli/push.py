"""Sending a batch of files to the config server; what the server finds wrong is shown where it stands in the files."""

import getpass
import re
import socket
from collections.abc import Iterable

from janua.config.v1.config_service_pb2 import ApplyResponse, CanaryOptions
from janua.config.v1.resource_pb2 import Kind

from janua_client.changes import upsert
from janua_client.cli.batch import Batch
from janua_client.cli.failures import CommandError
from janua_client.config_client import ConfigClient
from janua_client.errors import FailedPreconditionError, FieldViolation, InvalidArgumentError

_CHANGE = re.compile(r"changes\[(?P<index>\d+)\](?:\.upsert(?:\.[a-z]+(?:\.(?P<field>.+))?)?)?")


async def push(
    client: ConfigClient,
    batch: Batch,
    *,
    validate_only: bool,
    set_name: str = "",
    prune: bool = False,
    prune_kinds: Iterable[Kind.ValueType] = (),
    base_revision: int | None = None,
    by: str = "",
    message: str = "",
    canary: CanaryOptions | None = None,
    accept_new_epoch: bool = False,
) -> ApplyResponse:
    """Applies the batch, or with `validate_only` asks what would happen.

    Raises `CommandError` for violations, and `JanuaError` for whatever else goes wrong.
    """
    try:
        return await client.apply(
            [upsert(message) for message in batch.messages],
            validate_only=validate_only,
            set_name=set_name,
            prune=prune,
            prune_kinds=prune_kinds,
            base_revision=base_revision,
            author=by or author(),
            message=message,
            canary=canary,
            accept_new_epoch=accept_new_epoch,
        )
    except InvalidArgumentError as error:
        if not error.violations:
            raise
        lines = [describe(violation, batch) for violation in error.violations]
        text = f"the config server refuses the batch, nothing was written: {error}"
        raise CommandError(text, details=lines) from error
    except FailedPreconditionError as error:
        if not error.violations:
            raise
        text = "the batch would break what is on the server, nothing was written: change or delete that first"
        raise CommandError(text, details=map(str, error.violations)) from error


def describe(violation: FieldViolation, batch: Batch) -> str:
    """A violation of the request as one of a file, if it is about a resource."""
    found = _CHANGE.fullmatch(violation.field)
    if found is None or int(found["index"]) >= len(batch.located):
        return str(violation)
    located = batch.located[int(found["index"])]
    field = found["field"] or ""
    line, column = located.position(field)
    subject = f"{field}: {violation.description}" if field else violation.description
    return f"{located.source}:{line}:{column}: {subject}"


def author() -> str:
    """Who makes the change, as far as the machine knows: `user@host`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError, ImportError):  # a container may run under a number that has no name
        return socket.gethostname()
