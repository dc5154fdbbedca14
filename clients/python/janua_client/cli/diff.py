"""The command `diff`: what an apply of the same files would change."""

import asyncio
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import ApplyResponse

from janua_client.cli.apply_report import changes, print_changes, print_warnings, report_data, summary
from janua_client.cli.batch import Batch, read_batch
from janua_client.cli.failures import CommandError, ExitCode, usage_error
from janua_client.cli.options import DEFAULT_SERVER, Files, Output, Server
from janua_client.cli.output import OutputFormat, print_data, stdout
from janua_client.cli.push import push
from janua_client.cli.server import connect


def diff(
    files: Files,
    set_name: Annotated[
        str, typer.Option("--set", envvar="JANUA_SET", metavar="NAME", help="The set, as with apply.")
    ] = "",
    prune: Annotated[
        bool, typer.Option("--prune", envvar="JANUA_PRUNE", help="Show too what apply --prune would delete.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", envvar="JANUA_EXIT_CODE", help="Exit with 1 if there is a difference.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show what an apply of these files would change, field by field. Writes nothing.

    Examples:

      janua diff -f janua.yaml
      janua diff -f config/ --set team-a --prune --exit-code
    """
    if prune and not set_name:
        raise usage_error("--prune deletes within a set: name it with --set")
    batch = read_batch(files)
    if not batch.located:
        raise CommandError("the files name no resource: nothing to compare")
    response = asyncio.run(_ask(batch, server, set_name=set_name, prune=prune))
    if output is OutputFormat.TABLE:
        print_changes(changes(response), stdout())
        stdout().print(summary(response, dry_run=True))
    else:
        print_data(report_data(response, dry_run=True), output)
    print_warnings(response)
    if exit_code and changes(response):
        raise typer.Exit(ExitCode.FAILED)


async def _ask(batch: Batch, server: str, *, set_name: str, prune: bool) -> ApplyResponse:
    async with connect(server) as client:
        return await push(client, batch, validate_only=True, set_name=set_name, prune=prune)
