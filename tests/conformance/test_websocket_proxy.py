"""WebSockets that are passed through: messages both ways, and the end of either side shown to the other."""

import asyncio
import contextlib
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import WSMessage, WSMsgType, web

from tests.conformance.configuration import api_key, with_keys
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.polling import until_still
from tests.conformance.proxying import first_then, proxied, several_services
from tests.conformance.raw_http import RawConnection, connected, request
from tests.conformance.unanswering import unanswering_address
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.raw_backend import raw_backend, read_head
from tests.support.websocket_backend import websocket_backend

PROMPTLY_S = 2.0
MIB = 1024 * 1024
NO_RETRIES = {"retry_policy": {"num_retries": 0}}
UNUSED = "127.0.0.1:9"
UPGRADE = (
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def echo(request: web.Request) -> web.StreamResponse:
    """Sends back what comes, and closes as `close CODE REASON` says."""
    socket = web.WebSocketResponse(protocols=("b", "c"), max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data.startswith("close "):
            _, code, reason = message.data.split(" ", 2)
            await socket.close(code=int(code), message=reason.encode())
        else:
            await socket.send_str(message.data)
    return socket


def url(gateway: Gateway, target: str = "/") -> str:
    return f"ws://{gateway.addresses.http}{target}"


async def refusal(gateway: Gateway, session: aiohttp.ClientSession, target: str = "/", **headers: str) -> int:
    """The status that a handshake is refused with."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await session.ws_connect(url(gateway, target), headers=headers)
    return caught.value.status


async def test_messages_pass_through_both_ways(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            for text in ("hello", "", "grüß \U0001f600", "x" * 200_000):
                await socket.send_str(text)
                assert await socket.receive_str() == text
            for data in (b"\x00\xff", b"", b"x" * 200_000):
                await socket.send_bytes(data)
                assert await socket.receive_bytes() == data
            await gateway.wait_for_active_requests(1)


async def test_handshake_is_that_of_a_passed_through_request(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        rewrite = {"path_prefix": "/inner"}
        await gateway.apply(proxied(backend.address, prefix="/outer", route={"rewrite": rewrite}))
        headers = {
            "authorization": "Bearer secret",
            "cookie": "a=b",
            "origin": "https://example.com",
            "x-own": "1",
            "x-request-id": "req-1",
            "x-janua-route": "forged",
        }
        async with session.ws_connect(url(gateway, "/outer/a%2Fb?c=d%20e"), headers=headers) as socket:
            response_headers = socket._response.headers
        (received,) = backend.requests
    assert received.raw_path == "/inner/a%2Fb?c=d%20e"
    assert received.headers["host"] == backend.address
    assert (received.headers["cookie"], received.headers["x-own"]) == ("a=b", "1")
    assert received.headers["origin"] == "https://example.com"
    assert received.headers["x-forwarded-for"] == "127.0.0.1"
    assert received.headers["x-forwarded-proto"] == "http"
    assert received.headers["x-request-id"] == "req-1"
    assert "authorization" not in received.headers
    assert "x-janua-route" not in received.headers
    assert response_headers["x-request-id"] == "req-1"
    assert response_headers["x-janua-route"] == "all"
    assert response_headers["x-janua-endpoint"] == backend.address


async def test_backend_chooses_the_subprotocol(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        for offered, chosen in (((), None), (("a", "b", "c"), "b"), (("x",), None)):
            async with session.ws_connect(url(gateway), protocols=offered) as socket:
                assert socket.protocol == chosen


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1001, ""), (3000, "grüß"), (4999, "x" * 123)])
async def test_close_of_the_backend_reaches_the_client(
    gateway: Gateway, session: aiohttp.ClientSession, code: int, reason: str
) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            await socket.send_str(f"close {code} {reason}")
            message = await socket.receive()
    assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, reason)


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1001, ""), (3000, "grüß"), (4999, "x" * 123)])
async def test_close_of_the_client_reaches_the_backend(
    gateway: Gateway, session: aiohttp.ClientSession, code: int, reason: str
) -> None:
    closed: asyncio.Queue[WSMessage] = asyncio.Queue()

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        closed.put_nowait(await socket.receive())
        return socket

    async with websocket_backend(serve) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            await socket.close(code=code, message=reason.encode())
            assert socket.close_code == code
        message = await closed.get()
    assert (message.type, message.data) == (WSMsgType.CLOSE, code)
    assert message.extra == reason


async def test_close_without_a_code(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert socket._writer is not None
        await socket._writer.send_frame(b"", WSMsgType.CLOSE)
        return socket

    async with websocket_backend(serve) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            message = await socket.receive()
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)


async def test_client_that_dies_ends_the_backend(gateway: Gateway) -> None:
    closed: asyncio.Queue[WSMessage] = asyncio.Queue()

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        closed.put_nowait(await socket.receive())
        return socket

    async with websocket_backend(serve) as backend:
        await gateway.apply(proxied(backend.address))
        for breaks in (False, True):
            async with connected(gateway.addresses.http) as connection:
                await connection.send(request("GET", "/", *UPGRADE))
                head = await connection.head()
                assert head is not None
                assert head.status == 101
                if breaks:
                    connection.reset()
            async with asyncio.timeout(PROMPTLY_S):
                message = await closed.get()
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
            await gateway.wait_until_idle()


@pytest.mark.parametrize("cuts", [True, False], ids=["breaks", "closes"])
async def test_backend_that_dies_closes_the_client(
    gateway: Gateway, session: aiohttp.ClientSession, cuts: bool
) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        assert request.transport is not None
        if cuts:
            request.transport.abort()
        else:
            request.transport.close()
        return socket

    async with websocket_backend(serve) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            assert await socket.receive_str() == "hello"
            message = await socket.receive()
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert "upstream" in (message.extra or "")


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 426, 500])
async def test_refusal_of_the_backend_is_shown(gateway: Gateway, session: aiohttp.ClientSession, status: int) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"location": "/elsewhere"} if status == 301 else {})

    async with websocket_backend(refuse) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("GET", "/", *UPGRADE))
            refused = await connection.response()
    assert refused is not None
    assert refused.status == status
    assert refused.header("x-request-id")
    assert len(backend.requests) == 1


async def test_unreachable_endpoint_is_passed_over(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with websocket_backend(echo) as backend, websocket_backend(refuse) as refusing:
        for first in (UNUSED, refusing.address):
            await gateway.apply(first_then(first, backend.address))
            async with session.ws_connect(url(gateway)) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"


async def test_another_service_takes_over(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        backends = [{"service": "first"}, {"service": "second", "priority": 1}]
        route = {"backends": backends, **NO_RETRIES}
        await gateway.apply(several_services(route, first=UNUSED, second=backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"


async def test_nobody_listens(gateway: Gateway) -> None:
    await gateway.apply(proxied(UNUSED, service=NO_RETRIES))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/", *UPGRADE))
        refused = await connection.response()
    assert refused is not None
    assert (refused.status, refused.header("content-type")) == (503, "application/problem+json")
    assert b"UPSTREAM_UNREACHABLE" in refused.body


async def test_connecting_takes_no_longer_than_its_limit(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    with unanswering_address() as address:
        await gateway.apply(proxied(address, service={"timeouts": {"connect": "0.2s"}, **NO_RETRIES}))
        assert await refusal(gateway, session) == 503


@pytest.mark.parametrize("limit", [{"timeouts": {"request": "0.3s"}}, {"retry_policy": {"per_try_timeout": "0.3s"}}])
async def test_handshake_takes_no_longer_than_its_limit(
    gateway: Gateway, session: aiohttp.ClientSession, limit: dict[str, object]
) -> None:
    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await read_head(reader)

    async with raw_backend(be_silent) as backend:
        await gateway.apply(proxied(backend.address, route=limit))
        assert await refusal(gateway, session) == 504
        async with asyncio.timeout(PROMPTLY_S):
            await backend.gone.acquire()


async def test_handshake_may_take_longer_than_connecting(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async def think(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return await echo(request)

    async with websocket_backend(think) as backend:
        await gateway.apply(proxied(backend.address, service={"timeouts": {"connect": "0.2s"}, **NO_RETRIES}))
        async with session.ws_connect(url(gateway)) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"


async def test_client_that_leaves_during_the_handshake_cuts_the_backend_off(gateway: Gateway) -> None:
    asked = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await read_head(reader)

    async with raw_backend(be_silent) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("GET", "/", *UPGRADE))
            await asked.wait()
        async with asyncio.timeout(PROMPTLY_S):
            await backend.gone.acquire()
        await gateway.wait_until_idle()


async def test_request_limit_does_not_end_an_open_websocket(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        timeouts = {"request": "0.2s", "stream_idle": "0.2s"}
        await gateway.apply(proxied(backend.address, route={"timeouts": timeouts}))
        async with session.ws_connect(url(gateway)) as socket:
            await asyncio.sleep(0.6)
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"


async def test_message_of_the_backend_over_the_limit_ends_both_sides(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    closed: asyncio.Queue[WSMessage] = asyncio.Queue()

    async def send_much(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        with suppress(ConnectionError):  # it may end before all of it is sent
            await socket.send_bytes(b"x" * (MAX_BODY_BYTES + 1))
        closed.put_nowait(await socket.receive())
        return socket

    async with websocket_backend(send_much) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway), max_msg_size=0) as socket:
            message = await socket.receive()
        async with asyncio.timeout(PROMPTLY_S):
            await closed.get()
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_message_of_the_client_over_the_limit_ends_both_sides(
    gateway: Gateway, session: aiohttp.ClientSession, kind: str
) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway), max_msg_size=0) as socket:
            largest = b"x" * MAX_BODY_BYTES
            await socket.send_bytes(largest)
            assert await socket.receive_bytes() == largest
            if kind == "text":
                await socket.send_str("x" * (MAX_BODY_BYTES + 1))
            else:
                await socket.send_bytes(b"x" * (MAX_BODY_BYTES + 1))
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
        await gateway.wait_until_idle()


def frame_head(opcode: int, size: int) -> bytes:
    """The head of a client's frame, masked with zeros."""
    return bytes([opcode, 0xFF]) + size.to_bytes(8, "big") + b"\0\0\0\0"


async def opened(gateway: Gateway, connection: RawConnection) -> None:
    """Opens a WebSocket by hand."""
    await connection.send(request("GET", "/", *UPGRADE))
    head = await connection.head()
    assert head is not None
    assert head.status == 101


async def test_client_that_sends_on_after_too_large_a_message_costs_no_memory(gateway: Gateway) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        before = gateway.process.resident_bytes
        async with connected(gateway.addresses.http) as connection:
            await opened(gateway, connection)
            await connection.send(frame_head(0x82, 10**12))
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(5):
                    for _ in range(200):
                        await connection.send(b"\0" * MIB)
            growth = gateway.process.resident_bytes - before
        assert growth < 48 * MIB
    await gateway.wait_until_idle()


async def test_frames_are_not_compressed(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """A small frame must not become a large message in the node's memory."""
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway), compress=15) as socket:
            assert socket.compress == 0
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"


async def test_client_that_speaks_before_it_is_answered(gateway: Gateway) -> None:
    goes_on = asyncio.Event()

    async def hesitate(request: web.Request) -> web.StreamResponse:
        await goes_on.wait()
        return await echo(request)

    async with websocket_backend(hesitate) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("GET", "/", *UPGRADE) + b"\x81\x85\0\0\0\0hello")
            await gateway.wait_for_active_requests(1)
            await connection.send(b"\x81\x85\0\0\0\0again")
            goes_on.set()
            await connection.head()
        await gateway.wait_until_idle()


