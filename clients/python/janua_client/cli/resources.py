"""The commands `get`, `delete` and `export`: single resources, and all of them as a file that `apply` takes back."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from janua.config.v1.resource_pb2 import Kind, StoredResource
from janua_resources import documents
from janua_resources.kinds import KINDS, KindInfo, kind_by_word, kind_of, unwrap
from janua_resources.nearest import did_you_mean
from janua_resources.unknown_fields import has_unknown_fields

from janua_client.cli.ages import ago
from janua_client.cli.failures import CommandError, usage_error
from janua_client.cli.options import DEFAULT_SERVER, LAST_REVISION, Author, Message, Output, Server
from janua_client.cli.output import OutputFormat, print_data, print_table, stdout
from janua_client.cli.push import author as default_author
from janua_client.cli.server import connect
from janua_client.cli.summaries import summarize
from janua_client.errors import FailedPreconditionError, NotFoundError

_ALL = "all"

KindArgument = Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(info.field for info in KINDS)}.")]


def get(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="route, service, upstream …, or all.")],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One resource; without it all of the kind.")
    ] = None,
    revision: Annotated[
        int,
        typer.Option(
            "--revision", min=0, max=LAST_REVISION, envvar="JANUA_REVISION", help="As they were then. Default: now."
        ),
    ] = 0,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show resources. As YAML or JSON they are a file that apply takes back.

    Examples:

      janua get routes
      janua get upstream llama-pool -o yaml
      janua get all -o json
      janua get route chat --revision 41 -o yaml
    """
    asyncio.run(_get(None if kind == _ALL else _kind(kind, _ALL), name, revision, server, output))


def _kind(word: str, *others: str) -> KindInfo:
    kind = kind_by_word(word)
    if kind is None:
        known = [*(info.field for info in KINDS), *others]
        raise usage_error(f"{word!r} is no kind of resource, such as {', '.join(known)}{did_you_mean(word, known)}")
    return kind


async def _get(kind: KindInfo | None, name: str | None, revision: int, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        if name is None:
            stored, _ = await client.snapshot(kind.kind if kind else Kind.KIND_UNSPECIFIED, revision=revision)
        elif kind is None:
            raise usage_error("a name needs its kind, for example `janua get route NAME`")
        else:
            try:
                stored = (await client.get(kind.kind, name, revision=revision),)
            except NotFoundError as error:
                if revision:
                    raise
                raise _missing(kind, name) from error
    if output is OutputFormat.TABLE:
        _print_resources(stored, with_kind=kind is None)
    else:
        _print_document(stored, output)


def _print_document(stored: Sequence[StoredResource], output: OutputFormat) -> None:
    """Prints what `apply` takes back. Raises CommandError if that would not be all."""
    if unknown := [each for each in stored if has_unknown_fields(each.resource)]:
        text = "these have a kind or fields that this version does not know, and that a file would lose"
        raise CommandError(f"{text}: use the version of the config server", details=map(_name, unknown))
    form: Literal["json", "yaml"] = "json" if output is OutputFormat.JSON else "yaml"
    print(documents.dump([unwrap(each.resource) for each in stored], form), end="")


def _missing(kind: KindInfo, name: str) -> CommandError:
    return CommandError(f"there is no {kind.field} {name!r}: `janua get {kind.plural}` lists those there are")


def _print_resources(stored: Sequence[StoredResource], *, with_kind: bool) -> None:
    now = datetime.now(UTC)
    rows = [
        (
            _name(each) if with_kind else unwrap(each.resource).name,
            summarize(unwrap(each.resource)) if _has_known_kind(each) else "-",
            str(each.revision),
            ago(each.update_time, now),
            each.set or "-",
        )
        for each in stored
    ]
    print_table(("NAME", "WHAT", "REVISION", "CHANGED", "SET"), rows, empty="nothing there")


def _name(stored: StoredResource) -> str:
    """`route/chat`; of a kind that is newer than this program not even the name is known."""
    if not _has_known_kind(stored):
        return "(of a newer kind)"
    message = unwrap(stored.resource)
    return f"{kind_of(message).field}/{message.name}"


def _has_known_kind(stored: StoredResource) -> bool:
    return stored.resource.WhichOneof("kind") is not None


def delete(
    kind: KindArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    message: Message = "",
    author: Author = "",
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Delete a resource. What others refer to is not deleted.

    Examples:

      janua delete route chat -m "nobody asks for it"
    """
    asyncio.run(_delete(_kind(kind), name, message, author or default_author(), server, output))


async def _delete(kind: KindInfo, name: str, message: str, author: str, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        try:
            revision = await client.delete(kind.kind, name, author=author, message=message)
        except NotFoundError as error:
            raise _missing(kind, name) from error
        except FailedPreconditionError as error:
            if not error.violations:
                raise
            message = f"{kind.field} {name!r} is in use: change or delete what names it first"
            raise CommandError(message, details=map(str, error.violations)) from error
    if output is OutputFormat.TABLE:
        stdout().print(f"deleted   {kind.field}/{name}\nrevision {revision}")
    else:
        print_data({"revision": revision, "kind": kind.field, "name": name}, output)


def export(
    set_name: Annotated[
        str, typer.Option("--set", envvar="JANUA_SET", metavar="NAME", help="Only what is of this set.")
    ] = "",
    output: Output = OutputFormat.YAML,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Print the whole configuration as one file that apply takes back unchanged.

    Examples:

      janua export > janua.yaml
      janua export --set team-a -o json
    """
    asyncio.run(_export(set_name, output, server))


async def _export(set_name: str, output: OutputFormat, server: str) -> None:
    if output is OutputFormat.TABLE:
        raise usage_error("an export is a file: -o yaml or -o json; `janua get all` prints a table")
    async with connect(server) as client:
        stored, _ = await client.snapshot(set_name=set_name)
    _print_document(stored, output)
