"""API keys of consumers: made here, known to the config server by their digests alone.

Each change is one of a single consumer, made only if nobody else has changed that consumer in between, else made again.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.resource_pb2 import KIND_CONSUMER

from janua_client.changes import upsert
from janua_client.config_client import ConfigClient
from janua_client.errors import AbortedError, AlreadyExistsError, NotFoundError

_PREFIX = "jk-"
_ENTROPY_BYTES = 32
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that nobody else knows, and how the configuration knows it."""

    value: str
    entry: ApiKey


class UnknownKeyError(Exception):
    """No key of the consumer begins with these digits, or several do; `digests` are all that it has."""

    def __init__(self, digests: tuple[str, ...]) -> None:
        super().__init__("no single key of the consumer has this digest")
        self.digests = digests


def make_key(*, label: str = "", expires: datetime | None = None) -> NewKey:
    """A random key of 256 bits."""
    value = _PREFIX + secrets.token_urlsafe(_ENTROPY_BYTES)
    entry = ApiKey(key_sha256=sha256(value.encode()).hexdigest(), label=label)
    if expires is not None:
        entry.expires.FromDatetime(expires)
    return NewKey(value, entry)


async def add_key(
    client: ConfigClient,
    consumer: str,
    key: ApiKey,
    *,
    author: str,
    is_new: bool = False,
    others_expire: datetime | None = None,
) -> int:
    """Gives the consumer a key and returns the revision. With `is_new` the consumer is made too if there is none.

    With `others_expire`, all keys that it has already are good until then at most. Raises `NotFoundError`,
    `AbortedError` if others change the consumer faster than this can.
    """

    def add(found: Consumer) -> None:
        for other in found.api_keys:
            if others_expire is not None and not _expires_by(other, others_expire):
                other.expires.FromDatetime(others_expire)
        found.api_keys.append(key)

    return await _change(client, consumer, add, author=author, is_new=is_new)


async def remove_key(client: ConfigClient, consumer: str, digest: str, *, author: str) -> tuple[str, int]:
    """Takes away the key whose digest begins so; returns the whole digest and the revision.

    Raises `UnknownKeyError`, and otherwise as `add_key` does.
    """
    removed = ""

    def remove(found: Consumer) -> None:
        nonlocal removed
        matching = [each for each in found.api_keys if each.key_sha256.startswith(digest)]
        if len(matching) != 1:
            raise UnknownKeyError(tuple(each.key_sha256 for each in found.api_keys))
        removed = matching[0].key_sha256
        found.api_keys.remove(matching[0])

    revision = await _change(client, consumer, remove, author=author)
    return removed, revision


async def _change(
    client: ConfigClient, name: str, change: Callable[[Consumer], None], *, author: str, is_new: bool = False
) -> int:
    for attempt in range(_ATTEMPTS):
        try:
            stored = await client.get(KIND_CONSUMER, name)
        except NotFoundError:
            if not is_new:
                raise
            consumer, etag = Consumer(name=name), ""
        else:
            consumer, etag = stored.resource.consumer, stored.etag
        change(consumer)
        try:
            changes = [upsert(consumer, etag=etag, must_not_exist=not etag)]
            return (await client.apply(changes, author=author)).revision
        except (AbortedError, AlreadyExistsError):
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _expires_by(key: ApiKey, moment: datetime) -> bool:
    return key.HasField("expires") and key.expires.ToDatetime(moment.tzinfo) <= moment


def after(now: datetime, length: timedelta) -> datetime:
    """So long after now, in whole seconds."""
    return (now + length).replace(microsecond=0)
