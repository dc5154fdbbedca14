"""Connections that nobody uses are closed after a while; those in use are not watched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from quart import Quart

from gateway.listeners import hypercorn, idle_watch
from tests.support.polling import eventually

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that answers."""
    app = Quart(__name__)

    @app.get("/")
    async def answer() -> str:
        return "well"

    listener, drain = hypercorn.bind("127.0.0.1", 0), asyncio.Event()
    address = listener.getsockname()
    serving = asyncio.create_task(hypercorn.serve_http(app, listener, drain, 5.0))
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        drain.set()
        await serving


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REQUEST)
    assert (await reader.readuntil(b"well")).startswith(b"HTTP/1.1 200")


def watches() -> int:
    """How many connections are watched."""
    return sum("_idle_timeout" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def is_watched() -> bool:
    return watches() == 1


async def is_let_go() -> bool:
    return watches() == 0


async def test_connection_that_is_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_watch, "_GRACE_S", 0.0)
    monkeypatch.setattr(hypercorn, "_KEEP_ALIVE_S", 0.1)
    async with connected() as (reader, writer):
        await ask(reader, writer)
        assert await reader.read() == b""


async def test_watch_ends_with_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_watch, "_GRACE_S", 0.0)
    async with connected() as (reader, writer):
        for _ in range(3):
            await ask(reader, writer)
            await eventually(is_watched)


async def test_connection_in_use_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_watch, "_GRACE_S", 60.0)
    async with connected() as (reader, writer):
        for _ in range(3):
            await ask(reader, writer)
            assert await is_let_go()


async def test_client_that_leaves_takes_its_connection_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypercorn's own watch would keep it for as long as an idle one."""
    monkeypatch.setattr(idle_watch, "_GRACE_S", 0.0)
    async with connected() as (reader, writer):
        await ask(reader, writer)
        await eventually(is_watched)
        writer.close()
        await eventually(is_let_go)
