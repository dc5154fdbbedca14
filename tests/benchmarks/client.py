"""One request to what is measured, and what it means when a run cannot be trusted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.benchmarks.fault_endpoint import MODEL

_GIVE_UP_S = 10.0


class VoidRunError(Exception):
    """Something other than what is measured went wrong, so the figures mean nothing."""


class Client:
    """Asks for chat completions over connections that are kept."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, address: str, *, model: str = MODEL, give_up_s: float = _GIVE_UP_S) -> str | None:
        """None for a whole answer with status 200, else what was wrong."""
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        url, timeout = f"http://{address}/v1/chat/completions", aiohttp.ClientTimeout(total=give_up_s)
        try:
            async with self._session.post(url, json=body, timeout=timeout) as response:
                data = await response.read()
                return None if response.status == 200 else f"status {response.status}: {data[:200]!r}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"


@asynccontextmanager
async def open_client() -> AsyncIterator[Client]:
    """Closes its connections in the end. One that was unused for a second is not used again, for a server may be about
    to close it."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1.0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(session)
