"""The command `keys`: API keys of consumers, made, listed and taken away. A key is shown once, when it is made."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.resource_pb2 import KIND_CONSUMER
from janua_resources import documents
from janua_resources.kinds import unwrap

from janua_client.api_keys import NewKey, UnknownKeyError, add_key, after, make_key, remove_key
from janua_client.cli.ages import left, rfc3339
from janua_client.cli.failures import CommandError, usage_error
from janua_client.cli.options import DEFAULT_SERVER, Output, Server
from janua_client.cli.output import Json, OutputFormat, print_data, print_table, stderr
from janua_client.cli.push import author
from janua_client.cli.server import connect
from janua_client.errors import NotFoundError

_SHOWN_DIGITS = 12
_MIN_DIGITS = 6
_DIGITS = re.compile(rf"[0-9a-f]{{{_MIN_DIGITS},64}}")
_LIFETIME = re.compile(r"([0-9]{1,5})([dhm])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}

ConsumerArgument = Annotated[str, typer.Argument(metavar="CONSUMER", help="Name of the consumer.")]


def keys() -> None:
    """Make, list and revoke the API keys of consumers.

    Only digests are kept anywhere: a key is shown once, when it is made. A file that
    is applied again puts its own keys in place of these: keep the entries there too.

    Examples:

      janua keys create alice --label laptop --expires 90d
      janua keys create alice --others-expire 24h
      janua keys list alice
      janua keys revoke alice 3f786850e387
    """


def create(
    consumer: ConsumerArgument,
    label: Annotated[
        str, typer.Option("--label", envvar="JANUA_KEY_LABEL", metavar="TEXT", help="Where the key is used.")
    ] = "",
    expires: Annotated[
        str,
        typer.Option(
            "--expires", envvar="JANUA_KEY_EXPIRES", metavar="90d", help="How long the key is good. Default: for ever."
        ),
    ] = "",
    others_expire: Annotated[
        str,
        typer.Option(
            "--others-expire",
            envvar="JANUA_KEY_OTHERS_EXPIRE",
            metavar="24h",
            help="How long the consumer's other keys are good still, to rotate with an overlap.",
        ),
    ] = "",
    new: Annotated[
        bool, typer.Option("--new", envvar="JANUA_KEY_NEW", help="Make the consumer too if there is none.")
    ] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", envvar="JANUA_KEY_OFFLINE", help="Ask no server: print the consumer for a file of your own."
        ),
    ] = False,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Make a key of 256 random bits, and show it once.

    The key alone goes to stdout, what is to be said of it to stderr.

    Examples:

      janua keys create alice --label laptop --expires 90d
      KEY=$(janua keys create ci --new)
      janua keys create alice --offline
    """
    now = datetime.now(UTC)
    key = make_key(label=label, expires=_moment("--expires", expires, now))
    overlap = _moment("--others-expire", others_expire, now)
    if offline:
        if overlap is not None:
            raise usage_error("--others-expire changes what is on the server, which --offline does not ask")
        revision = None
    else:
        revision = asyncio.run(_create(consumer, key.entry, server, is_new=new, others_expire=overlap))
    if output is OutputFormat.TABLE:
        _show(consumer, key, revision)
    else:
        print_data({"key": key.value, **_described(consumer, key.entry), "revision": revision}, output)


async def _create(consumer: str, key: ApiKey, server: str, *, is_new: bool, others_expire: datetime | None) -> int:
    async with connect(server) as client:
        try:
            return await add_key(client, consumer, key, author=author(), is_new=is_new, others_expire=others_expire)
        except NotFoundError as error:
            text = f"there is no consumer {consumer!r}: `janua get consumers` lists those there are; --new makes it"
            raise CommandError(text) from error


def _show(consumer: str, key: NewKey, revision: int | None) -> None:
    remarks = stderr()
    remarks.print("this is shown once; only its digest is kept:")
    print(key.value, flush=True)
    if revision is None:
        remarks.print(f"for a file:\n{documents.dump([Consumer(name=consumer, api_keys=[key.entry])], 'yaml')}", end="")
        return
    until = f", good until {rfc3339(key.entry.expires)}" if key.entry.HasField("expires") else ""
    remarks.print(f"digest {key.entry.key_sha256[:_SHOWN_DIGITS]}…{until}, revision {revision}")


def list_(
    consumer: Annotated[str | None, typer.Argument(metavar="[CONSUMER]", help="Only those of this consumer.")] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List keys by the beginnings of their digests.

    Examples:

      janua keys list
      janua keys list alice -o json
    """
    asyncio.run(_list(consumer, server, output))


async def _list(name: str | None, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        if name is None:
            stored, _ = await client.snapshot(KIND_CONSUMER)
        else:
            try:
                stored = (await client.get(KIND_CONSUMER, name),)
            except NotFoundError as error:
                raise _no_consumer(name) from error
    found = [
        (consumer.name, key)
        for consumer in (unwrap(each.resource) for each in stored)
        if isinstance(consumer, Consumer)
        for key in consumer.api_keys
    ]
    if output is not OutputFormat.TABLE:
        print_data([_described(consumer, key) for consumer, key in found], output)
        return
    now = datetime.now(UTC)
    rows = [
        (consumer, f"{key.key_sha256[:_SHOWN_DIGITS]}…", key.label or "-", _expiry(key, now)) for consumer, key in found
    ]
    print_table(("CONSUMER", "DIGEST", "LABEL", "EXPIRES"), rows, empty="no keys there")


def revoke(
    consumer: ConsumerArgument,
    digest: Annotated[
        str, typer.Argument(metavar="DIGEST", help=f"Its digest, or at least the first {_MIN_DIGITS} digits of it.")
    ],
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Take a key away: every node refuses it as soon as it has the revision.

    Examples:

      janua keys list alice
      janua keys revoke alice 3f786850e387
    """
    if _DIGITS.fullmatch(digest) is None:
        # It may be the key itself: it is not repeated.
        raise usage_error(f"DIGEST is at least {_MIN_DIGITS} hexadecimal digits, as `janua keys list` shows them")
    asyncio.run(_revoke(consumer, digest, server, output))


async def _revoke(consumer: str, digest: str, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        try:
            removed, revision = await remove_key(client, consumer, digest, author=author())
        except NotFoundError as error:
            raise _no_consumer(consumer) from error
        except UnknownKeyError as error:
            shown = ", ".join(f"{each[:_SHOWN_DIGITS]}…" for each in error.digests) or "none"
            message = f"not one key of {consumer!r} has a digest that begins so; it has: {shown}"
            raise CommandError(message) from error
    if output is OutputFormat.TABLE:
        print(f"revoked  {removed[:_SHOWN_DIGITS]}… of consumer/{consumer}\nrevision {revision}")
    else:
        print_data({"consumer": consumer, "key_sha256": removed, "revision": revision}, output)


def _no_consumer(name: str) -> CommandError:
    return CommandError(f"there is no consumer {name!r}: `janua get consumers` lists those there are")


def _described(consumer: str, key: ApiKey) -> dict[str, Json]:
    expires = rfc3339(key.expires) if key.HasField("expires") else None
    return {"consumer": consumer, "key_sha256": key.key_sha256, "label": key.label, "expires": expires}


def _expiry(key: ApiKey, now: datetime) -> str:
    if not key.HasField("expires"):
        return "never"
    return "expired" if key.expires.ToDatetime(UTC) <= now else left(key.expires, now)


def _moment(option: str, text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    found = _LIFETIME.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise usage_error(f"{option}: {text!r} is not a time such as 90d, 12h or 30m")
    return after(now, int(found[1]) * _UNITS[found[2]])
