"""A stream to a real server in this process: what silence it may keep, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import pytest
from grpc import aio

from gateway.config.upstream import UpstreamConfig, UpstreamProtocol
from gateway.errors import BadGatewayError, TimeoutExceededError, UpstreamStatusError
from gateway.operations.relayed_stream import RelayedStream
from gateway.operations.replay import ReplayableParts
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.transport.grpc import GrpcStatusError
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from tests.gateway.upstream.calls import FAR_AWAY_S, InOrder, LoopClock, endpoint_config

IDLE_S = 60.0

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
Behaviour: TypeAlias = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]


class Server(grpc.GenericRpcHandler):
    """One method, whose behaviour a test gives."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.stream_stream_rpc_method_handler(self._behave)


class Requests:
    """What a caller sends, as a test gives it."""

    def __init__(self, *messages: bytes | None) -> None:
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        for message in messages:
            self.send(message)

    def send(self, message: bytes | None) -> None:
        self._messages.put_nowait(message)

    async def read(self) -> bytes | None:
        return await self._messages.get()


@asynccontextmanager
async def stream_to(
    behave: Behaviour, read: Callable[[], Awaitable[bytes | None]], *, deadline_s: float = FAR_AWAY_S
) -> AsyncIterator[RelayedStream]:
    """A stream that has not begun. Its lease must be given back."""
    server = aio.server(handlers=[Server(behave)])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    config = UpstreamConfig(name="pool", endpoints=(endpoint_config(address),), protocol=UpstreamProtocol.GRPC)
    cluster = Cluster(config, random=InOrder())
    assert cluster.breaker.try_acquire()
    (endpoint,) = cluster.endpoints
    call = cluster.connections.grpc.stream(
        address, "/test/Stream", is_secure=False, server_name=None, metadata=(), timeout_s=None
    )
    stream = RelayedStream(
        call,
        Lease(cluster, endpoint),
        ReplayableParts(read),
        to_backend=bytes.upper,
        to_caller=_checked,
        idle_timeout_s=IDLE_S,
        deadline=asyncio.get_running_loop().time() + deadline_s,
    )
    try:
        yield stream
    finally:
        stream.close()
        stream.close()
        assert endpoint.active_requests == 0
        await cluster.connections.close()
        await server.stop(0)


def _checked(message: bytes) -> bytes:
    if message == b"GARBAGE":
        raise MalformedTensorError("no answer")
    return message + b"!"


async def echo(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def twice(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request
        yield request


async def silent(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    yield b"A"
    await asyncio.Event().wait()


async def test_messages_are_changed_both_ways() -> None:
    async with stream_to(echo, Requests(b"a", b"b", None).read) as stream:
        await stream.begin()
        assert (stream.first, await stream.read(), await stream.read()) == (b"A!", b"B!", None)


async def test_stream_without_answers() -> None:
    async with stream_to(echo, Requests(None).read) as stream:
        await stream.begin()
        assert (stream.first, await stream.read()) == (None, None)


async def read_while_time_passes(
    stream: RelayedStream, clock: LoopClock, seconds: float
) -> "asyncio.Task[bytes | None]":
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    await clock.advance(seconds)
    return reading


async def test_silence_of_a_backend_that_owes_an_answer_is_bounded() -> None:
    async with stream_to(silent, Requests(b"a", b"b").read) as stream:
        await stream.begin()
        reading = await read_while_time_passes(stream, LoopClock(), IDLE_S + 1)
        with pytest.raises(TimeoutExceededError) as caught:
            await reading
    assert caught.value.reason == "STREAM_IDLE_TIMEOUT"


async def test_backend_that_owes_nothing_may_be_silent_until_it_does() -> None:
    requests, clock = Requests(b"a"), LoopClock()
    async with stream_to(echo, requests.read) as stream:
        await stream.begin()
        reading = await read_while_time_passes(stream, clock, IDLE_S * 5)
        assert not reading.done()
        requests.send(b"b")
        assert await reading == b"B!"


async def test_backend_that_answers_more_than_once_always_owes() -> None:
    clock = LoopClock()
    async with stream_to(twice, Requests(b"a").read) as stream:
        await stream.begin()
        assert await stream.read() == b"A!"
        reading = await read_while_time_passes(stream, clock, IDLE_S + 1)
        with pytest.raises(TimeoutExceededError):
            await reading


async def test_end_is_owed_after_the_last_message() -> None:
    async with stream_to(silent, Requests(b"a", None).read) as stream:
        await stream.begin()
        reading = await read_while_time_passes(stream, LoopClock(), IDLE_S + 1)
        with pytest.raises(TimeoutExceededError):
            await reading


async def test_time_in_which_nobody_reads_is_no_silence() -> None:
    async with stream_to(echo, Requests(b"a", b"b").read) as stream:
        await stream.begin()
        await LoopClock().advance(IDLE_S * 5)
        assert await stream.read() == b"B!"


async def test_deadline_ends_a_stream() -> None:
    async with stream_to(silent, Requests(b"a").read, deadline_s=30) as stream:
        await stream.begin()
        reading = await read_while_time_passes(stream, LoopClock(), 31)
        with pytest.raises(TimeoutExceededError) as caught:
            await reading
    assert caught.value.reason == "DEADLINE_EXCEEDED"


async def test_status_after_the_first_answer_is_the_callers() -> None:
    async def fail(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield b"A"
        await context.abort(grpc.StatusCode.ABORTED, "lost", (("x-why", "because"), ("x-janua-route", "mine")))

    async with stream_to(fail, Requests(b"a").read) as stream:
        await stream.begin()
        with pytest.raises(UpstreamStatusError) as caught:
            await stream.read()
    assert (caught.value.status, caught.value.message) == ("ABORTED", "lost")
    assert caught.value.trailing_metadata == (("x-why", "because"),)


async def test_status_before_the_first_answer_is_the_attempts() -> None:
    async def fail(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.ABORTED, "lost")
        yield b""

    async with stream_to(fail, Requests(b"a").read) as stream:
        with pytest.raises(GrpcStatusError):
            await stream.begin()


async def test_answer_that_is_none() -> None:
    async with stream_to(echo, Requests(b"a", b"garbage").read) as stream:
        await stream.begin()
        with pytest.raises(BadGatewayError) as caught:
            await stream.read()
    assert caught.value.reason == "UPSTREAM_CUT"


async def test_fault_of_reading_from_the_caller_is_what_is_told() -> None:
    class BrokenError(Exception):
        pass

    async def read() -> bytes | None:
        raise BrokenError

    async def mute(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with stream_to(mute, read) as stream:
        with pytest.raises(BrokenError):
            await stream.begin()


async def test_cancelled_reader_is_cancelled() -> None:
    async with stream_to(silent, Requests(b"a").read) as stream:
        await stream.begin()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
