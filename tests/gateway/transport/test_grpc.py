"""gRPC to real servers in this process and in others, and to sockets that only pretend to speak it."""

import asyncio
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import grpc
import pytest
from grpc import aio

from gateway.config.upstream import TlsConfig
from gateway.transport.errors import AnswerTooLargeError, ConnectError, ConnectionBrokenError
from gateway.transport.grpc import GrpcAnswer, GrpcStatusError, GrpcStream, GrpcTransport, Metadata
from tests.gateway.transport.certificates import TestCertificates
from tests.support.polling import eventually

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"


class Backend(grpc.GenericRpcHandler):
    """Methods of every kind. `left` is set when a call that hangs is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self.authority = ""

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        match details.method:
            case "/test/Echo":
                return grpc.unary_unary_rpc_method_handler(self.echo)
            case "/test/Fail":
                return grpc.unary_unary_rpc_method_handler(self.fail)
            case "/test/Hang":
                return grpc.unary_unary_rpc_method_handler(self.hang)
            case "/test/Count":
                return grpc.unary_stream_rpc_method_handler(self.count)
            case "/test/Join":
                return grpc.stream_unary_rpc_method_handler(self.join)
            case "/test/Chat":
                return grpc.stream_stream_rpc_method_handler(self.chat)
        return None

    async def echo(self, request: bytes, context: Context) -> bytes:
        sent = dict(context.invocation_metadata() or ())
        await context.send_initial_metadata((("x-first", str(sent.get("x-sent"))), ("x-data-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "z"),))
        return request

    async def fail(self, request: bytes, context: Context) -> bytes:
        code, _, details = request.decode().partition(" ")
        await context.abort(grpc.StatusCode[code], details, trailing_metadata=())

    async def hang(self, request: bytes, context: Context) -> bytes:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return b""

    async def count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()
        context.set_trailing_metadata((("x-last", "z"),))

    async def join(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"".join([request async for request in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                if request == b"fail":
                    await context.abort(grpc.StatusCode.DATA_LOSS, "lost")
                yield request.upper()
        finally:
            self.left.set()


@pytest.fixture(scope="module")
def certificates() -> TestCertificates:
    return TestCertificates()


@pytest.fixture
async def transport() -> AsyncIterator[GrpcTransport]:
    transport = GrpcTransport(None)
    yield transport
    await asyncio.wait_for(transport.close_when_idle(), 5)


@pytest.fixture
async def backend() -> Backend:
    return Backend()


@asynccontextmanager
async def listening(backend: Backend, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[str]:
    server = aio.server(handlers=[backend])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture
async def address(backend: Backend) -> AsyncIterator[str]:
    async with listening(backend) as address:
        yield address


async def unary(
    transport: GrpcTransport,
    address: str,
    method: str,
    message: bytes = b"",
    *,
    is_secure: bool = False,
    server_name: str | None = None,
    metadata: Metadata = (),
    timeout_s: float | None = 10,
) -> GrpcAnswer:
    return await transport.unary(
        address,
        method,
        message,
        is_secure=is_secure,
        server_name=server_name,
        metadata=metadata,
        timeout_s=timeout_s,
    )


def stream(transport: GrpcTransport, address: str, method: str, timeout_s: float | None = 10) -> GrpcStream:
    return transport.stream(address, method, is_secure=False, server_name=None, metadata=(), timeout_s=timeout_s)


# The four kinds.


async def test_unary(transport: GrpcTransport, address: str) -> None:
    answer = await unary(transport, address, "/test/Echo", b"\x00\x01", metadata=[("x-sent", "y")])
    assert answer.message == b"\x00\x01"
    assert dict(answer.initial_metadata) == {"x-first": "y", "x-data-bin": b"\x00\xff"}
    assert dict(answer.trailing_metadata) == {"x-last": "z"}


async def test_large_messages(transport: GrpcTransport, address: str) -> None:
    message = bytes(20_000_000)
    assert (await unary(transport, address, "/test/Join", b"")).message == b""
    with pytest.raises(GrpcStatusError, match="RESOURCE_EXHAUSTED"):  # of the server, which takes no more than 4 MiB
        await unary(transport, address, "/test/Echo", message)
    bounded = GrpcTransport(None, max_message_bytes=1000)
    assert len((await unary(bounded, address, "/test/Echo", bytes(1000))).message) == 1000
    with pytest.raises(AnswerTooLargeError):
        await unary(bounded, address, "/test/Echo", bytes(1001))
    await bounded.close()


async def test_server_streaming(transport: GrpcTransport, address: str) -> None:
    call = stream(transport, address, "/test/Count")
    await call.write(b"3")
    await call.done_writing()
    assert [await call.read() for _ in range(4)] == [b"0", b"1", b"2", None]
    assert await call.read() is None
    assert dict(await call.trailing_metadata()) == {"x-last": "z"}


async def test_client_streaming(transport: GrpcTransport, address: str) -> None:
    call = stream(transport, address, "/test/Join")
    for message in (b"a", b"b", b"c"):
        await call.write(message)
    await call.done_writing()
    assert [await call.read(), await call.read()] == [b"abc", None]


async def test_both_streaming(transport: GrpcTransport, address: str) -> None:
    call = stream(transport, address, "/test/Chat")
    for message in (b"a", b"b"):
        await call.write(message)
        assert await call.read() == message.upper()
    await call.write(b"fail")
    with pytest.raises(GrpcStatusError, match="DATA_LOSS: lost"):
        await call.read()
    with pytest.raises(GrpcStatusError, match="DATA_LOSS: lost"):
        await call.read()
    await call.write(b"nobody listens")
    await call.done_writing()


# How calls end.


@pytest.mark.parametrize(
    "status",
    [
        "NOT_FOUND absent",
        "UNAVAILABLE busy",
        "UNAVAILABLE failed to connect to all addresses; a backend of mine is away",
        "CANCELLED not today",
        "INTERNAL ",
    ],
)
async def test_status_of_the_backend(transport: GrpcTransport, address: str, status: str) -> None:
    with pytest.raises(GrpcStatusError) as caught:
        await unary(transport, address, "/test/Fail", status.encode())
    assert f"{caught.value.code} {caught.value.details}" == status


async def test_failure_to_connect_is_known_when_the_endpoint_is_back_already(
    transport: GrpcTransport, address: str
) -> None:
    """As told by grpcio of this endpoint, while the channel is connected."""
    words = f"last error: UNKNOWN: ipv4:{address}: Failed to connect to remote host: Connection refused"
    told = f"UNAVAILABLE failed to connect to all addresses; {words}"
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await unary(transport, address, "/test/Fail", told.encode())


async def test_unknown_method(transport: GrpcTransport, address: str) -> None:
    with pytest.raises(GrpcStatusError, match="UNIMPLEMENTED"):
        await unary(transport, address, "/test/None")


async def test_deadline(transport: GrpcTransport, address: str, backend: Backend) -> None:
    with pytest.raises(GrpcStatusError, match="DEADLINE_EXCEEDED"):
        await unary(transport, address, "/test/Hang", timeout_s=0.1)
    call = stream(transport, address, "/test/Chat", timeout_s=0.1)
    with pytest.raises(GrpcStatusError, match="DEADLINE_EXCEEDED"):
        await call.read()


async def test_cancelled_caller_cancels_the_call(transport: GrpcTransport, address: str, backend: Backend) -> None:
    asking = asyncio.create_task(unary(transport, address, "/test/Hang"))
    await backend.reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await backend.left.wait()


async def test_cancelled_stream(transport: GrpcTransport, address: str, backend: Backend) -> None:
    """Who reads of a call that another task cancels is not cancelled with it."""
    call = stream(transport, address, "/test/Chat")
    await call.write(b"a")
    assert await call.read() == b"A"
    reading = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(ConnectionBrokenError):
        await reading
    await call.write(b"b")
    await backend.left.wait()
    call.cancel()


async def test_cancelled_reader(transport: GrpcTransport, address: str) -> None:
    call = stream(transport, address, "/test/Chat")
    reading = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    call.cancel()


@pytest.mark.parametrize("metadata", [[("bad name", "x")], [("x", "a\r\nb")]])
async def test_metadata_that_cannot_be_sent(transport: GrpcTransport, address: str, metadata: Metadata) -> None:
    with pytest.raises(ValueError, match="metadata"):
        await unary(transport, address, "/test/Echo", metadata=metadata)


async def test_closed_transport_cannot_connect(address: str) -> None:
    transport = GrpcTransport(None)
    await transport.close()
    with pytest.raises(ConnectError):
        await unary(transport, address, "/test/Echo")


async def test_closing_waits_for_calls(address: str) -> None:
    transport = GrpcTransport(None)
    call = stream(transport, address, "/test/Chat")
    await call.write(b"a")
    closing = asyncio.create_task(transport.close_when_idle())
    assert await call.read() == b"A"
    assert not closing.done()
    await call.done_writing()
    assert await call.read() is None
    await closing


# Connections that are not made, or break.


async def test_nobody_listens(transport: GrpcTransport) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await unary(transport, address, "/test/Echo")
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await stream(transport, address, "/test/Chat").read()


async def test_unknown_host(transport: GrpcTransport) -> None:
    with pytest.raises(ConnectError, match=r"^host name cannot be resolved$"):
        await unary(transport, "no-such-host.invalid:80", "/test/Echo")


SERVER = """
import asyncio, sys
from grpc import aio
import grpc
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        async def answer(request, context):
            if details.method == "/test/Hang":
                await context.send_initial_metadata(())
                await asyncio.Event().wait()
            return b"here"
        return grpc.unary_unary_rpc_method_handler(answer)
