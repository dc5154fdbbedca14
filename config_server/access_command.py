"""The command `python -m config_server.access_command`, which `janua access` runs: the file of who may do what."""

import fcntl
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from config_server.access.access_list import AccessError, AccessList, entry_text, token_digest
from config_server.access.principal import Principal, Role

_PREFIX: Final = "jt-"
_ENTROPY_BYTES: Final = 32

_file = click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    envvar="JANUA_ACCESS_FILE",
    help="The file that config servers are given as --access-file.",
)


@click.group(context_settings={"show_default": True, "max_content_width": 110})
def command() -> None:
    """Say who may do what at the config server.

    Everybody in the file has a name, a role, and tokens or names in client certificates. Running servers take the file
    a second after it has changed, and end the calls of those who are not in it any more. It has digests of tokens only.

    \b
    admin   may do everything
    editor  writes everything but secrets
    viewer  reads, and never the value of a secret
    node    is a gateway: is sent the configuration
    client  dials xds:///janua: is told which nodes there are
    """


@command.command(name="add")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@click.option("--certificate", "certificates", multiple=True, metavar="NAME", help="A name in a client certificate.")
@click.option(
    "--node-id", "node_ids", multiple=True, metavar="ID", help="A node's id, or how ids begin and *. Default: NAME."
)
@_file
def _add(name: str, role: str, certificates: Sequence[str], node_ids: Sequence[str], path: Path) -> None:
    """Add NAME to the file, which is made if there is none.

    Without --certificate a token is made and printed, this once. Other entries and comments stay as they are.

    \b
    janua access add ci --role editor --file access.yaml
    janua access add edge-1 --role node --file access.yaml > edge-1.token
    janua access add edge --role node --certificate edge.example --node-id "edge-*" --file access.yaml
    """
    token = None if certificates else _PREFIX + secrets.token_urlsafe(_ENTROPY_BYTES)
    principal = Principal(
        name=name,
        role=Role(role),
        token_digests=frozenset() if token is None else frozenset({token_digest(token)}),
        certificates=frozenset(certificates),
        node_ids=node_ids,
    )
    # Where a link leads, so that it stays one.
    with _alone(real := Path(os.path.realpath(path))):
        before = real.read_text() if real.exists() else ""
        if before:
            AccessList.read(path)
        text = before + ("" if not before or before.endswith("\n") else "\n") + entry_text(principal)
        AccessList.parse(text)
        _replace(real, text)
    click.echo(f"{name} may connect as {role}" + (", with this token, which is shown once" if token else ""), err=True)
    if token is not None:
        click.echo(token)


@command.command(name="list")
@_file
def _list(path: Path) -> None:
    """Check the file and show who is in it."""
    rows = [("NAME", "ROLE", "TOKENS", "CERTIFICATES", "NODE IDS")]
    for each in AccessList.read(path).principals:
        certificates, node_ids = ", ".join(sorted(each.certificates)), ", ".join(each.node_ids)
        rows.append((each.name, each.role.value, str(len(each.token_digests)), certificates or "-", node_ids or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits for those who write the file just now: what one has added another would leave out. The lock is on the
    directory, since the file is replaced."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Writes the whole file or nothing of it: readable by whom it was before, and if it is new by this user alone."""
    found = path.stat() if path.exists() else None
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            if found is not None:
                _give(descriptor, found, path)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _give(descriptor: int, found: os.stat_result, path: Path) -> None:
    """Gives a file to whom another belongs: the server may run as another user than the one who adds somebody."""
    try:
        os.fchown(descriptor, found.st_uid, found.st_gid)
    except PermissionError:
        raise AccessError(f"{path} belongs to another user: add to it as that user, or as root") from None
    os.fchmod(descriptor, found.st_mode & 0o777)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        command.main(arguments, prog_name="janua access", standalone_mode=False)
    except click.UsageError as error:
        return _failed(f"{error.format_message()} (see --help)", 2)
    except AccessError as error:
        return _failed(str(error), 1)
    except OSError as error:
        return _failed(f"{error.filename}: {(error.strerror or 'failed').lower()}", 1)
    return 0


def _failed(message: str, code: int) -> int:
    click.echo(f"janua access: {message}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
