"""What Granian cannot be brought to do from outside; all else of it is in tests/conformance/test_on_granian.py."""

import asyncio
import socket
from typing import Any

import pytest

from gateway.listeners.granian import EmbeddedServer, serve_granian


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never asked."""


async def test_server_that_ends_by_itself_has_not_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(server: EmbeddedServer) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(EmbeddedServer, "serve", end)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(RuntimeError, match="ended by itself"):
        await serve_granian(app, listener, asyncio.Event(), 1.0)