@pytest.mark.parametrize(
    "frame",
    [b"\xf1\x85\0\0\0\0hello", b"\x81\x05hello", b"\x83\x80\0\0\0\0", b"\x81\x82\0\0\0\0\xff\xfe", b"\x80\x80\0\0\0\0"],
    ids=["reserved bits", "not masked", "reserved opcode", "no UTF-8", "continuation of nothing"],
)
async def test_client_that_breaks_the_protocol_ends_both_sides(gateway: Gateway, frame: bytes) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await opened(gateway, connection)
            await connection.send(frame)
            async with asyncio.timeout(PROMPTLY_S):
                answer = await connection.read()
                while part := await connection.read():
                    answer += part
        assert answer[:1] == b"\x88"
        assert int.from_bytes(answer[2:4], "big") in (1002, 1007)
        await gateway.wait_until_idle()


@pytest.mark.parametrize(
    "frame",
    [b"\xf1\x05hello", b"\x83\x00", b"\x81\x02\xff\xfe", b"\x80\x00", b"\x81\x85\0\0\0\0hello"],
    ids=["reserved bits", "reserved opcode", "no UTF-8", "continuation of nothing", "masked"],
)
async def test_backend_that_breaks_the_protocol_ends_both_sides(
    gateway: Gateway, session: aiohttp.ClientSession, frame: bytes
) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.write(frame)
        await socket.receive()
        return socket

    async with websocket_backend(serve) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:
            message = await socket.receive()
    assert (message.type, message.data) in ((WSMsgType.CLOSE, 1011), (WSMsgType.TEXT, "hello"))


