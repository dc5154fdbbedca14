"""The command `apply`: files become one new revision, or nothing happens."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from janua.config.v1.config_service_pb2 import ApplyResponse, ChangeResult
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
from janua_client.cli.failures import CommandError, ExitCode, one_line, usage_error
from janua_client.cli.options import DEFAULT_SERVER, Files, Output, Server, duration_seconds
from janua_client.cli.output import OutputFormat, print_data, stderr, stdout, warn
from janua_client.cli.push import push
from janua_client.cli.rollout_report import print_end, rollout_data, rollout_error, shown_progress
from janua_client.cli.server import connect
from janua_client.cli.sources import STDIN
from janua_client.config_client import ConfigClient
from janua_client.errors import AbortedError, JanuaError
from janua_client.rollout import RolloutProgress, WaitTarget, parse_wait_target

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

    def check(self) -> None:
        """Refuses combinations that make no sense. Raises `CommandError`."""
        if self.prune and not self.set_name:
            raise usage_error("--prune deletes within a set: name it with --set")
        if self.wait and self.dry_run:
            raise usage_error("--wait and --dry-run exclude each other: a dry run reaches no node")
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
    wait: Annotated[
        str, typer.Option(envvar="JANUA_WAIT", metavar="all|majority|N%", help="Wait until so many nodes have it.")
    ] = "",
    timeout: Annotated[
        str, typer.Option(envvar="JANUA_TIMEOUT", metavar="DURATION", help="How long to wait for nodes.")
    ] = "30s",
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Push configuration files to the config server: all of it in one new revision, or nothing.

    Resources that the files do not name stay as they are, unless --prune deletes
    them: those of the same --set. Secrets and consumers are never pruned.

    Examples:

      janua apply -f janua.yaml --dry-run
      janua apply -f config/ --set team-a --prune --wait all --timeout 1m
      generate-config | janua apply -f - -o json

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 written, but not synced in time
    or refused by a node.
    """
    options = ApplyOptions(
        files=tuple(files),
        server=server,
        output=output,
        dry_run=dry_run,
        set_name=set_name,
        prune=prune,
        yes=yes,
        wait=_target(wait),
        timeout=timeout,
    )
    seconds = duration_seconds("--timeout", timeout)
    options.check()
    batch = read_batch(files)
    if not batch.located:
        raise CommandError("the files name no resource: nothing to apply, and an empty batch never prunes")
    asyncio.run(_apply(options, batch, seconds))


def _target(text: str) -> WaitTarget | None:
    try:
        return parse_wait_target(text) if text else None
    except ValueError as error:
        raise usage_error(f"--wait: {error}") from error


async def _apply(options: ApplyOptions, batch: Batch, timeout: float) -> None:
    async with connect(options.server) as client:
        spared = await _spared(client, options.set_name, batch) if options.prune else ()
        response = await _write(client, options, batch)
        if options.output is OutputFormat.TABLE:
            print_changes(response.results, stdout())
            stdout().print(summary(response, dry_run=options.dry_run))
        print_warnings(response)
        for name in spared:
            warn(f"{name} left the files and stays: `janua delete {name.replace('/', ' ')}` deletes it")
        progress, failure = await _wait(client, response, options, timeout)
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
        )
    except AbortedError as error:
        raise CommandError("the configuration changed while you were asked: apply again") from error


async def _confirmed_revision(client: ConfigClient, options: ApplyOptions, batch: Batch) -> int | None:
    """Asks before deleting; the revision the answer holds for, so that nothing else is deleted than what was shown."""
    if not options.prune or options.yes or options.dry_run:
        return None
    preview = await push(client, batch, validate_only=True, set_name=options.set_name, prune=True)
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


async def _wait(
    client: ConfigClient, response: ApplyResponse, options: ApplyOptions, timeout: float
) -> tuple[RolloutProgress | None, CommandError | None]:
    """How far the nodes have come in time, and the failure if that is not far enough."""
    if options.wait is None:
        return None, None
    try:
        with shown_progress() as on_progress:
            progress = await client.wait_for_rollout(
                response.revision,
                connected_at_commit=response.connected_nodes,
                target=options.wait,
                timeout=timeout,
                on_progress=on_progress,
            )
    except JanuaError as error:
        message = (
            f"revision {response.revision} is written, but not known to be on the nodes: {one_line(error.message)}"
        )
        return None, CommandError(message, code=ExitCode.NOT_SYNCED)
    return progress, rollout_error(progress, options.timeout)


def _finish(options: ApplyOptions, response: ApplyResponse, progress: RolloutProgress | None) -> None:
    if options.output is OutputFormat.TABLE:
        if progress is not None:
            print_end(progress)
        return
    data = report_data(response, dry_run=options.dry_run)
    print_data(data | ({"rollout": rollout_data(progress)} if progress else {}), options.output)
