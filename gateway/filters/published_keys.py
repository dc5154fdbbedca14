"""The keys that issuers publish: read by each node, kept while they cannot be, and read again when a token names one
that is not known."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

import msgspec
import structlog
from janua_resources.addresses import parse_url
from yarl import URL

from gateway.config.snapshot import KeySource
from gateway.filters.key_set import BadKeySetError, KeySet, read_key_set
from gateway.transport.errors import TransportError
from gateway.transport.outgoing import Outgoing

_FETCH_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024

_REFRESH_S = 300.0
_FIRST_RETRY_S = 1.0
_MIN_INTERVAL_S = 30.0

_DISCOVERY_PATH = "/.well-known/openid-configuration"

_HEADERS = (("accept", "application/json"), ("user-agent", "janua"))

_log = structlog.get_logger("janua.jwks")

Fetch = Callable[[KeySource], Awaitable[KeySet]]
Clock = Callable[[], float]


class _Metadata(msgspec.Struct):
    """What an issuer says of itself, as far as it matters here."""

    issuer: str
    jwks_uri: str


_metadata = msgspec.json.Decoder(_Metadata)


class NoKeysError(Exception):
    """The keys cannot be read. The text says why."""


class PublishedKeys:
    """The keys of one source. `run` must be running."""

    def __init__(self, source: KeySource, fetch: Fetch, clock: Clock) -> None:
        self.source = source
        self._fetch = fetch
        self._clock = clock
        self._keys: KeySet | None = None
        self._wanted = asyncio.Event()
        self._is_fetching = True  # as it does first of all
        self._fetch_began = -math.inf
        self._fetch_ended = asyncio.Event()

    async def run(self) -> None:
        """Reads the keys now and again, until cancelled."""
        retry_s = _FIRST_RETRY_S
        while True:
            self._wanted.clear()
            if await self._read():
                pause_s, retry_s = _REFRESH_S, _FIRST_RETRY_S
            else:
                pause_s, retry_s = retry_s, min(retry_s * 2, _MIN_INTERVAL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()

    async def find(self, key_id: str, algorithm: str, wait_s: float = _FETCH_TIMEOUT_S) -> KeySet | None:
        """The set that has the key; None if there is none.

        Waits at most so long for keys that are being read. Of a key that is not known the set is read again, however
        many ask, and at most once in thirty seconds. Raises `NoKeysError` while there are no keys at all.
        """
        if self._keys is None and self._is_fetching:
            await self._next_end(wait_s)
        if self._keys is None:
            raise NoKeysError("they have not been read yet")
        if self._has(key_id, algorithm):
            return self._keys
        if self._is_fetching or self._clock() - self._fetch_began >= _MIN_INTERVAL_S:
            self._wanted.set()
            await self._next_end(wait_s)
        return self._keys if self._has(key_id, algorithm) else None

    def _has(self, key_id: str, algorithm: str) -> bool:
        return self._keys is not None and self._keys.find(key_id, algorithm) is not None

    async def _next_end(self, wait_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._fetch_ended.wait()

    async def _read(self) -> bool:
        self._is_fetching = True
        self._fetch_began = self._clock()
        told = self.source.jwks_uri or self.source.issuer
        try:
            self._keys = await self._fetch(self.source)
        except NoKeysError as error:
            has_others = self._keys is not None
            _log.warning("keys of an issuer cannot be read", uri=told, error=str(error), has_others=has_others)
            return False
        except Exception:
            # A fault of our own must not end the reading of all other keys, and the node with it.
            _log.exception("reading the keys of an issuer failed", uri=told)
            return False
        finally:
            self._is_fetching = False
            ended, self._fetch_ended = self._fetch_ended, asyncio.Event()
            ended.set()
        return True


class KeyFetcher:
    """Reads key sets over HTTP, and before them, if it is not known, where they are (OpenID Connect Discovery 1.0
    section 4). The connections are made on the loop that first uses them."""

    def __init__(self, timeout_s: float = _FETCH_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._outgoing = Outgoing()

    async def __call__(self, source: KeySource) -> KeySet:
        """The set of that source. Raises `NoKeysError`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                uri = source.jwks_uri or await self._discover(source)
                return read_key_set(await self._get(uri, source.egress_proxy))
        except TimeoutError:
            raise NoKeysError(f"no answer within {self._timeout_s:g} s") from None
        except (TransportError, BadKeySetError) as error:
            raise NoKeysError(str(error)) from None

    async def _discover(self, source: KeySource) -> str:
        """Where the issuer says that its keys are."""
        address = f"{source.issuer.removesuffix('/')}{_DISCOVERY_PATH}"
        try:
            told = _metadata.decode(await self._get(address, source.egress_proxy))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise NoKeysError(f"{address} does not tell issuer and jwks_uri as JSON") from None
        # Else whoever may write there could speak for others (OpenID Connect Discovery 1.0 section 7.2).
        if told.issuer != source.issuer:
            raise NoKeysError(f"{address} is of another issuer: {told.issuer[:200]!r}")
        if not _may_publish(source.issuer, told.jwks_uri):
            raise NoKeysError(f"{address} tells a jwks_uri that is not https: {told.jwks_uri[:200]!r}")
        return told.jwks_uri

    async def _get(self, address: str, proxy: str) -> bytes:
        response = await self._outgoing.through(proxy).send(
            "GET", URL(address), headers=_HEADERS, body=None, connect_timeout_s=self._timeout_s
        )
        try:
            if response.status != 200:
                raise NoKeysError(f"the answer of {address} has status {response.status}")
            return await response.read_all(_MAX_BYTES)
        finally:
            response.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._outgoing.close()


def _may_publish(issuer: str, uri: str) -> bool:
    """Whether keys may be read there: who can change them on their way can make tokens. Only an issuer on this machine
    has them here."""
    try:
        address = parse_url(uri)
        return address.scheme == "https" or (address.is_loopback and parse_url(issuer).is_loopback)
    except ValueError:
        return False


class KeyDirectory:
    """The published keys of all issuers, by source. What is read outlives a configuration that still names it."""

    def __init__(self, fetcher: KeyFetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._published: dict[KeySource, PublishedKeys] = {}
        self._running: dict[KeySource, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Reads what is named until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for published in self._published.values():
                    self._start(published)
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            await self._fetcher.close()

    def reconcile(self, sources: Collection[KeySource]) -> None:
        """From now on these sources are named, and no others."""
        for gone in self._published.keys() - sources:
            del self._published[gone]
            if (task := self._running.pop(gone, None)) is not None:
                task.cancel()
        for source in sources - self._published.keys():
            self._published[source] = PublishedKeys(source, self._fetcher, self._clock)
            self._start(self._published[source])

    def at(self, source: KeySource) -> PublishedKeys:
        """The keys of a source that is named."""
        return self._published[source]

    def _start(self, published: PublishedKeys) -> None:
        if self._tasks is not None:
            self._running[published.source] = self._tasks.create_task(published.run())