async def test_fragments_are_put_together(gateway: Gateway) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await opened(gateway, connection)
            ping = b"\x89\x81\0\0\0\0p"
            await connection.send(b"\x01\x83\0\0\0\0hel" + ping + b"\x80\x82\0\0\0\0lo")
            seen = b""
            while not (b"\x81\x05hello" in seen and b"\x8a\x01p" in seen):
                seen += await connection.read()


class Flood:
    """Messages without an end, as fast as they are taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with contextlib.suppress(ConnectionError):
            while not socket.closed:
                await socket.send_bytes(b"x" * 16384)
                self.sent += 16384
                await asyncio.sleep(0)
        return socket


async def test_slow_client_slows_the_backend_down(gateway: Gateway) -> None:
    flood = Flood()
    async with websocket_backend(flood) as backend:
        await gateway.apply(proxied(backend.address))
        before = gateway.process.resident_bytes
        async with connected(gateway.addresses.http) as connection:
            await opened(gateway, connection)
            await until_still(lambda: flood.sent, "the backend can send no more")
            assert flood.sent < 32 * MIB
            assert gateway.process.resident_bytes - before < 32 * MIB
        await gateway.wait_until_idle()


async def test_slow_backend_slows_the_client_down(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    goes_on, has_all = asyncio.Event(), asyncio.Event()
    received = 0

    async def read_late(request: web.Request) -> web.StreamResponse:
        nonlocal received
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await goes_on.wait()
        async for message in socket:
            received += len(message.data)
        has_all.set()
        return socket

    sent = 0

    async with websocket_backend(read_late) as backend:
        await gateway.apply(proxied(backend.address))
        before = gateway.process.resident_bytes
        async with session.ws_connect(url(gateway)) as socket:

            async def send() -> None:
                nonlocal sent
                for _ in range(100):
                    await socket.send_bytes(b"x" * MIB)
                    sent += MIB

            sending = asyncio.create_task(send())
            await until_still(lambda: sent, "the client can send no more")
            assert sent < 50 * MIB
            assert gateway.process.resident_bytes - before < 48 * MIB
            goes_on.set()
            await sending
        await has_all.wait()
        await gateway.wait_until_idle()
    assert received == 100 * MIB


async def test_backend_that_dies_while_the_client_waits_to_send(gateway: Gateway) -> None:
    dies = asyncio.Event()

    async def die(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await dies.wait()
        assert request.transport is not None
        request.transport.abort()
        return socket

    async with websocket_backend(die) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await opened(gateway, connection)
            frame = frame_head(0x82, MIB // 2) + b"x" * (MIB // 2)
            sent = 0

            async def flood() -> None:
                nonlocal sent
                for _ in range(100):
                    await connection.send(frame)
                    sent += 1

            flooding = asyncio.create_task(flood())
            await until_still(lambda: sent, "the client can send no more")
            assert sent < 100
            dies.set()
            async with asyncio.timeout(PROMPTLY_S):
                while await connection.read():
                    pass
                await flooding
        await gateway.wait_until_idle()


async def test_many_messages_both_ways_at_a_time(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway)) as socket:

            async def send() -> None:
                for number in range(5000):
                    await socket.send_str(str(number))

            sending = asyncio.create_task(send())
            assert [await socket.receive_str() for _ in range(5000)] == [str(number) for number in range(5000)]
            await sending


async def test_keys_are_asked_for(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(with_keys(proxied(backend.address), api_key("k-1")))
        assert await refusal(gateway, session) == 401
        assert backend.requests == []
        async with session.ws_connect(url(gateway), headers={"authorization": "Bearer k-1"}) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"


@pytest.mark.parametrize("target", ["/elsewhere", "/v1/models"])
async def test_path_without_a_route(gateway: Gateway, session: aiohttp.ClientSession, target: str) -> None:
    await gateway.apply(proxied(UNUSED, prefix="/here" if target == "/elsewhere" else "/"))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", target, *UPGRADE))
        refused = await connection.response()
    assert refused is not None
    assert (refused.status, refused.header("content-type")) == (404, "application/problem+json")


@pytest.mark.parametrize("target", ["/a/../b", "/a?b#c", "x"])
async def test_path_that_means_another_is_refused(gateway: Gateway, target: str) -> None:
    await gateway.apply(proxied(UNUSED))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", target, *UPGRADE))
        refused = await connection.response()
    assert refused is not None
    assert refused.status == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"redirect": {"scheme": "https"}}, 302), ({"direct_response": {"status": 418, "body": "x"}}, 418)],
)
async def test_route_that_answers_itself(gateway: Gateway, fields: dict[str, object], status: int) -> None:
    route = {"name": "own", "match": {"path": {"prefix": "/"}}, **fields}
    await gateway.apply({"routes": [route]})
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/", *UPGRADE))
        refused = await connection.response()
    assert refused is not None
    assert refused.status == status
    assert (refused.header("location") is not None) == (status == 302)


@pytest.mark.parametrize("protocol", ["HTTP2", "GRPC"])
async def test_upstream_of_another_protocol_is_told(
    gateway: Gateway, session: aiohttp.ClientSession, protocol: str
) -> None:
    await gateway.apply(proxied(UNUSED, upstream={"protocol": protocol}))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/", *UPGRADE))
        refused = await connection.response()
    assert refused is not None
    assert refused.status == 400
    assert b"UNSUPPORTED_BY_SERVICE" in refused.body
    assert b"HTTP/1.1" in refused.body


async def test_access_log_has_the_websocket(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with websocket_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with session.ws_connect(url(gateway, "/a"), headers={"x-request-id": "socket-1"}):
            pass
        entry = await gateway.access_log_entry("socket-1")
    assert (entry["status"], entry["path"], entry["route"]) == ("101", "/a", "all")
    assert "reason" not in entry


async def test_handshake_that_is_none(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address))
    for headers in (UPGRADE[:2], UPGRADE[:3], (*UPGRADE[:2], "sec-websocket-version: 8", UPGRADE[3])):
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("GET", "/", *headers))
            refused = await connection.response()
        assert refused is not None
        assert refused.status == 400
    assert upstream.requests == []
