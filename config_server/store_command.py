"""The command `python -m config_server.store_command`, which `janua store` runs: backup, restore and migration."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import click

from config_server.store.base import StoreError
from config_server.store.open import redacted_store
from config_server.store.sqlite_copy import Content
from config_server.store.transfer import backup, migrate, restore

_URLS = "sqlite:///PATH, or postgresql://USER@HOST/DATABASE"

_store = click.option("--store", "url", metavar="URL", required=True, envvar="JANUA_STORE", help=f"{_URLS}.")
_replaces = click.option("--replace-existing", is_flag=True, help="Lose what the store holds that is written to.")
_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(context_settings={"show_default": True, "max_content_width": 110})
def command() -> None:
    """Copy all that a config server keeps: configuration, history, keys it made, secrets as they are sealed.

    The encryption keys are not in it: keep them elsewhere.
    """


@command.command(name="backup")
@_store
@_file
def _backup(url: str, file: Path) -> None:
    """Write a store into a new FILE, while servers run or not."""
    content = _run(backup(url, file, _say))
    click.echo(f"{content} written to {file}")


@command.command(name="restore")
@_store
@_file
@_replaces
def _restore(url: str, file: Path, replace_existing: bool) -> None:
    """Fill a store with what a FILE holds that `backup` wrote. Either kind of store takes either's."""
    content = _run(restore(file, url, _say, replaces=replace_existing))
    click.echo(f"{content} restored to {redacted_store(url)}")


@command.command(name="migrate")
@click.option("--from", "source", metavar="URL", required=True, help=f"{_URLS}. No server may run over it.")
@click.option("--to", "target", metavar="URL", required=True, help="The store to fill, of either kind.")
@_replaces
def _migrate(source: str, target: str, replace_existing: bool) -> None:
    """Fill a store with what another holds, which stays as it is. Nodes notice nothing: they are sent nothing anew."""
    content = _run(migrate(source, target, _say, replaces=replace_existing))
    click.echo(f"{content} migrated to {redacted_store(target)}: start servers with --store of that from now on")


def _run(work: Coroutine[Any, Any, Content]) -> Content:
    return asyncio.run(work)


def _say(words: str) -> None:
    click.echo(words, err=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        command.main(arguments, prog_name="janua store", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message(), err=True)
        return 2
    except click.UsageError as error:
        click.echo(f"janua store: {error.format_message()} (see --help)", err=True)
        return 2
    except StoreError as error:
        click.echo(f"janua store: {error}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
