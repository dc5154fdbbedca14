"""Credentials that are fetched from who gives them: what may pass is tried again, within a bound of time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from yarl import URL

from gateway.transport.errors import TransportError
from gateway.transport.messages import Headers, HttpSender

_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_ATTEMPTS = 3
_PAUSES_S = (0.1, 0.5)
_MAX_BYTES = 64 * 1024

T = TypeVar("T")


class NoCredentialError(Exception):
    """There is no credential to be had. The text shows nothing confidential."""


class WorthAnotherTryError(Exception):
    """A failure that may pass."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """Something, and for how many seconds from now it is good."""

    value: T
    lifetime_s: float


async def fetch(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt brings. Raises `NoCredentialError`, which says that there is not `what`, and why."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            for number in range(_ATTEMPTS):
                try:
                    return await attempt()
                except WorthAnotherTryError as error:
                    reason = str(error)
                if number < len(_PAUSES_S):
                    await asyncio.sleep(_PAUSES_S[number])
    except TimeoutError:
        reason = f"no answer within {_TIMEOUT_S:g} s"
    except NoCredentialError as error:
        reason = str(error)
    raise NoCredentialError(f"no {what}: {reason}")


async def exchange(
    http: HttpSender, method: str, url: URL, headers: Headers, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer. Raises `WorthAnotherTryError` where there is none, or one for another time."""
    try:
        response = await http.send(method, url, headers=headers, body=body, connect_timeout_s=_CONNECT_TIMEOUT_S)
        try:
            status, data = response.status, await response.read_all(_MAX_BYTES)
        finally:
            response.close()
    except TransportError as error:
        raise WorthAnotherTryError(str(error)) from None
    if status == 429 or status >= 500:
        raise WorthAnotherTryError(f"status {status}")
    return status, data
