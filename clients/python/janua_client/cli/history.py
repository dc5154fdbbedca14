"""The commands `history` and `rollback`: who changed what and why, and going back."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import GetRevisionResponse, Revision, RollbackRequest
from rich.text import Text

from janua_client.cli.ages import ago, rfc3339
from janua_client.cli.apply_report import (
    changes,
    changes_data,
    print_changes,
    print_warnings,
    report_data,
    summary,
)
from janua_client.cli.failures import CommandError, one_line, usage_error
from janua_client.cli.options import (
    DEFAULT_SERVER,
    LAST_REVISION,
    Author,
    Message,
    Output,
    Server,
    Timeout,
    Wait,
    duration_seconds,
)
from janua_client.cli.output import Json, OutputFormat, print_data, print_table, stderr, stdout
from janua_client.cli.push import author as default_author
from janua_client.cli.rollout_report import print_end, rollout_data
from janua_client.cli.rollout_wait import wait, wait_target
from janua_client.cli.server import connect
from janua_client.config_client import ConfigClient
from janua_client.errors import FailedPreconditionError, InvalidArgumentError
from janua_client.rollout import WaitTarget


def history(
    revision: Annotated[
        int | None,
        typer.Argument(
            min=1, max=LAST_REVISION, metavar="[REVISION]", help="One revision; without it the newest ones."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, envvar="JANUA_LIMIT", help="How many to list.")] = 20,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the newest revisions, or show what one of them changed: who made it, when and why.

    Examples:

      janua history -n 50
      janua history 42
      janua diff --revision 40..42     what changed from one to the other
    """
    asyncio.run(_history(limit, server, output) if revision is None else _revision(revision, server, output))


async def _history(limit: int, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        revisions = [each async for each in client.revisions(limit=limit)]
    if output is not OutputFormat.TABLE:
        print_data({"revisions": [_data(each) for each in revisions]}, output)
        return
    now = datetime.now(UTC)
    rows = [
        (str(each.revision), ago(each.create_time, now), each.author or "-", _first_line(each.message))
        for each in revisions
    ]
    print_table(("REVISION", "MADE", "BY", "WHY"), rows, empty="nothing has been applied yet")


async def _revision(revision: int, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        told = await client.revision(revision)
    if output is OutputFormat.TABLE:
        _print_revision(told)
    else:
        print_data(_data(told.revision) | {"changes": changes_data(told.changes)}, output)


def _print_revision(told: GetRevisionResponse) -> None:
    made = told.revision
    console = stdout()
    console.print(Text.assemble((f"revision {made.revision}", "bold"), f"  {rfc3339(made.create_time)}  {made.author}"))
    for line in made.message.splitlines():
        console.print(Text(f"    {line}"), soft_wrap=True)
    console.print()
    if told.changes:
        print_changes(told.changes, console)
    else:
        console.print("no resource was changed")


def _data(revision: Revision) -> dict[str, Json]:
    return {
        "revision": revision.revision,
        "time": rfc3339(revision.create_time),
        "author": revision.author,
        "message": revision.message,
    }


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "-"


def rollback(
    revision: Annotated[
        int, typer.Argument(min=0, max=LAST_REVISION, metavar="REVISION", help="The revision to go back to.")
    ],
    undo: Annotated[
        bool, typer.Option("--undo", envvar="JANUA_UNDO", help="Take back only what this revision changed.")
    ] = False,
    include_secrets: Annotated[
        bool, typer.Option("--include-secrets", envvar="JANUA_INCLUDE_SECRETS", help="Have secrets go back too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="JANUA_DRY_RUN", help="Check everything, write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", envvar="JANUA_YES", help="Do not ask.")] = False,
    message: Message = "",
    author: Author = "",
    wait_: Wait = "",
    timeout: Timeout = "30s",
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Go back: make a new revision with the content of an earlier one, or without the changes of one.

    Keys made by `janua keys` stay as they are, and so do secrets unless they are
    included. With --undo what later revisions did stays; it is refused if one of
    them has touched the same resources.

    Examples:

      janua rollback 41 --dry-run
      janua rollback 41 --yes --wait all -m "42 breaks the chat"
      janua rollback --undo 42

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 written, but not synced in time
    or refused by a node.
    """
    target = wait_target(wait_)
    seconds = duration_seconds("--timeout", timeout)
    if target and dry_run:
        raise usage_error("--wait and --dry-run exclude each other: a dry run reaches no node")
    can_ask = sys.stdin.isatty() and sys.stderr.isatty()
    if not yes and not dry_run and not can_ask:
        raise usage_error("a rollback asks before it changes anything, and there is no terminal to ask on: add --yes")
    request = RollbackRequest(include_secrets=include_secrets, author=author or default_author(), message=message)
    if undo and not revision:
        raise usage_error("there is nothing to undo before revision 1")
    if undo:
        request.undo_revision = revision
    else:
        request.to_revision = revision
    asyncio.run(_rollback(request, server, output, dry_run=dry_run, yes=yes, target=target, timeout=(timeout, seconds)))


async def _rollback(
    request: RollbackRequest,
    server: str,
    output: OutputFormat,
    *,
    dry_run: bool,
    yes: bool,
    target: WaitTarget | None,
    timeout: tuple[str, float],
) -> None:
    async with connect(server) as client:
        try:
            if not yes and not dry_run:
                await _confirm(client, request)
            request.validate_only = dry_run
            response = await client.rollback(request)
        except (FailedPreconditionError, InvalidArgumentError) as error:
            if not error.violations:
                raise
            text = f"what was then cannot be now, nothing was written: {one_line(error.message)}"
            raise CommandError(text, details=map(str, error.violations)) from error
        if output is OutputFormat.TABLE:
            print_changes(changes(response), stdout())
            stdout().print(summary(response, dry_run=dry_run))
        print_warnings(response)
        progress, failure = await wait(client, response, target, *timeout)
    if output is not OutputFormat.TABLE:
        data = report_data(response, dry_run=dry_run)
        print_data(data | ({"rollout": rollout_data(progress)} if progress else {}), output)
    elif progress is not None:
        print_end(progress)
    if failure is not None:
        raise failure


async def _confirm(client: ConfigClient, request: RollbackRequest) -> None:
    """Shows what would happen and asks; the rollback then holds for just that."""
    preview = RollbackRequest()
    preview.CopyFrom(request)
    preview.validate_only = True
    response = await client.rollback(preview)
    print_changes(changes(response), stderr())
    if changes(response) and not typer.confirm("Do this?", err=True):
        raise CommandError("nothing was changed")
    request.base_revision = response.revision
