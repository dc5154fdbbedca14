"""Access tokens: fetched when the first request needs one, kept, and fetched anew before they expire."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import structlog
from yarl import URL

from gateway.config.credential import TokenGrant
from gateway.providers.token_fetch import FetchedToken, TokenError, fetch_token
from gateway.transport.messages import Body, Headers, HttpSender

Clock: TypeAlias = Callable[[], float]

# A token is fetched anew in the last part of its life, at most so long before its end. Requests use the old one until
# the new one is there, but not in its last moments, in which it might expire on the way.
_RENEWAL_SHARE = 0.1
_RENEWAL_S = 300.0
_LAST_MOMENTS_S = 10.0
_YOUNG_S = 60.0

# After a failure nobody asks again for a while, which is twice as long after each further one.
_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0

_log = structlog.get_logger("janua.credentials")


class AccessToken:
    """Sends `authorization: Bearer TOKEN`. However many requests need a token, one fetch is under way at most; it goes
    on when they leave."""

    def __init__(self, grant: TokenGrant, *, clock: Clock, wall_clock: Clock) -> None:
        self._grant = grant
        self._clock = clock
        self._wall_clock = wall_clock
        self._token: FetchedToken | None = None
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._fetch: asyncio.Task[None] | None = None
        self._fetched_at = 0.0
        self._failure = ""
        self._failures = 0
        self._retry_at = 0.0

    async def authorize(
        self, method: str, url: URL, headers: Headers, body: Body, http: HttpSender
    ) -> tuple[URL, Headers]:
        """See `Credential`."""
        token = await self._current(http)
        return url, [*headers, ("authorization", f"Bearer {token.value.reveal()}")]

    def refused(self) -> None:
        """The token may be worth nothing any more; the next request fetches another. A young one is not: it is the
        account that may not do this, or an older token that was refused."""
        if self._clock() - self._fetched_at > _YOUNG_S:
            self._token = None

    async def _current(self, http: HttpSender) -> FetchedToken:
        now = self._clock()
        token = self._token
        if token is not None and now < self._expires_at:
            if now >= self._renew_at and now >= self._retry_at:
                self._begin(http)
            return token
        if self._failure and now < self._retry_at:
            raise TokenError(self._failure)
        # Whoever waits may leave; the others, and those to come, wait on.
        await asyncio.wait({self._begin(http)})
        if self._token is None:
            raise TokenError(self._failure or "no access token: the node ends")
        return self._token

    def _begin(self, http: HttpSender) -> "asyncio.Task[None]":
        """The fetch that is under way, or a new one. It bounds itself in time."""
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._renew(http), name="access token")
        return self._fetch

    async def _renew(self, http: HttpSender) -> None:
        try:
            token = await fetch_token(self._grant, http, self._wall_clock())
        except TokenError as error:
            pause_s = min(_PAUSE_S * 2.0**self._failures, _LONGEST_PAUSE_S)
            self._failures += 1
            self._failure = str(error)
            self._retry_at = self._clock() + pause_s
            _log.warning("credential cannot be used", error=self._failure, retry_s=pause_s)
            return
        now = self._fetched_at = self._clock()
        self._failures, self._failure, self._retry_at = 0, "", now
        self._token = token
        self._expires_at = now + max(token.lifetime_s - _LAST_MOMENTS_S, 0.0)
        self._renew_at = now + token.lifetime_s - min(token.lifetime_s * _RENEWAL_SHARE, _RENEWAL_S) - _LAST_MOMENTS_S
