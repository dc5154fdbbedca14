"""The floor under every gateway of this kind: a bare ASGI app that forwards with aiohttp and does nothing else.
Usage: `python -m tests.benchmarks.relay_floor UPSTREAM hypercorn|granian`, with UPSTREAM as `host:port`."""

import json
import socket
import sys
from collections.abc import Mapping
from typing import Any

import aiohttp
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from yarl import URL

from gateway.listeners.granian import EmbeddedServer

_NOT_FORWARDED = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"keep-alive"})


class Relay:
    """Forwards each request's body to the upstream, and each piece of the answer as it comes."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._urls: dict[str, URL] = {}
        self._session = session

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._forward(scope, receive, send)

    async def _forward(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name not in _NOT_FORWARDED}
        url = self._urls.setdefault(scope["path"], URL(f"http://{self._upstream}{scope['path']}", encoded=True))
        body = await _read(receive)
        async with self._session.request(
            scope["method"], url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer.headers)})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


def _headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Answer headers for ASGI. `content-length` stays, so that the answer keeps its form."""
    return [
        (name.lower().encode(), value.encode())
        for name, value in headers.items()
        if name.lower() == "content-length" or name.lower().encode() not in _NOT_FORWARDED
    ]


async def main(upstream: str, server: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    sys.stdout.write(json.dumps({"event": "ready", "component": "relay", "http": address}) + "\n")
    sys.stdout.flush()
    connector, cookies = aiohttp.TCPConnector(limit=0), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=cookies, auto_decompress=False) as session:
        relay = Relay(upstream, session)
        if server == "granian":
            await EmbeddedServer(relay, listening).serve()
        else:
            config = Config()
            config.bind = [f"fd://{listening.fileno()}"]
            config.accesslog = config.errorlog = None
            await serve(relay, config)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
