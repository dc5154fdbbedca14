"""One gRPC call that is passed through, against a real backend: where it is committed to, how it ends, and what it
leaves behind."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from gateway.config.snapshot import Failure
from gateway.config.upstream import UpstreamConfig, UpstreamProtocol
from gateway.errors import BadGatewayError, TimeoutExceededError, UpstreamStatusError
from gateway.transport.errors import ConnectError
from gateway.transport.grpc import Metadata
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.relayed_call import RelayedCall, relayed_metadata
from gateway.upstream.retry import AttemptFailedError
from tests.gateway.upstream.calls import FAR_AWAY_S, InOrder, LoopClock, endpoint_config, turns
from tests.support.grpc_backend import BackendCall, GrpcBackend
from tests.support.polling import eventually


@pytest.fixture
async def backend() -> AsyncIterator[GrpcBackend]:
    backend = GrpcBackend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest.fixture
async def cluster(backend: GrpcBackend) -> AsyncIterator[Cluster]:
    config = UpstreamConfig(name="pool", endpoints=(endpoint_config(backend.address),), protocol=UpstreamProtocol.GRPC)
    cluster = Cluster(config, random=InOrder())
    yield cluster
    assert cluster.endpoints[0].active_requests == 0
    assert [task for task in asyncio.all_tasks() if "RelayedCall" in repr(task)] == []
    async with asyncio.timeout(5):
        await cluster.connections.close_when_idle()


def relayed(cluster: Cluster, *, deadline_s: float = FAR_AWAY_S, idle_s: float = FAR_AWAY_S) -> RelayedCall:
    """A call, not begun."""
    assert cluster.breaker.try_acquire()
    endpoint = cluster.endpoints[0]
    stream = cluster.connections.grpc.stream(
        endpoint.connect_address,
        "/test.Service/Method",
        is_secure=False,
        server_name=None,
        metadata=(),
        timeout_s=deadline_s,
    )
    deadline = asyncio.get_running_loop().time() + deadline_s
    return RelayedCall(stream, Lease(cluster, endpoint), idle_timeout_s=idle_s, deadline=deadline)


async def messages(*these: bytes) -> AsyncGenerator[bytes, None]:
    for message in these:
        yield message


async def unending(*these: bytes) -> AsyncGenerator[bytes, None]:
    for message in these:
        yield message
    await asyncio.Event().wait()


async def begun(cluster: Cluster, *these: bytes, idle_s: float = FAR_AWAY_S) -> RelayedCall:
    call = relayed(cluster, idle_s=idle_s)
    await call.begin(unending(*these))
    return call


# The commit point.


async def test_call_is_committed_to_at_its_initial_metadata(cluster: Cluster, backend: GrpcBackend) -> None:
    async def begin(call: BackendCall) -> None:
        await call.begin(("x-first", "1"), ("grpc-other", "2"))
        await call.hang()

    backend.script = begin
    call = await begun(cluster)
    assert call.initial_metadata == (("x-first", "1"),)
    assert cluster.endpoints[0].active_requests == 1
    await call.close()
    await backend.calls[0].is_over.wait()
    assert backend.calls[0].was_cancelled


async def test_call_is_committed_to_at_its_first_message(cluster: Cluster, backend: GrpcBackend) -> None:
    call = await begun(cluster, b"a")
    assert await call.read() == b"A"
    await call.close()


async def test_call_is_committed_to_at_its_good_end(cluster: Cluster, backend: GrpcBackend) -> None:
    async def end(call: BackendCall) -> None:
        call.end_with(("x-last", "1"))

    backend.script = end
    call = await begun(cluster)
    assert await call.read() is None
    assert call.trailing_metadata == (("x-last", "1"),)
    await call.close()
    await call.close()


async def test_status_alone_is_a_failed_attempt(cluster: Cluster, backend: GrpcBackend) -> None:
    async def fail(call: BackendCall) -> None:
        await call.fail("UNAVAILABLE", "", ("x-last", "1"), ("x-janua-route", "other"))

    backend.script = fail
    call = relayed(cluster)
    with pytest.raises(AttemptFailedError) as caught:
        await call.begin(unending())
    await call.close()
    assert caught.value.failures == (Failure.GATEWAY_ERROR, Failure.SERVER_ERROR)
    error = caught.value.error
    assert isinstance(error, UpstreamStatusError)
    assert (error.status, error.message, error.trailing_metadata) == ("UNAVAILABLE", "", (("x-last", "1"),))


async def test_status_about_the_request_is_final(cluster: Cluster, backend: GrpcBackend) -> None:
    async def fail(call: BackendCall) -> None:
        await call.fail("NOT_FOUND", "no")

    backend.script = fail
    call = relayed(cluster)
    with pytest.raises(UpstreamStatusError, match="no"):
        await call.begin(unending())
    await call.close()


async def test_nobody_there(cluster: Cluster, backend: GrpcBackend) -> None:
    await backend.stop()
    call = relayed(cluster)
    with pytest.raises(ConnectError):
        await call.begin(unending(b"a"))
    await call.close()


async def test_fault_of_who_reads_from_the_caller_is_not_the_backends(cluster: Cluster, backend: GrpcBackend) -> None:
    async def faulty() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise ZeroDivisionError

    async def take(call: BackendCall) -> None:
        await call.receive_all()

    backend.script = take
    call = relayed(cluster)
    with pytest.raises(ZeroDivisionError):
        await call.begin(faulty())
    await call.close()


# The end.


async def test_messages_and_status_after_the_commit_point(cluster: Cluster, backend: GrpcBackend) -> None:
    async def fail(call: BackendCall) -> None:
        await call.send(b"1", b"2")
        await call.fail("UNAVAILABLE", "broken off", ("x-last", "1"))

    backend.script = fail
    call = await begun(cluster)
    assert [await call.read(), await call.read()] == [b"1", b"2"]
    with pytest.raises(UpstreamStatusError, match="broken off") as caught:
        await call.read()
    assert caught.value.trailing_metadata == (("x-last", "1"),)
    await call.close()


async def test_status_is_the_backends_while_messages_still_go_to_it(cluster: Cluster, backend: GrpcBackend) -> None:
    """Messages that find no taker any more hide neither those that it has sent nor its status."""

    async def enough(call: BackendCall) -> None:
        await call.receive()
        await call.send(*[b"x" * 10_000] * 20)
        await call.fail("OUT_OF_RANGE", "enough")

    backend.script = enough
    for _ in range(20):
        call = relayed(cluster)
        await call.begin(messages(*[bytes(10_000)] * 200))
        assert [await call.read() for _ in range(20)] == [b"x" * 10_000] * 20
        with pytest.raises(UpstreamStatusError, match="enough"):
            await call.read()
        await call.close()


async def test_backend_that_stops_amid_its_answer(cluster: Cluster, backend: GrpcBackend) -> None:
    """Whatever it says to that, it is no good end."""

    async def begin(call: BackendCall) -> None:
        await call.send(b"1")
        await call.hang()

    backend.script = begin
    call = await begun(cluster)
    assert await call.read() == b"1"
    reading = asyncio.create_task(call.read())
    await backend.stop()
    with pytest.raises((BadGatewayError, UpstreamStatusError)):
        await reading
    await call.close()


async def test_own_deadline_is_not_a_failure_of_the_backend(cluster: Cluster, backend: GrpcBackend) -> None:
    async def hang(call: BackendCall) -> None:
        await call.hang()

    backend.script = hang
    call = relayed(cluster, deadline_s=0.2)
    with pytest.raises(TimeoutExceededError, match="time limit") as caught:
        await call.begin(unending())
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    await call.close()


async def test_deadline_of_the_backends_own_is_its_failure(cluster: Cluster, backend: GrpcBackend) -> None:
    async def fail(call: BackendCall) -> None:
        await call.fail("DEADLINE_EXCEEDED", "mine")

    backend.script = fail
    call = relayed(cluster)
    with pytest.raises(AttemptFailedError, match="mine") as caught:
        await call.begin(unending())
    assert caught.value.failures == (Failure.TIMEOUT,)
    await call.close()


# Silence.


async def begin_and_hang(call: BackendCall) -> None:
    await call.begin(("x-first", "1"))
    await call.hang()


async def waiting(call: RelayedCall) -> "asyncio.Task[bytes | None]":
    """A read that has begun."""
    reading = asyncio.create_task(call.read())
    await turns(5)
    return reading


async def test_silence_ends_a_call(cluster: Cluster, backend: GrpcBackend) -> None:
    backend.script = begin_and_hang
    clock = LoopClock()
    call = await begun(cluster, idle_s=30)
    reading = await waiting(call)
    await clock.advance(29)
    assert not reading.done()
    await clock.advance(1.1)
    with pytest.raises(TimeoutExceededError, match="nothing for 30 s") as caught:
        await reading
    assert caught.value.reason == "STREAM_IDLE_TIMEOUT"
    await call.close()


async def test_time_in_which_nobody_reads_is_not_silence(cluster: Cluster, backend: GrpcBackend) -> None:
    backend.script = begin_and_hang
    clock = LoopClock()
    call = await begun(cluster, idle_s=30)
    await clock.advance(100)
    reading = await waiting(call)
    await clock.advance(29)
    assert not reading.done()
    reading.cancel()
    await call.close()


async def test_message_of_the_caller_breaks_the_silence(cluster: Cluster, backend: GrpcBackend) -> None:
    async def begin_and_take(call: BackendCall) -> None:
        await call.begin(("x-first", "1"))
        await call.receive_all()

    backend.script = begin_and_take
    clock = LoopClock()
    gate = asyncio.Event()

    async def late() -> AsyncGenerator[bytes, None]:
        await gate.wait()
        yield b"a"
        await asyncio.Event().wait()

    call = relayed(cluster, idle_s=30)
    await call.begin(late())
    reading = await waiting(call)
    await clock.advance(29)
    gate.set()

    async def has_come() -> bool:
        return bool(backend.calls[0].received)

    await eventually(has_come)
    await turns()
    await clock.advance(29)
    assert not reading.done()
    await clock.advance(2)
    with pytest.raises(TimeoutExceededError):
        await reading
    await call.close()


@pytest.mark.parametrize(
    ("metadata", "relayed_part"),
    [
        ((("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\xff")), (("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\xff"))),
        ((("grpc-status-details-bin", b"x"), ("grpc-tags-bin", b"x")), (("grpc-status-details-bin", b"x"),)),
        ((("connection", "close"), ("te", "trailers"), ("transfer-encoding", "x"), ("content-type", "y")), ()),
        ((("x-janua-route", "other"), ("x-request-id", "other")), ()),
        ((("x-text", "caf\u00e9"), ("x-lines", "a\nb"), ("x-empty", "")), (("x-empty", ""),)),
    ],
)
def test_metadata_that_the_caller_gets(metadata: Metadata, relayed_part: Metadata) -> None:
    assert relayed_metadata(metadata) == relayed_part
