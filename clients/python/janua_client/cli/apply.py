"""The command `apply`: files become one new revision, or nothing happens."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import ApplyResponse, CanaryOptions, ChangeResult, RollbackRequest
from janua.config.v1.resource_pb2 import KIND_CONSUMER, KIND_SECRET
from janua_resources.kinds import key_of, unwrap

from janua_client.cli.apply_report import (
    print_changes,
    print_warnings,
    report_data,
    resource_name,
    summary,
)
from janua_client.cli.batch import Batch, read_batch
from janua_client.cli.canary_apply import Canary, MaxFailed, canary_options, print_begun, refused_canary
from janua_client.cli.failures import CommandError, ExitCode, one_line, usage_error
from janua_client.cli.options import (
    DEFAULT_SERVER,
    Author,
    Files,
    Message,
    Output,
    Server,
    Timeout,
    Wait,
    duration_seconds,
)
from janua_client.cli.output import OutputFormat, print_data, stderr, stdout, warn
from janua_client.cli.push import author as default_author
from janua_client.cli.push import push
from janua_client.cli.rollout_report import print_end, rollout_data
from janua_client.cli.rollout_wait import wait, wait_target
from janua_client.cli.server import connect
from janua_client.cli.sources import STDIN
from janua_client.config_client import ConfigClient
from janua_client.errors import AbortedError, JanuaError
from janua_client.node_selector import describe_nodes
from janua_client.rollout import RolloutProgress, WaitTarget

_SPARED = (KIND_SECRET, KIND_CONSUMER)  # kinds that pruning leaves alone


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """What was asked for."""

    files: tuple[str, ...]
    server: str
    output: OutputFormat
    dry_run: bool
    set_name: str
    prune: bool
    yes: bool
    wait: WaitTarget | None
    timeout: str
    rollback_on_nack: bool
    message: str
    author: str
    canary: CanaryOptions | None
    accept_new_epoch: bool

    def check(self) -> None:
        """Refuses combinations that make no sense. Raises `CommandError`."""
        if self.prune and not self.set_name:
            raise usage_error("--prune deletes within a set: name it with --set")
        if self.wait and self.dry_run:
            raise usage_error("--wait and --dry-run exclude each other: a dry run reaches no node")
        if self.rollback_on_nack and not self.wait:
            raise usage_error("--rollback-on-nack needs --wait: without it nobody sees what the nodes say")
        if self.rollback_on_nack and self.canary:
            raise usage_error("--rollback-on-nack has nothing to undo with --canary: a refusal aborts the canary")
        if self.prune and not self.yes and not self.dry_run and not self.can_ask:
            raise usage_error("--prune asks before it deletes, and there is no terminal to ask on: add --yes")

    @property
    def can_ask(self) -> bool:
        return sys.stdin.isatty() and sys.stderr.isatty() and STDIN not in self.files


def apply(
    files: Files,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="JANUA_DRY_RUN", help="Check everything, write nothing.")
    ] = False,
    set_name: Annotated[
        str, typer.Option("--set", envvar="JANUA_SET", metavar="NAME", help="Mark what is written as this set.")
    ] = "",
    prune: Annotated[
        bool, typer.Option("--prune", envvar="JANUA_PRUNE", help="Delete what is of the set and not in the files.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", envvar="JANUA_YES", help="Delete without asking.")] = False,
    wait_: Wait = "",
    timeout: Timeout = "30s",
    rollback_on_nack: Annotated[
        bool,
        typer.Option(
            "--rollback-on-nack", envvar="JANUA_ROLLBACK_ON_NACK", help="Undo it all if a node refuses a part of it."
        ),
    ] = False,
    message: Message = "",
    author: Author = "",
    canary: Canary = "",
    max_failed: MaxFailed = "10%",
    accept_new_epoch: Annotated[
        bool,
        typer.Option(
            "--accept-new-epoch",
            envvar="JANUA_ACCEPT_NEW_EPOCH",
            help="Take from nodes what they hold of a store that was lost.",
        ),
    ] = False,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Push configuration files to the config server: all of it in one new revision, or nothing.

    Resources that the files do not name stay as they are, unless --prune deletes
    them: those of the same --set. Secrets and consumers are never pruned.

    Examples:

      janua apply -f janua.yaml --dry-run
      janua apply -f config/ --set team-a --prune --wait all --timeout 1m
      janua apply -f janua.yaml --wait all --rollback-on-nack -m "new model"
      janua apply -f janua.yaml --canary 10% --wait all
      generate-config | janua apply -f - -o json

    With --rollback-on-nack only what this apply changed goes back, and only if nobody
    has changed it since; being late is no refusal. With --canary nothing is written
    yet, --wait is for the nodes that try it, and a refusal aborts it.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 written, but not synced in time
    or refused by a node (and then undone, with --rollback-on-nack).
    """
    options = ApplyOptions(
        files=tuple(files),
        server=server,
        output=output,
        dry_run=dry_run,
        set_name=set_name,
        prune=prune,
        yes=yes,
        wait=wait_target(wait_),
        timeout=timeout,
        rollback_on_nack=rollback_on_nack,
        message=message,
        author=author,
        canary=canary_options(canary, max_failed),
        accept_new_epoch=accept_new_epoch,
    )
    seconds = duration_seconds("--timeout", timeout)
    options.check()
    batch = read_batch(files)
    if not batch.located:
        raise CommandError("the files name no resource: nothing to apply, and an empty batch never prunes")
    asyncio.run(_apply(options, batch, seconds))


