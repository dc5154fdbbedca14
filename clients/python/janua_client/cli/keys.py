"""The command `keys`: API keys of consumers, made, listed and taken away. A key is shown once, when it is made."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

import typer
from janua.config.v1.config_service_pb2 import ApiKeyRecord, CreateApiKeyRequest, CreateApiKeyResponse
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.resource_pb2 import KIND_CONSUMER
from janua_resources import documents

from janua_client.api_keys import NewKey, after, make_key, remove_key
from janua_client.changes import upsert
from janua_client.cli.ages import ago, left, rfc3339
from janua_client.cli.failures import CommandError, usage_error
from janua_client.cli.options import DEFAULT_SERVER, Message, Output, Server
from janua_client.cli.output import Json, OutputFormat, print_data, print_table, stderr, warn
from janua_client.cli.push import author
from janua_client.cli.server import connect
from janua_client.config_client import ConfigClient
from janua_client.errors import AlreadyExistsError, NotFoundError

_SHOWN_DIGITS = 12
_MIN_DIGITS = 6
_DIGITS = re.compile(rf"[0-9a-f]{{{_MIN_DIGITS},64}}")
_LIFETIME = re.compile(r"([0-9]{1,5})([dhm])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}

ConsumerArgument = Annotated[str, typer.Argument(metavar="CONSUMER", help="Name of the consumer.")]


def keys() -> None:
    """Make, list and revoke the API keys of consumers.

    Only digests are kept anywhere: a key is shown once, when it is made. The config
    server keeps them beside the consumer, untouched by files that are applied and by
    rollbacks; with the consumer they are revoked too.

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
    message: Message = "",
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
    until = _moment("--expires", expires, now)
    overlap = _moment("--others-expire", others_expire, now)
    if offline:
        if overlap is not None:
            raise usage_error("--others-expire changes what is on the server, which --offline does not ask")
        _create_offline(consumer, make_key(label=label, expires=until), output)
        return
    request = CreateApiKeyRequest(consumer=consumer, label=label, author=author(), message=message)
    if until is not None:
        request.expires.FromDatetime(until)
    if overlap is not None:
        request.others_expire.FromDatetime(overlap)
    made = asyncio.run(_create(request, server, is_new=new))
    if output is OutputFormat.TABLE:
        _show(made)
    else:
        print_data({"key": made.key, **_described(_Listed.of(made.record)), "revision": made.revision}, output)


async def _create(request: CreateApiKeyRequest, server: str, *, is_new: bool) -> CreateApiKeyResponse:
    async with connect(server) as client:
        if is_new:
            with suppress(AlreadyExistsError):
                consumer = upsert(Consumer(name=request.consumer), must_not_exist=True)
                await client.apply([consumer], author=author())
        try:
            return await client.create_key(request)
        except NotFoundError as error:
            name = request.consumer
            text = f"there is no consumer {name!r}: `janua get consumers` lists those there are; --new makes it"
            raise CommandError(text) from error


def _show(made: CreateApiKeyResponse) -> None:
    remarks = stderr()
    remarks.print("this is shown once; only its digest is kept:")
    print(made.key, flush=True)
    until = f", good until {rfc3339(made.record.expires)}" if made.record.HasField("expires") else ""
    remarks.print(f"digest {made.record.id[:_SHOWN_DIGITS]}…{until}, revision {made.revision}")


def _create_offline(consumer: str, key: NewKey, output: OutputFormat) -> None:
    if output is not OutputFormat.TABLE:
        listed = _Listed(consumer=consumer, key=key.entry, record=None)
        print_data({"key": key.value, **_described(listed), "revision": None}, output)
        return
    stderr().print("this is shown once; only its digest is kept:")
    print(key.value, flush=True)
    document = documents.dump([Consumer(name=consumer, api_keys=[key.entry])], "yaml")
    stderr().print(f"for a file:\n{document}", end="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A key: one that the server has made and keeps, or one that stands in a consumer (`record` is None)."""

    consumer: str
    key: ApiKey
    record: ApiKeyRecord | None

    @classmethod
    def of(cls, record: ApiKeyRecord) -> Self:
        key = ApiKey(key_sha256=record.key_sha256, label=record.label)
        if record.HasField("expires"):
            key.expires.CopyFrom(record.expires)
        return cls(consumer=record.consumer, key=key, record=record)


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
        found = await _keys(client, name)
    if output is not OutputFormat.TABLE:
        print_data([_described(each) for each in found], output)
        return
    now = datetime.now(UTC)
    rows = [
        (
            each.consumer,
            f"{each.key.key_sha256[:_SHOWN_DIGITS]}…",
            each.key.label or "-",
            _expiry(each.key, now),
            "consumer" if each.record is None else f"made {ago(each.record.create_time, now)}",
        )
        for each in found
    ]
    print_table(("CONSUMER", "DIGEST", "LABEL", "EXPIRES", "FROM"), rows, empty="no keys there")


async def _keys(client: ConfigClient, name: str | None) -> Sequence[_Listed]:
    """All keys by consumer: first those that stand in it, then those that the server has made."""
    if name is None:
        stored, _ = await client.snapshot(KIND_CONSUMER)
    else:
        try:
            stored = (await client.get(KIND_CONSUMER, name),)
        except NotFoundError as error:
            raise _no_consumer(name) from error
    made = await client.keys(name or "")
    return [
        listed
        for each in stored
        for listed in (
            *(
                _Listed(consumer=each.resource.consumer.name, key=key, record=None)
                for key in each.resource.consumer.api_keys
            ),
            *(_Listed.of(record) for record in made if record.consumer == each.resource.consumer.name),
        )
    ]


def revoke(
    consumer: ConsumerArgument,
    digest: Annotated[
        str, typer.Argument(metavar="DIGEST", help=f"Its digest, or at least the first {_MIN_DIGITS} digits of it.")
    ],
    message: Message = "",
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
    asyncio.run(_revoke(consumer, digest, message, server, output))


async def _revoke(consumer: str, digest: str, message: str, server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        found = await _keys(client, consumer)
        matching = [each for each in found if each.key.key_sha256.startswith(digest)]
        if len(matching) != 1:
            shown = ", ".join(f"{each.key.key_sha256[:_SHOWN_DIGITS]}…" for each in found) or "none"
            text = f"not one key of {consumer!r} has a digest that begins so; it has: {shown}"
            raise CommandError(text)
        removed = matching[0].key.key_sha256
        if matching[0].record is None:
            revision = await remove_key(client, consumer, removed, author=author())
            warn("it stands in a file: a file that is applied again, or a rollback, brings it back")
        else:
            revision = (await client.revoke_key(matching[0].record.id, author=author(), message=message)).revision
    if output is OutputFormat.TABLE:
        print(f"revoked  {removed[:_SHOWN_DIGITS]}… of consumer/{consumer}\nrevision {revision}")
    else:
        print_data({"consumer": consumer, "key_sha256": removed, "revision": revision}, output)


def _no_consumer(name: str) -> CommandError:
    return CommandError(f"there is no consumer {name!r}: `janua get consumers` lists those there are")


def _described(listed: _Listed) -> dict[str, Json]:
    key = listed.key
    expires = rfc3339(key.expires) if key.HasField("expires") else None
    return {
        "consumer": listed.consumer,
        "key_sha256": key.key_sha256,
        "label": key.label,
        "expires": expires,
        "made_by_server": listed.record is not None,
    }


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
