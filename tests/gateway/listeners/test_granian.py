"""What Granian cannot be brought to do from outside; all else of it is in tests/conformance/test_on_granian.py."""

import asyncio
import socket
from typing import Any

import pytest

from gateway.listeners import granian
from gateway.listeners.granian import EmbeddedServer, serve_granian

EMPTY_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never asked."""


async def test_server_that_ends_by_itself_has_not_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(server: EmbeddedServer) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(EmbeddedServer, "serve", end)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(RuntimeError, match="ended by itself"):
        await serve_granian(app, listener, asyncio.Event(), 1.0)


async def test_http2_client_that_answers_no_ping_does_not_hold_a_drain_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granian, "_END_S", 0.1)
    drain = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        serving = asyncio.create_task(serve_granian(app, listener, drain, 600.0))
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS)
        await reader.readexactly(9)
        drain.set()
        await serving
        writer.close()
