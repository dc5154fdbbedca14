"""The table of commands. A command's module is loaded only when the command is called, so that help is quick."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer

from janua_client.cli.credentials import with_credentials

_COMPLETION = "_JANUA_COMPLETE"  # set by the shell when it asks for completions


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: its name, the module and function that do it, and what `janua --help` says about it."""

    name: str
    module: str
    summary: str
    group: str
    passes_through: bool = False
    """All arguments, `--help` too, are for another program."""
    subcommands: tuple[str, ...] = ()
    """Commands below it, which are functions of the same module."""

    def load_subcommands(self) -> Mapping[str, Callable[..., object]]:
        """Imports the module. The functions have the names of the commands, or those and `_` where Python has one."""
        module = import_module(f"janua_client.cli.{self.module}")
        return {
            name: with_credentials(getattr(module, f"{name}_", None) or getattr(module, name))
            for name in self.subcommands
        }

    def load(self) -> Callable[..., object]:
        """Imports the module. The function has the command's name."""
        function: Callable[..., object] = getattr(
            import_module(f"janua_client.cli.{self.module}"), self.name.replace("-", "_")
        )
        return with_credentials(function)


_RUN, _CONFIG, _FLEET = "Run", "Configuration", "Fleet and models"

COMMANDS = (
    Command(name="up", module="up", group=_RUN, summary="Run everything on this machine: config server and a gateway."),
    Command(
        name="demo", module="demo_command", group=_RUN, summary="Run everything with two real local models behind it."
    ),
    Command(
        name="config-server", module="planes", group=_RUN, passes_through=True, summary="Run the config server alone."
    ),
    Command(
        name="store",
        module="planes",
        group=_RUN,
        passes_through=True,
        summary="Back up, restore and migrate what a config server keeps.",
    ),
    Command(
        name="access",
        module="planes",
        group=_RUN,
        passes_through=True,
        summary="Say who may do what at the config server.",
    ),
    Command(name="gateway", module="planes", group=_RUN, passes_through=True, summary="Run one gateway node."),
    Command(name="apply", module="apply", group=_CONFIG, summary="Push configuration files to the config server."),
    Command(name="validate", module="validate", group=_CONFIG, summary="Check configuration files without a server."),
    Command(name="diff", module="diff", group=_CONFIG, summary="Show what an apply would change."),
    Command(name="explain", module="explain", group=_CONFIG, summary="Say which route a request takes, and why."),
    Command(name="get", module="resources", group=_CONFIG, summary="Show resources."),
    Command(name="delete", module="resources", group=_CONFIG, summary="Delete a resource."),
    Command(name="export", module="resources", group=_CONFIG, summary="Print the whole configuration as a file."),
    Command(name="history", module="history", group=_CONFIG, summary="Say who changed what, when and why."),
    Command(name="rollback", module="history", group=_CONFIG, summary="Go back to an earlier revision, or undo one."),
    Command(
        name="keys",
        module="keys",
        group=_CONFIG,
        subcommands=("create", "list", "revoke"),
        summary="Make, list and revoke API keys.",
    ),
    Command(
        name="secrets",
        module="secrets",
        group=_CONFIG,
        subcommands=("set",),
        summary="Give the config server the values of secrets.",
    ),
    Command(
        name="canary",
        module="canary",
        group=_CONFIG,
        subcommands=("status", "promote", "abort"),
        summary="See how a change goes that some nodes try, and end that.",
    ),
    Command(
        name="rollout",
        module="rollout",
        group=_FLEET,
        subcommands=("status",),
        summary="Say how far a revision has come on the nodes.",
    ),
    Command(name="nodes", module="fleet", group=_FLEET, summary="List the gateway nodes."),
    Command(name="status", module="fleet", group=_FLEET, summary="Show revision, nodes, and the health of endpoints."),
    Command(
        name="cache",
        module="cache",
        group=_FLEET,
        subcommands=("purge",),
        summary="Forget answers that the nodes keep.",
    ),
    Command(name="chat", module="chat", group=_FLEET, summary="Talk to a model through a gateway."),
)

_PASS_THROUGH: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
}


def build_app(words: Iterable[str]) -> typer.Typer:
    """The command line, with the commands loaded that are among `words`; the others are there for help alone."""
    app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.callback()(_janua)
    wanted = {command.name for command in COMMANDS} if _COMPLETION in os.environ else set(words)
    for command in COMMANDS:
        if command.subcommands and command.name in wanted:
            app.add_typer(_build_group(command), name=command.name, rich_help_panel=command.group)
            continue
        settings = _PASS_THROUGH if command.passes_through else {}
        function = command.load() if command.name in wanted else _not_loaded
        help_ = None if command.name in wanted else command.summary
        app.command(command.name, help=help_, short_help=command.summary, rich_help_panel=command.group, **settings)(
            function
        )
    return app


def _build_group(command: Command) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, short_help=command.summary)
    group.callback()(command.load())
    for name, function in command.load_subcommands().items():
        group.command(name)(function)
    return group


def _not_loaded() -> None:
    raise AssertionError("a command is loaded when its name is among the words")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"janua {version('janua')}")
        raise typer.Exit


def _janua(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An AI gateway with two faces, gRPC and HTTP, and one configuration, streamed to every node.

    A first answer:

      janua demo                        two local models, and what to try
      janua up -f janua.yaml --watch    your own configuration, kept up to date
      janua chat MODEL                  talk to a model

    Every option can be set as an environment variable, such as JANUA_SERVER for
    --server. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not synced in time or
    refused by a node.
    """
