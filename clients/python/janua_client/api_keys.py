"""API keys of consumers in files: made here, or taken out of the consumer that the config server has.

Keys that the server itself makes and keeps are those of `ConfigClient.create_key`.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from janua.config.v1.consumer_pb2 import ApiKey
from janua.config.v1.resource_pb2 import KIND_CONSUMER

from janua_client.changes import upsert
from janua_client.config_client import ConfigClient
from janua_client.errors import AbortedError, AlreadyExistsError

_PREFIX = "jk-"
_ENTROPY_BYTES = 32
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that nobody else knows, and how the configuration knows it."""

    value: str
    entry: ApiKey


def make_key(*, label: str = "", expires: datetime | None = None) -> NewKey:
    """A random key of 256 bits."""
    value = _PREFIX + secrets.token_urlsafe(_ENTROPY_BYTES)
    entry = ApiKey(key_sha256=sha256(value.encode()).hexdigest(), label=label)
    if expires is not None:
        entry.expires.FromDatetime(expires)
    return NewKey(value, entry)


async def remove_key(client: ConfigClient, consumer: str, key_sha256: str, *, author: str) -> int:
    """Takes a key out of the consumer that it stands in, and returns the revision.

    Made again if others change the consumer meanwhile. Raises `NotFoundError`, and `AbortedError` if they do so faster
    than this can.
    """
    for attempt in range(_ATTEMPTS):
        stored = await client.get(KIND_CONSUMER, consumer)
        changed = stored.resource.consumer
        kept = [each for each in changed.api_keys if each.key_sha256 != key_sha256]
        del changed.api_keys[:]
        changed.api_keys.extend(kept)
        try:
            return (await client.apply([upsert(changed, etag=stored.etag)], author=author)).revision
        except (AbortedError, AlreadyExistsError):
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def after(now: datetime, length: timedelta) -> datetime:
    """So long after now, in whole seconds."""
    return (now + length).replace(microsecond=0)