async def _apply(options: ApplyOptions, batch: Batch, timeout: float) -> None:
    async with connect(options.server) as client:
        spared = await _spared(client, options.set_name, batch) if options.prune else ()
        response = await _write(client, options, batch)
        if options.output is OutputFormat.TABLE:
            print_changes(response.results, stdout())
            if options.canary and not options.dry_run:
                print_begun(response, options.canary)
            else:
                stdout().print(summary(response, dry_run=options.dry_run))
        print_warnings(response)
        for name in spared:
            warn(f"{name} left the files and stays: `janua delete {name.replace('/', ' ')}` deletes it")
        progress, failure = await wait(client, response, options.wait, options.timeout, timeout)
        if failure is not None and progress is not None and progress.rejecting:
            if options.canary:
                failure = refused_canary(progress, failure)
            elif options.rollback_on_nack:
                failure = await _undo(client, options, response, progress, failure)
    _finish(options, response, progress)
    if failure is not None:
        raise failure


async def _write(client: ConfigClient, options: ApplyOptions, batch: Batch) -> ApplyResponse:
    base_revision = await _confirmed_revision(client, options, batch)
    try:
        return await push(
            client,
            batch,
            validate_only=options.dry_run,
            set_name=options.set_name,
            prune=options.prune,
            base_revision=base_revision,
            by=options.author,
            message=options.message,
            canary=options.canary,
            accept_new_epoch=options.accept_new_epoch,
        )
    except AbortedError as error:
        if base_revision is None:
            raise  # nobody was asked: servers write faster than this one, as it says
        raise CommandError("the configuration changed while you were asked: apply again") from error


async def _confirmed_revision(client: ConfigClient, options: ApplyOptions, batch: Batch) -> int | None:
    """Asks before deleting; the revision the answer holds for, so that nothing else is deleted than what was shown."""
    if not options.prune or options.yes or options.dry_run:
        return None
    preview = await push(
        client,
        batch,
        validate_only=True,
        set_name=options.set_name,
        prune=True,
        accept_new_epoch=options.accept_new_epoch,
    )
    doomed = [result for result in preview.results if result.outcome == ChangeResult.OUTCOME_DELETED]
    if doomed:
        _ask(doomed)
    return preview.revision


def _ask(doomed: Iterable[ChangeResult]) -> None:
    names = [resource_name(result.key) for result in doomed]
    stderr().print("No longer in the files, and to be deleted:", *names, sep="\n  ")
    if not typer.confirm(f"Delete {'it' if len(names) == 1 else f'these {len(names)}'}?", err=True):
        raise CommandError("nothing was changed")


async def _spared(client: ConfigClient, set_name: str, batch: Batch) -> Sequence[str]:
    """The resources that left the files and stay all the same."""
    written = {(each.kind, each.name) for each in map(key_of, batch.messages)}
    of_set = [key_of(unwrap(each.resource)) for kind in _SPARED async for each in client.list(kind, set_name=set_name)]
    return [resource_name(each) for each in of_set if (each.kind, each.name) not in written]


async def _undo(
    client: ConfigClient,
    options: ApplyOptions,
    response: ApplyResponse,
    progress: RolloutProgress,
    failure: CommandError,
) -> CommandError:
    """Takes back what was applied and a node has refused. The failure that tells of both."""
    refusing = ", ".join(node.node_id for node in progress.rejecting)
    request = RollbackRequest(
        undo_revision=response.revision,
        author=options.author or default_author(),
        message=f"revision {response.revision} refused by {refusing}",
    )
    try:
        undone = await client.rollback(request)
    except AbortedError as error:
        message = f"revision {response.revision} is refused by {refusing} and stays: {one_line(error.message)}"
    except JanuaError as error:
        message = (
            f"revision {response.revision} is refused by {refusing} and could not be undone: {one_line(error.message)}"
        )
    else:
        message = (
            f"revision {response.revision} is refused by {refusing} and was undone by revision {undone.revision}: "
            "correct the files and apply again"
        )
    return CommandError(message, code=ExitCode.NOT_SYNCED, details=failure.details)


def _finish(options: ApplyOptions, response: ApplyResponse, progress: RolloutProgress | None) -> None:
    if options.output is OutputFormat.TABLE:
        is_said = options.canary is not None and not response.connected_nodes
        if progress is not None and not is_said:
            print_end(progress)
        return
    data = report_data(response, dry_run=options.dry_run)
    if options.canary:
        data |= {"canary": describe_nodes(options.canary.nodes)}
    print_data(data | ({"rollout": rollout_data(progress)} if progress else {}), options.output)
