"""A WebSocket server on a real socket, whose handshakes and connections are handled by functions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebSocketBackend:
    """Its address, and the handshakes that it was asked for."""

    def __init__(self) -> None:
        self.address = ""
        self.requests: list[web.Request] = []


@asynccontextmanager
async def websocket_backend(handler: Handler) -> AsyncIterator[WebSocketBackend]:
    """Listens on a free port of the loopback; the handler gets every request, whatever its path."""
    backend = WebSocketBackend()

    async def handle(request: web.Request) -> web.StreamResponse:
        backend.requests.append(request)
        return await handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    backend.address = f"{host}:{port}"
    try:
        yield backend
    finally:
        await runner.cleanup()
