"""The store that the nodes of a fleet share (Redis or Valkey): bytes with a time to live, and scripts that run there as
one step. redis-py is imported when a store is made."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import structlog

_TIMEOUT_S: Final = 1.0
# After a failure nothing is sent for so long, so that requests do not wait for the time limit one by one.
_PAUSE_S: Final = 0.5
_MAX_CONNECTIONS: Final = 64
_SCANNED: Final = 1000  # keys that are looked at in one step, during which the store does nothing else

_log = structlog.get_logger("janua.shared_store")


class StoreUnavailableError(Exception):
    """The store did not answer, or not in time. Whether it did what was asked is not known."""


class StoreSettingError(Exception):
    """The store that was named cannot be used at all: the address is wrong, or redis-py is not installed."""


@dataclass(frozen=True, slots=True)
class Script:
    """A program in Lua, run as one step. `digest` is what the store knows it by."""

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> "Script":
        """The script with its digest."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class SharedStore:
    """A client of the store. It connects when it is used, again after a failure, and says so once each.

    `url` is `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, `rediss://` with TLS, or `unix://PATH`. `on_failure` is
    called with the name of each operation that failed, those that were not sent included.
    """

    def __init__(
        self, url: str, *, on_failure: Callable[[str], None] = lambda _: None, timeout_s: float = _TIMEOUT_S
    ) -> None:
        try:
            import redis.asyncio as redis
        except ModuleNotFoundError:
            raise StoreSettingError("a shared store needs redis-py: pip install 'janua[redis]'") from None
        from redis.backoff import NoBackoff
        from redis.exceptions import NoScriptError, RedisError
        from redis.retry import Retry

        self._no_script: type[Exception] = NoScriptError
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
        try:
            pool = redis.BlockingConnectionPool.from_url(
                url,
                max_connections=_MAX_CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                # Who asks knows whether to ask again. The pool looks whether an idle connection is closed by itself.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise StoreSettingError(f"{_without_password(url)} is not the address of a store: {error}") from None
        self._client = redis.Redis.from_pool(pool)
        self._name = _without_password(url)
        self._on_failure = on_failure
        self._timeout_s = timeout_s
        self._is_up = True
        self._paused_until = 0.0

    def __repr__(self) -> str:
        return f"SharedStore({self._name}, {'up' if self._is_up else 'down'})"

    async def get(self, key: bytes) -> bytes | None:
        """What is kept there. Raises `StoreUnavailableError`, like all others."""
        found = await self._do("get", lambda: self._client.get(key))
        return None if found is None else bytes(found)

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keeps something for so long."""
        await self._do("set", lambda: self._client.set(key, value, px=max(1, round(ttl_s * 1000))))

    async def delete(self, key: bytes) -> None:
        """Keeps nothing there any more."""
        await self._do("delete", lambda: self._client.delete(key))

    async def delete_matching(self, pattern: bytes) -> int:
        """Keeps nothing any more under keys that match, with `*` for anything. How many there were."""
        deleted, cursor = 0, 0
        while True:
            cursor, keys = await self._do("scan", partial(self._client.scan, cursor, match=pattern, count=_SCANNED))
            if keys:
                deleted += await self._do("delete", partial(self._client.unlink, *keys))
            if cursor == 0:
                return deleted

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | int | float]) -> Any:
        """What a script answers: integers, bytes, None and lists of them."""

        async def run() -> Any:
            try:
                return await self._client.evalsha(script.digest, len(keys), *keys, *arguments)
            except self._no_script:
                return await self._client.eval(script.text, len(keys), *keys, *arguments)

        return await self._do("run", run)

    async def close(self) -> None:
        """Ends all connections."""
        await self._client.aclose()

    async def _do(self, operation: str, ask: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        if loop.time() < self._paused_until:
            self._on_failure(operation)
            raise StoreUnavailableError("the shared store has just failed")
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await ask()
        except self._failures as error:
            self._failed(error, loop.time())
            self._on_failure(operation)
            raise StoreUnavailableError(f"the shared store does not answer: {error}") from error
        if not self._is_up:
            self._is_up = True
            _log.info("shared store is back", store=self._name)
        return answer

    def _failed(self, error: Exception, now: float) -> None:
        self._paused_until = now + _PAUSE_S
        if self._is_up:
            self._is_up = False
            _log.error("shared store does not answer", store=self._name, error=str(error) or type(error).__name__)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