async def main():
    server = aio.server(handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""


async def start_process(port: str = "0") -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, port, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def kill(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.communicate()


async def test_killed_backend_and_its_return(transport: GrpcTransport) -> None:
    process, port = await start_process()
    address = f"127.0.0.1:{port}"
    assert (await unary(transport, address, "/test/Echo")).message == b"here"
    call = stream(transport, address, "/test/Hang")
    await call.write(b"")
    await call.initial_metadata()
    await kill(process)
    with pytest.raises(ConnectionBrokenError):
        await call.read()
    for _ in range(20):
        with pytest.raises(ConnectError, match=r"^connection refused$"):
            await unary(transport, address, "/test/Echo")
    await asyncio.sleep(1)  # long enough for a back-off that grows to have grown
    process, _ = await start_process(port)
    async with asyncio.timeout(0.9):
        while True:
            with suppress(ConnectError):
                assert (await unary(transport, address, "/test/Echo")).message == b"here"
                break
            await asyncio.sleep(0.01)
    await kill(process)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream_id) + payload


SETTINGS, RST_STREAM, GOAWAY = 4, 3, 7


def after_the_request(*frames: Callable[[int], bytes]) -> Callable[..., Awaitable[None]]:
    """A server that takes a request's first data, sends frames for its stream and leaves."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0))
        await reader.readexactly(24)
        kind = -1
        while kind != 0:
            head = await reader.readexactly(9)
            kind = head[3]
            await reader.readexactly(int.from_bytes(head[:3], "big"))
        writer.write(b"".join(make(int.from_bytes(head[5:], "big")) for make in frames))

    return serve


async def reset_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


async def speak_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("server", "error"),
    [
        pytest.param(reset_at_once, ConnectError, id="reset"),
        pytest.param(speak_http1, ConnectError, id="HTTP/1.1"),
        pytest.param(be_silent, ConnectError, id="silent"),
        pytest.param(
            after_the_request(lambda stream_id: frame(RST_STREAM, 0, stream_id, b"\0\0\0\x07")),
            ConnectError,
            id="refused stream",
        ),
        pytest.param(
            after_the_request(lambda stream_id: frame(RST_STREAM, 0, stream_id, b"\0\0\0\x02")),
            ConnectionBrokenError,
            id="reset stream",
        ),
        pytest.param(
            after_the_request(lambda stream_id: frame(GOAWAY, 0, 0, struct.pack(">II", stream_id, 0))),
            ConnectionBrokenError,
            id="going away",
        ),
        pytest.param(after_the_request(), ConnectionBrokenError, id="closed"),
        pytest.param(after_the_request(lambda _: b"\xff" * 100), ConnectionBrokenError, id="garbage"),
    ],
)
async def test_broken_peer(
    server: Callable[..., Awaitable[None]], error: type[ConnectError | ConnectionBrokenError]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await server(reader, writer)
        writer.close()

    before = asyncio.all_tasks()
    transport = GrpcTransport(None, connect_timeout_s=0.3)
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        with pytest.raises(error, match=r"^[a-z][a-zA-Z0-9/ ]{5,60}$"):
            await unary(transport, address, "/test/Echo", b"x")
        await transport.close()
        await asyncio.sleep(0.02)  # a last attempt to connect may be under way

    async def have_all_left() -> bool:
        return asyncio.all_tasks() == before

    await eventually(have_all_left)


# TLS.


async def test_tls_with_a_name_and_a_client_certificate(certificates: TestCertificates, backend: Backend) -> None:
    credentials = grpc.ssl_server_credentials(
        [certificates.server_pem("box.example")], certificates.ca_pem.encode(), require_client_auth=True
    )
    tls = TlsConfig(ca_pem=certificates.ca_pem, client_certificate=certificates.client_certificate())
    transport = GrpcTransport(tls)
    async with listening(backend, credentials) as address:
        answer = await unary(transport, address, "/test/Echo", b"a", is_secure=True, server_name="box.example")
        assert answer.message == b"a"
        with pytest.raises(ConnectError, match=r"^tls failed"):
            await unary(transport, address, "/test/Echo", is_secure=True, server_name="other.example")
    await transport.close()


async def test_certificate_that_nobody_vouches_for(certificates: TestCertificates, backend: Backend) -> None:
    credentials = grpc.ssl_server_credentials([certificates.server_pem("127.0.0.1")])
    transport = GrpcTransport(None)
    async with listening(backend, credentials) as address:
        with pytest.raises(ConnectError, match=r"^tls failed"):
            await unary(transport, address, "/test/Echo", is_secure=True)
    await transport.close()


def test_verification_cannot_be_skipped() -> None:
    with pytest.raises(ValueError, match="not possible with protocol GRPC"):
        GrpcTransport(TlsConfig(verify=False))


def test_bad_pem() -> None:
    with pytest.raises(ValueError, match="CA certificate"):
        GrpcTransport(TlsConfig(ca_pem="nothing"))
