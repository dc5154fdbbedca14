"""The command `diff`: what an apply of the same files would change."""

import asyncio
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import ApplyResponse

from janua_client.cli.apply_report import changes, changes_data, print_changes, print_warnings, report_data, summary
from janua_client.cli.batch import Batch, read_batch
from janua_client.cli.failures import CommandError, ExitCode, usage_error
from janua_client.cli.options import DEFAULT_SERVER, LAST_REVISION, Files, Output, Server
from janua_client.cli.output import OutputFormat, print_data, stdout
from janua_client.cli.push import push
from janua_client.cli.server import connect


def diff(
    files: Files = [],  # noqa: B006  # typer copies it
    revision: Annotated[
        str,
        typer.Option(
            "--revision", envvar="JANUA_REVISION", metavar="A[..B]", help="Compare revisions: A with B, or with now."
        ),
    ] = "",
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
    """Show what an apply of these files would change, or what differs between two revisions, field by field.

    Writes nothing.

    Examples:

      janua diff -f janua.yaml
      janua diff -f config/ --set team-a --prune --exit-code
      janua diff --revision 40..42
    """
    if bool(files) == bool(revision):
        raise usage_error("give either files with -f, or --revision A..B")
    if revision:
        found = asyncio.run(_compare(*_range(revision), server, output))
        if exit_code and found:
            raise typer.Exit(ExitCode.FAILED)
        return
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


def _range(text: str) -> tuple[int, int]:
    """Reads `A..B` or `A`, which is up to now."""
    begin, dots, end = text.partition("..")
    if not all(part.isascii() and part.isdigit() for part in (begin, *((end,) if dots else ()))):
        raise usage_error(f"--revision: {text!r} is not A..B or A, with numbers of revisions")
    numbers = int(begin), int(end or 0)
    if max(numbers) > LAST_REVISION:
        raise usage_error(f"--revision: {text!r} is beyond any revision")
    return numbers


async def _compare(begin: int, end: int, server: str, output: OutputFormat) -> bool:
    """Prints what differs; whether anything does."""
    async with connect(server) as client:
        found = await client.diff_revisions(begin, end)
    if output is not OutputFormat.TABLE:
        print_data({"from": begin, "to": found.to_revision, "changes": changes_data(found.changes)}, output)
    elif found.changes:
        print_changes(found.changes, stdout())
    else:
        stdout().print(f"revisions {begin} and {found.to_revision} are equal")
    return bool(found.changes)


async def _ask(batch: Batch, server: str, *, set_name: str, prune: bool) -> ApplyResponse:
    async with connect(server) as client:
        return await push(client, batch, validate_only=True, set_name=set_name, prune=prune)
