"""A gRPC server whose methods tests write: messages are bytes, and what each call brought is kept."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from grpc import aio

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"

# Windows as they are at first, without the estimates that let them grow, so that tests see who is made to wait.
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1), ("grpc.http2.bdp_probe", 0))


class BackendCall:
    """One call as the backend sees it."""

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self.metadata: Metadata = tuple((name, value) for name, value in context.invocation_metadata() or ())
        self.remaining_s: float | None = context.time_remaining()
        self.received: list[bytes] = []
        self.was_ended = False  # by the client, in order
        self.was_cancelled = False
        self.sent = 0
        self.is_over = asyncio.Event()
        self._context = context

    def value(self, name: str) -> str | bytes | None:
        """The only value of that name in the metadata."""
        values = [value for key, value in self.metadata if key == name]
        assert len(values) <= 1
        return values[0] if values else None

    async def receive(self) -> bytes | None:
        """The client's next message, or None when it has ended its messages."""
        message: Any = await self._context.read()
        if not isinstance(message, bytes):
            await asyncio.sleep(0.05)  # a call that is cancelled reads the same until it is told
            self.was_ended = True
            return None
        self.received.append(message)
        return message

    async def receive_all(self) -> list[bytes]:
        """All messages until the client has ended them."""
        while await self.receive() is not None:
            pass
        return self.received

    async def begin(self, *metadata: tuple[str, str | bytes]) -> None:
        """Sends the initial metadata."""
        await self._context.send_initial_metadata(metadata)

    async def send(self, *messages: bytes) -> None:
        """Sends messages; returns once there is room for the next."""
        for message in messages:
            await self._context.write(message)
            self.sent += 1

    def end_with(self, *metadata: tuple[str, str | bytes]) -> None:
        """The metadata that goes with the end of the call."""
        self._context.set_trailing_metadata(metadata)

    async def fail(self, code: str, text: str = "", *metadata: tuple[str, str | bytes]) -> None:
        """Ends the call with this status."""
        await self._context.abort(grpc.StatusCode[code], text, metadata)

    async def hang(self) -> None:
        """Does nothing until the call is cancelled."""
        await asyncio.Event().wait()


Script: TypeAlias = Callable[[BackendCall], Awaitable[None]]


async def shout(call: BackendCall) -> None:
    """Answers each message in capitals."""
    while (message := await call.receive()) is not None:
        await call.send(message.upper())


class GrpcBackend(grpc.GenericRpcHandler):
    """Serves `/test.Kinds/{Unary,ClientStream,ServerStream,Bidi}` as servers of these kinds do, and any other method
    as `script` says. Each call takes the script of the moment in which it begins; `next` holds those of the calls to
    come before."""

    def __init__(self) -> None:
        self.script: Script = shout
        self.next: list[Script] = []
        self.calls: list[BackendCall] = []
        self.address = ""
        self._server: aio.Server | None = None
        self._changed = asyncio.Condition()

    async def start(self, port: int = 0) -> None:
        """Listens."""
        self._server = aio.server(handlers=[self], options=_OPTIONS)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def stop(self) -> None:
        """Ends all calls and connections."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def wait_for_calls(self, count: int) -> list[BackendCall]:
        """Returns once that many have come."""
        async with self._changed, asyncio.timeout(10):
            await self._changed.wait_for(lambda: len(self.calls) >= count)
        return self.calls

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The handler of one call."""
        match details.method:
            case "/test.Kinds/Unary":
                return grpc.unary_unary_rpc_method_handler(_unary)
            case "/test.Kinds/ClientStream":
                return grpc.stream_unary_rpc_method_handler(_client_stream)
            case "/test.Kinds/ServerStream":
                return grpc.unary_stream_rpc_method_handler(_server_stream)
            case "/test.Kinds/Bidi":
                return grpc.stream_stream_rpc_method_handler(_bidi)
            case method:
                return self._scripted(method)

    def _scripted(self, method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def handle(_: object, context: Context) -> None:
            call = BackendCall(method, context)
            script = self.next.pop(0) if self.next else self.script
            async with self._changed:
                self.calls.append(call)
                self._changed.notify_all()
            try:
                await script(call)
            except (asyncio.CancelledError, aio.InternalError):
                # The second is what sending to a client that has just left gives.
                call.was_cancelled = True
                raise asyncio.CancelledError from None
            finally:
                call.is_over.set()

        return grpc.stream_stream_rpc_method_handler(handle)


async def _unary(request: bytes, context: Context) -> bytes:
    await _reflect(context)
    return request.upper()


async def _client_stream(requests: AsyncIterator[bytes], context: Context) -> bytes:
    await _reflect(context)
    return b"+".join([request async for request in requests])


async def _server_stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
    await _reflect(context)
    for number in range(int(request)):
        yield str(number).encode()


async def _bidi(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    await _reflect(context)
    async for request in requests:
        yield request.upper()


async def _reflect(context: Context) -> None:
    """Shows metadata both ways: `x-sent` comes back before and after the messages."""
    sent: Mapping[str, str | bytes] = dict(context.invocation_metadata() or ())
    value = sent.get("x-sent", "nothing")
    await context.send_initial_metadata((("x-first", value), ("x-first-bin", b"\x00\xff")))
    context.set_trailing_metadata((("x-last", value), ("x-last-bin", b"\xfe\x01")))


Backends: TypeAlias = Callable[[int], Awaitable[list[GrpcBackend]]]


@asynccontextmanager
async def starting_backends() -> AsyncIterator[Backends]:
    """Gives what starts that many backends. They are stopped in the end."""
    async with AsyncExitStack() as stack:

        async def start(count: int) -> list[GrpcBackend]:
            new = [GrpcBackend() for _ in range(count)]
            for backend in new:
                await backend.start()
                stack.push_async_callback(backend.stop)
            return new

        yield start
