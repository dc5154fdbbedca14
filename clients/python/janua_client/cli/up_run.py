"""Everything on this machine, from start to drain: the planes, the files applied to them, and applied again."""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

import typer
from janua.config.v1.resource_pb2 import KIND_CONSUMER, KIND_SECRET
from rich.text import Text

from janua_client.cli.apply_report import changes, print_changes, print_warnings, summary
from janua_client.cli.batch import read_batch
from janua_client.cli.failures import CommandError, ExitCode, usage_error
from janua_client.cli.file_changes import FileChanges
from janua_client.cli.local_planes import Addresses, LocalPlanes
from janua_client.cli.output import stderr, stdout, warn
from janua_client.cli.push import push
from janua_client.cli.rollout_report import rejection_line
from janua_client.cli.server import connect
from janua_client.cli.signals import Interrupt, on_signals
from janua_client.cli.sources import STDIN
from janua_client.processes import ChildError, first_death

_SET = "up"
_POLL = 1.0  # seconds between two looks at the files
_ROLLOUT = 10.0  # seconds for the node to take a change


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What was asked for."""

    files: tuple[str, ...]
    watch: bool
    has_tls: bool = False

    @property
    def can_read_again(self) -> bool:
        """Whether there are files, and none is standard input, which ends."""
        return bool(self.files) and STDIN not in self.files

    def check(self) -> None:
        """Refuses combinations that make no sense. Raises `CommandError`."""
        if self.watch and not self.files:
            raise usage_error("--watch needs files to watch: give -f")
        if self.watch and STDIN in self.files:
            raise usage_error("--watch cannot watch standard input")


class Up:
    """One run of `janua up`."""

    def __init__(self, options: UpOptions, planes: LocalPlanes) -> None:
        self._options = options
        self._planes = planes
        self._is_ready = False
        self._reload = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGINT or SIGTERM, then drains. Raises `CommandError` for whatever keeps it from serving."""
        serving = asyncio.create_task(self._serve())
        interrupt = Interrupt(serving, self._planes.kill)
        with on_signals({signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGHUP: self._on_hangup}):
            await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()
        elif not self._is_ready:
            raise typer.Exit(ExitCode.INTERRUPTED)

    async def _serve(self) -> None:
        files = FileChanges(self._options.files)
        try:
            async with self._planes as planes:
                server = await planes.start_config_server()
                if self._options.files:
                    await self._apply(server)
                addresses = await planes.start_gateway(server)
                await self._report_rejections(server)
                self._announce(addresses)
                await self._supervise(server, files)
        except ChildError as error:
            raise CommandError(str(error)) from error  # its last lines are on stderr already

    async def _supervise(self, server: str, files: FileChanges) -> None:
        """Applies edits until a plane dies."""
        async with asyncio.TaskGroup() as tasks:
            editing = tasks.create_task(self._apply_edits(server, files))
            death = await first_death(self._planes.children)
            editing.cancel()
        raise death

    async def _apply_edits(self, server: str, files: FileChanges) -> None:
        while True:
            await self._edit(files)
            try:
                await self._apply(server)
                await self._report_rejections(server)
            except CommandError as error:
                lines = (*error.details, f"not applied, the configuration stays as it is: {error}")
                stderr().print(*lines, sep="\n", soft_wrap=True)

    async def _edit(self, files: FileChanges) -> None:
        """Waits for a reason to read the files again: SIGHUP, or a change if changes are watched."""
        while not self._reload.is_set() and not (self._options.watch and files.seen()):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reload.wait(), _POLL)
        self._reload.clear()

    def _on_hangup(self) -> None:
        """Reads files and the node's secrets again. Where a person looks it is the terminal that went away: the end."""
        if sys.stdin.isatty():
            signal.raise_signal(signal.SIGTERM)
            return
        self._planes.reload()
        if self._options.can_read_again:
            self._reload.set()

    async def _apply(self, server: str) -> None:
        batch = read_batch(self._options.files)
        if not batch.located:
            warn("the files name no resource: the configuration stays as it is")
            return
        async with connect(server) as client:
            response = await push(
                client,
                batch,
                validate_only=False,
                set_name=_SET,
                prune=True,
                prune_kinds=(KIND_SECRET, KIND_CONSUMER),  # the files are all there is to this set
                accept_new_epoch=True,  # whatever became of a store before this one
            )
        if changes(response):
            print_changes(changes(response), stderr())
            stderr().print(summary(response, dry_run=False))
        print_warnings(response)

    async def _report_rejections(self, server: str) -> None:
        """Waits until the node has the configuration; what it refuses is a warning, for the rest of it serves."""
        async with connect(server) as client:
            revision = (await client.nodes()).revision
            if not revision:
                return
            progress = await client.wait_for_rollout(revision, timeout=_ROLLOUT)
        for node in progress.rejecting:
            for rejection in node.rejections:
                warn(f"the node refuses {rejection_line(rejection)}")

    def _announce(self, addresses: Addresses) -> None:
        self._is_ready = True
        if stdout().is_terminal:
            stdout().print(_friendly(addresses, "https" if self._options.has_tls else "http"))
        else:
            print(json.dumps({"event": "ready", "component": "up", **asdict(addresses)}), flush=True)


def _friendly(addresses: Addresses, scheme: str) -> Text:
    return Text.assemble(
        ("\nJanua is ready.\n", "bold green"),
        f"  inference over HTTP   {scheme}://{addresses.http}/v1\n",
        f"  inference over gRPC   {addresses.grpc}\n",
        f"  config server         {addresses.config_server}\n",
        f"  talk to a model       janua chat MODEL --url {scheme}://{addresses.http}\n",
        f"  health and metrics    http://{addresses.admin}\n",
        ("Ctrl-C stops it.\n", "dim"),
    )
