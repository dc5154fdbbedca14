"""Looks host names up again and again, so that every address that is found can be an endpoint."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import structlog

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_RETRY_S = 1.0
_JITTER = 0.1

_log = structlog.get_logger("janua.upstream")


def is_host_name(host: str) -> bool:
    """Whether it is a name, as opposed to an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """The IP addresses of a name, by the system's resolver. Raises OSError.

    IPv6 addresses are left out where this machine has none itself, and IPv4 ones likewise: they could not be reached.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


class NameResolver:
    """Keeps the addresses of one name up to date. `on_addresses` is called with them, in order, when they change.

    A lookup that fails changes nothing: what was found last is better than nothing.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        refresh_s: float,
        on_addresses: Callable[[tuple[str, ...]], None],
        random: Random,
        resolve: Resolve = resolve_host,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._host = host
        self._port = port
        self._refresh_s = refresh_s
        self._on_addresses = on_addresses
        self._random = random
        self._resolve = resolve
        self._sleep = sleep
        self._addresses: tuple[str, ...] = ()
        self._is_failing = False

    async def run(self) -> None:
        """Looks up at once, then at the interval, until cancelled; sooner after a failure."""
        while True:
            wait_s = self._refresh_s if await self._look_up() else min(_RETRY_S, self._refresh_s)
            await self._sleep(wait_s * (1 + self._random.uniform(0, _JITTER)))

    async def _look_up(self) -> bool:
        try:
            addresses = tuple(sorted(set(await self._resolve(self._host, self._port))))
        except OSError as error:
            return self._failed(error.strerror or str(error))
        if not addresses:
            return self._failed("no address")
        self._is_failing = False
        if addresses != self._addresses:
            self._addresses = addresses
            self._on_addresses(addresses)
        return True

    def _failed(self, reason: str) -> bool:
        """Says so once, not with every try."""
        if not self._is_failing:
            self._is_failing = True
            _log.warning("host name not resolved, going on with what is known", host=self._host, reason=reason)
        return False
