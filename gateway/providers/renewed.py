"""What is good for a time: fetched when the first request needs it, kept, and fetched anew before it expires."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

import structlog

from gateway.providers.fetching import Fetched, NoCredentialError
from gateway.transport.messages import HttpSender

Clock: TypeAlias = Callable[[], float]

# It is fetched anew in the last part of its life, at most so long before its end. Requests use the old one until
# the new one is there, but not in its last moments, in which it might expire on the way.
_RENEWAL_SHARE = 0.1
_RENEWAL_S = 300.0
_LAST_MOMENTS_S = 10.0
_YOUNG_S = 60.0

# After a failure nobody asks again for a while, which is twice as long after each further one.
_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0

_log = structlog.get_logger("janua.credentials")

T = TypeVar("T")


class Renewed(Generic[T]):
    """However many requests need it, one fetch is under way at most; it goes on when they leave. `fetch` bounds itself
    in time and raises `NoCredentialError`; `clock` is in seconds."""

    def __init__(self, fetch: Callable[[HttpSender], Awaitable[Fetched[T]]], *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: T | None = None
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self._fetched_at = 0.0
        self._failure = ""
        self._failures = 0
        self._retry_at = 0.0

    async def current(self, http: HttpSender) -> T:
        """What is good now. Raises `NoCredentialError`."""
        now = self._clock()
        value = self._value
        if value is not None and now < self._expires_at:
            if now >= self._renew_at and now >= self._retry_at:
                self._begin(http)
            return value
        if self._failure and now < self._retry_at:
            raise NoCredentialError(self._failure)
        # Whoever waits may leave; the others, and those to come, wait on.
        await asyncio.wait({self._begin(http)})
        if self._failure or self._value is None:
            raise NoCredentialError(self._failure or "no credential: the node ends")
        return self._value

    def refused(self) -> None:
        """It may be worth nothing any more; the next request fetches another. A young one is not: it is the account
        that may not do this, or an older one that was refused."""
        if self._clock() - self._fetched_at > _YOUNG_S:
            self._value = None

    def _begin(self, http: HttpSender) -> "asyncio.Task[None]":
        """The fetch that is under way, or a new one."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._renew(http), name="credential")
        return self._fetching

    async def _renew(self, http: HttpSender) -> None:
        try:
            fetched = await self._fetch(http)
        except NoCredentialError as error:
            pause_s = min(_PAUSE_S * 2.0**self._failures, _LONGEST_PAUSE_S)
            self._failures += 1
            self._failure = str(error)
            self._retry_at = self._clock() + pause_s
            _log.warning("credential cannot be used", error=self._failure, retry_s=pause_s)
            return
        now = self._fetched_at = self._clock()
        self._failures, self._failure, self._retry_at = 0, "", now
        self._value = fetched.value
        lifetime_s = fetched.lifetime_s
        self._expires_at = now + max(lifetime_s - _LAST_MOMENTS_S, 0.0)
        self._renew_at = now + lifetime_s - min(lifetime_s * _RENEWAL_SHARE, _RENEWAL_S) - _LAST_MOMENTS_S
