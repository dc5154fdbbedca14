"""WebSockets to a real server, and to sockets that only pretend to be one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from gateway.transport.http import (
    AnswerTooLargeError,
    ConnectError,
    ConnectionBrokenError,
    HttpTransport,
    TransportError,
)
from gateway.transport.websocket import WebSocketClose, WebSocketConnection, WebSocketRefusedError
from tests.conformance.unanswering import unanswering_address

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(idle_timeout_s=60)
    yield transport
    await asyncio.wait_for(transport.close_when_idle(), 5)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[URL]:
    application = web.Application()
    application.router.add_get("/chat", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield URL(f"http://{host}:{port}/chat?x=y")
    finally:
        await runner.cleanup()


async def connect(
    transport: HttpTransport, url: URL, *, subprotocols: tuple[str, ...] = (), timeout_s: float = 5
) -> WebSocketConnection:
    return await transport.open_websocket(
        url,
        headers=[("x-sent", "y")],
        subprotocols=subprotocols,
        connect_timeout_s=timeout_s,
        max_message_bytes=1000,
    )


async def echo(request: web.Request) -> web.StreamResponse:
    """Sends back what comes, and closes at `bye`."""
    socket = web.WebSocketResponse(protocols=("b",))
    await socket.prepare(request)
    await socket.send_str(f"{request.path_qs} {request.headers['x-sent']}")
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data == "bye":
            await socket.close(code=4001, message=b"as asked")
        else:
            await socket.send_str(message.data)
    return socket


async def test_messages_both_ways(transport: HttpTransport) -> None:
    async with serving(echo) as url:
        socket = await connect(transport, url, subprotocols=("a", "b"))
        assert socket.subprotocol == "b"
        assert await socket.receive() == "/chat?x=y y"
        await socket.send("grüß")
        assert await socket.receive() == "grüß"
        await socket.send(b"\x00\xff")
        assert await socket.receive() == b"\x00\xff"
        await socket.send("bye")
        assert await socket.receive() == WebSocketClose(4001, "as asked")
        await socket.close()
        await socket.close()


async def test_our_close_reaches_the_server(transport: HttpTransport) -> None:
    codes: list[int | None] = []

    async def server(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        codes.append(socket.close_code)
        return socket

    async with serving(server) as url:
        socket = await connect(transport, url)
        await socket.close(4002, "enough")
    assert codes == [4002]


@pytest.mark.parametrize("status", [200, 401, 404, 503])
async def test_refusal_carries_the_status(transport: HttpTransport, status: int) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with serving(refuse) as url:
        with pytest.raises(WebSocketRefusedError) as caught:
            await connect(transport, url)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(transport: HttpTransport, status: int) -> None:
    paths: list[str] = []

    async def lead_away(request: web.Request) -> web.StreamResponse:
        paths.append(request.path_qs)
        return web.Response(status=status, headers={"location": "/chat?elsewhere"})

    async with serving(lead_away) as url:
        with pytest.raises(WebSocketRefusedError) as caught:
            await connect(transport, url)
    assert caught.value.status == status
    assert paths == ["/chat?x=y"]


async def test_message_over_the_limit(transport: HttpTransport) -> None:
    async def server(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(b"x" * 1001)
        await socket.receive()
        return socket

    async with serving(server) as url:
        socket = await connect(transport, url)
        with pytest.raises(AnswerTooLargeError):
            await socket.receive()
        await socket.close()


UPGRADED = b"HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: nonsense\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"", ConnectionBrokenError, id="closed"),
        pytest.param(b"garbage\r\n\r\n", ConnectionBrokenError, id="garbage"),
        pytest.param(UPGRADED, WebSocketRefusedError, id="wrong key"),
    ],
)
async def test_server_that_is_none(transport: HttpTransport, answer: bytes, error: type[TransportError]) -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    async with server:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(error):
            await connect(transport, url)


async def test_no_connection_in_time(transport: HttpTransport) -> None:
    with unanswering_address() as address, pytest.raises(ConnectError, match=r"^connection timed out$"):
        await connect(transport, URL(f"http://{address}/"), timeout_s=0.05)


async def test_server_that_hesitates_to_shake_hands_is_given_up_by_the_caller(transport: HttpTransport) -> None:
    left = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    async with server:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connect(transport, url, timeout_s=0.05)
        await asyncio.wait_for(left.wait(), 5)


class Pinged:
    """A server that says `hello` once it has been pinged often enough, and may leave pings unanswered."""

    def __init__(self, count: int, *, answers: bool) -> None:
        self.pings = 0
        self._count = count
        self._answers = answers

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        while (message := await socket.receive()).type is WSMsgType.PING:
            self.pings += 1
            if self._answers:
                await socket.pong(message.data)
            if self.pings == self._count:
                await socket.send_str("hello")
        return socket


async def impatient(transport: HttpTransport, url: URL) -> WebSocketConnection:
    """A WebSocket that pings often, and hopes for an answer no longer than four times."""
    socket = await connect(transport, url)
    socket.ping_interval_s, socket.max_unanswered_pings = 0.02, 4
    return socket


async def test_silent_server_is_pinged(transport: HttpTransport) -> None:
    server = Pinged(20, answers=True)
    async with serving(server.serve) as url:
        socket = await impatient(transport, url)
        assert await socket.receive() == "hello"
        await socket.close()
    assert server.pings == 20


async def test_server_that_answers_no_pings_is_taken_for_dead(transport: HttpTransport) -> None:
    server = Pinged(20, answers=False)
    async with serving(server.serve) as url:
        socket = await impatient(transport, url)
        with pytest.raises(ConnectionBrokenError):
            await socket.receive()
        await socket.close()
    assert server.pings == 4


async def test_server_is_heard_by_its_messages_too(transport: HttpTransport) -> None:
    server = Pinged(3, answers=False)
    async with serving(server.serve) as url:
        socket = await impatient(transport, url)
        assert await socket.receive() == "hello"
        with pytest.raises(ConnectionBrokenError):
            await socket.receive()
        await socket.close()


async def test_pings_of_the_server_are_answered(transport: HttpTransport) -> None:
    async def ask(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.ping(b"there?")
        message = await socket.receive()
        await socket.send_str(f"{message.type.name} {message.data.decode()}")
        return socket

    async with serving(ask) as url:
        socket = await connect(transport, url)
        assert await socket.receive() == "PONG there?"
        await socket.close()


async def test_largest_message(transport: HttpTransport) -> None:
    async with serving(echo) as url:
        socket = await connect(transport, url)
        await socket.receive()
        await socket.send(b"x" * 1000)
        assert await socket.receive() == b"x" * 1000
        await socket.close()


async def test_nobody_listens(transport: HttpTransport) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await connect(transport, URL(f"http://127.0.0.1:{port}/"))


async def test_connection_that_breaks(transport: HttpTransport) -> None:
    async def leave(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return socket

    async with serving(leave) as url:
        socket = await connect(transport, url)
        with pytest.raises(ConnectionBrokenError):
            await socket.receive()
        with pytest.raises(ConnectionBrokenError):
            await socket.send("anybody there?")
        await socket.close()
