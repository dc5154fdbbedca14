"""gRPC calls that are passed through and go wrong: what is tried again, what ends when, and what is left behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from grpc import aio

from tests.conformance.gateway import Gateway
from tests.conformance.grpc_proxying import (
    METHOD,
    GrpcClient,
    grpc_pool,
    one_after_another,
    outcome,
    several_services,
)
from tests.conformance.polling import eventually
from tests.conformance.unanswering import unanswering_address
from tests.support.grpc_backend import BackendCall, Backends, GrpcBackend, Script, shout, starting_backends

PROMPTLY_S = 2.0

# Larger than all buffers on the way together: gRPC widens its windows by what it measures, most on a busy machine.
BLOCKING_BYTES = 64 * 1024 * 1024

AT_ONCE = {"retry_back_off": {"base_interval": "1ms", "max_interval": "1ms"}}


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    """Starts scripted backends: `first, second = await backends(2)`."""
    async with starting_backends() as start:
        yield start


@pytest.fixture
async def backend(backends: Backends) -> GrpcBackend:
    """One scripted backend."""
    (backend,) = await backends(1)
    return backend


@pytest.fixture
async def client(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> GrpcClient:
    """A client of a node that passes everything to one backend."""
    await gateway.apply(grpc_pool(backend.address))
    return GrpcClient(channel)


def failing(code: str, text: str = "", *, after: int = 0) -> Script:
    """Reads that many messages and fails."""

    async def fail(call: BackendCall) -> None:
        for _ in range(after):
            await call.receive()
        await call.fail(code, text)

    return fail


def answering(*messages: bytes) -> Script:
    """Takes all messages and sends these."""

    async def answer(call: BackendCall) -> None:
        await call.receive_all()
        await call.send(*messages)

    return answer


async def hang(call: BackendCall) -> None:
    await call.hang()


async def begin_and_hang(call: BackendCall) -> None:
    await call.begin(("x-first", "1"))
    await call.send(b"first")
    await call.hang()


async def was_cancelled(call: BackendCall) -> None:
    """Returns once the call has been cancelled."""
    async with asyncio.timeout(PROMPTLY_S):
        await call.is_over.wait()
    assert call.was_cancelled


# Other endpoints, other backends.


@pytest.mark.parametrize("status", ["UNAVAILABLE"])
@pytest.mark.parametrize("messages", [(b"a",), (b"a", b"b", b"c"), ()])
async def test_failure_before_the_answer_is_tried_on_another_endpoint(
    gateway: Gateway, channel: aio.Channel, backends: Backends, status: str, messages: tuple[bytes, ...]
) -> None:
    """All that the caller has sent is sent again, whether the first has read it or not."""
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))
    first.script, second.script = failing(status, after=len(messages)), answering(b"done")
    came = await GrpcClient(channel).call(*messages)
    assert (came.status, came.messages, came.values("x-janua-attempts")) == ("OK", [b"done"], ["2"])
    assert came.values("x-janua-endpoint") == [second.address]
    assert second.calls[0].received == list(messages)


async def test_retry_amid_the_callers_messages(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    """The message that nobody had read yet when the first failed goes to the second, once."""
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))
    first.script = failing("UNAVAILABLE", after=1)
    call = GrpcClient(channel).open()
    await call.write(b"a")
    await second.wait_for_calls(1)
    for message in (b"b", b"c"):
        await call.write(message)
    await call.done_writing()
    assert (await outcome(call)).messages == [b"A", b"B", b"C"]
    assert second.calls[0].received == [b"a", b"b", b"c"]


async def test_endpoint_that_cannot_be_reached(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    first, second = await backends(2)
    await first.stop()
    await gateway.apply(one_after_another(first.address, second.address))
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.messages, came.values("x-janua-attempts")) == ("OK", [b"A"], ["2"])


async def test_no_endpoint_can_be_reached(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    await backend.stop()
    await gateway.apply(grpc_pool(backend.address, service={"retry_policy": {"num_retries": 1, **AT_ONCE}}))
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.reason) == ("UNAVAILABLE", "UPSTREAM_UNREACHABLE")
    assert "connection refused" in came.text
    assert came.values("x-janua-attempts") == ["2"]


async def test_endpoint_that_takes_no_connection(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    with unanswering_address() as address:
        upstream = {"connection_pool": {"connect_timeout": "0.2s"}}
        await gateway.apply(one_after_another(address, backend.address, upstream=upstream))
        came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.messages) == ("OK", [b"A"])


async def test_last_failure_is_the_one_told(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address, service={"retry_policy": {"num_retries": 1}}))
    first.script, second.script = failing("UNAVAILABLE", "first"), failing("UNAVAILABLE", "second")
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.text) == ("UNAVAILABLE", "second")


async def test_status_about_the_request_itself_is_not_tried_again(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))
    first.script = failing("INVALID_ARGUMENT", "no")
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.text, len(second.calls)) == ("INVALID_ARGUMENT", "no", 0)


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "DEADLINE_EXCEEDED"])
async def test_route_goes_on_to_its_next_backend(
    gateway: Gateway, channel: aio.Channel, backends: Backends, status: str
) -> None:
    first, second = await backends(2)
    route = {
        "backends": [{"service": "first"}, {"service": "second", "priority": 1}],
        "retry_policy": {"num_retries": 0},
    }
    await gateway.apply(several_services(route, first=first.address, second=second.address))
    first.script = failing(status)
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.messages, came.values("x-janua-service")) == ("OK", [b"A"], ["second"])


async def test_nothing_is_tried_again_after_the_first_message(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))

    async def break_off(call: BackendCall) -> None:
        await call.send(b"first")
        await call.fail("UNAVAILABLE", "broken off")

    first.script = break_off
    came = await GrpcClient(channel).call(b"a")
    assert (came.messages, came.status, came.text) == ([b"first"], "UNAVAILABLE", "broken off")
    assert second.calls == []


async def test_nothing_is_tried_again_after_the_initial_metadata(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))
    is_seen = asyncio.Event()

    async def break_off(call: BackendCall) -> None:
        await call.begin()
        await is_seen.wait()
        await call.fail("UNAVAILABLE", "broken off")

    first.script = break_off
    call = GrpcClient(channel).open()
    await call.initial_metadata()
    is_seen.set()
    assert (await outcome(call)).text == "broken off"
    assert second.calls == []


async def test_messages_that_are_not_kept_are_not_sent_again(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    """More than 64 KiB in several messages cannot be repeated: the first failure stands."""
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))
    first.script = failing("UNAVAILABLE", "too late", after=3)
    came = await GrpcClient(channel).call(*[bytes(40_000)] * 3)
    assert (came.status, came.text, len(second.calls)) == ("UNAVAILABLE", "too late", 0)


async def test_single_large_message_is_sent_again(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    first, second = await backends(2)
    await gateway.apply(one_after_another(first.address, second.address))
    first.script = failing("UNAVAILABLE", after=1)
    assert (await GrpcClient(channel).call(bytes(1_000_000))).messages == [bytes(1_000_000)]


async def test_endpoint_that_is_silent_for_the_time_of_a_try(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    first, second = await backends(2)
    policy = {"per_try_timeout": "0.2s", "retry_on": ["TIMEOUT"]}
    await gateway.apply(one_after_another(first.address, second.address, service={"retry_policy": policy}))
    first.script = hang
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.messages, came.values("x-janua-attempts")) == ("OK", [b"A"], ["2"])
    await was_cancelled(first.calls[0])


# Time.


async def test_callers_deadline_is_the_backends(client: GrpcClient, backend: GrpcBackend) -> None:
    await client.call(b"a", timeout_s=5)
    remaining_s = backend.calls[0].remaining_s
    assert remaining_s is not None
    assert 3 < remaining_s < 5.1  # the header has few digits, rounded up


async def test_each_limit_can_only_shorten_the_backends_deadline(
    gateway: Gateway, channel: aio.Channel, backend: GrpcBackend
) -> None:
    await gateway.apply(grpc_pool(backend.address, route={"timeouts": {"request": "20s"}}))
    client = GrpcClient(channel)
    await client.call(b"a")
    await client.call(b"a", timeout_s=50)
    await client.call(b"a", timeout_s=50, metadata=[("x-janua-timeout-ms", "10000")])
    await client.call(b"a", metadata=[("x-janua-timeout-ms", "30000")])
    told = [call.remaining_s for call in backend.calls]
    assert [round(each) for each in told if each is not None] == [20, 20, 10, 20]


@pytest.mark.parametrize("script", [hang, begin_and_hang])
async def test_time_for_the_request(
    gateway: Gateway, channel: aio.Channel, backend: GrpcBackend, script: Script
) -> None:
    await gateway.apply(grpc_pool(backend.address, route={"timeouts": {"request": "0.4s"}}))
    backend.script = script
    came = await GrpcClient(channel).call(b"a")
    assert (came.status, came.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    await was_cancelled(backend.calls[0])
    assert len(backend.calls) == 1


@pytest.mark.parametrize("script", [hang, begin_and_hang])
async def test_callers_deadline_ends_the_backends_work(
    client: GrpcClient, backend: GrpcBackend, script: Script
) -> None:
    backend.script = script
    assert (await client.call(b"a", timeout_s=0.4)).status == "DEADLINE_EXCEEDED"
    await was_cancelled(backend.calls[0])


async def test_silence_within_an_answer(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    await gateway.apply(grpc_pool(backend.address, route={"timeouts": {"stream_idle": "0.3s"}}))
    backend.script = begin_and_hang
    came = await GrpcClient(channel).call(b"a", metadata=[("x-request-id", "silent")])
    assert (came.messages, came.status, came.reason) == ([b"first"], "DEADLINE_EXCEEDED", "STREAM_IDLE_TIMEOUT")
    await was_cancelled(backend.calls[0])
    assert (await gateway.access_log_entry("silent"))["reason"] == "STREAM_IDLE_TIMEOUT"


async def test_stream_in_which_either_side_speaks_is_not_silent(
    gateway: Gateway, channel: aio.Channel, backend: GrpcBackend
) -> None:
    await gateway.apply(grpc_pool(backend.address, route={"timeouts": {"stream_idle": "0.5s"}}))

    async def sum_up(call: BackendCall) -> None:
        await call.begin()
        received = await call.receive_all()
        for _ in range(4):
            await asyncio.sleep(0.25)
            await call.send(b"%d" % len(received))

    backend.script = sum_up
    call = GrpcClient(channel).open()
    for _ in range(4):
        await asyncio.sleep(0.25)
        await call.write(b"x")
    await call.done_writing()
    assert (await outcome(call)).messages == [b"4"] * 4


async def test_slow_caller_is_not_a_silent_backend(
    gateway: Gateway, channel: aio.Channel, backend: GrpcBackend
) -> None:
    await gateway.apply(grpc_pool(backend.address, route={"timeouts": {"stream_idle": "0.3s"}}))
    count = 64
    backend.script = answering(*[bytes(BLOCKING_BYTES // count)] * count)
    call = GrpcClient(channel).open()
    await call.done_writing()
    await call.initial_metadata()
    await blocked(lambda: backend.calls[0].sent)
    await asyncio.sleep(0.6)  # twice the silence that ends an answer
    came = await outcome(call)
    assert (came.status, len(came.messages)) == ("OK", count)


# Those who leave.


@pytest.mark.parametrize("script", [hang, begin_and_hang])
async def test_caller_that_leaves_ends_the_backends_work(
    gateway: Gateway, client: GrpcClient, backend: GrpcBackend, script: Script
) -> None:
    backend.script = script
    call = client.open(metadata=[("x-request-id", f"left-{script.__name__}")])
    await call.write(b"a")
    await backend.wait_for_calls(1)
    if script is begin_and_hang:
        assert await call.read() == b"first"
    call.cancel()
    await was_cancelled(backend.calls[0])
    await gateway.wait_until_idle()
    entry = await gateway.access_log_entry(f"left-{script.__name__}")
    assert (entry["status"], entry["reason"]) == ("CANCELLED", "CLIENT_GONE")


async def test_upload_that_is_cancelled_is_not_taken_for_a_whole_one(client: GrpcClient, backend: GrpcBackend) -> None:
    async def take(call: BackendCall) -> None:
        await call.begin()
        await call.receive_all()
        await call.send(b"stored")

    backend.script = take
    for _ in range(10):
        call = client.open()
        await call.write(b"a")
        await call.write(b"b")
        await call.initial_metadata()
        call.cancel()
    await backend.wait_for_calls(10)
    for taken in backend.calls:
        await was_cancelled(taken)
        assert not taken.was_ended


async def test_leaving_an_answer_that_one_could_not_keep_up_with(client: GrpcClient, backend: GrpcBackend) -> None:
    async def endless(call: BackendCall) -> None:
        while True:
            await call.send(bytes(100_000))

    backend.script = endless
    call = client.open()
    await call.initial_metadata()
    await blocked(lambda: backend.calls[0].sent)
    call.cancel()
    await was_cancelled(backend.calls[0])


async def test_leaving_between_two_attempts(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    # The waits are random, up to ten minutes: the chance that ten are over in this test is none.
    policy = {"num_retries": 10, "retry_back_off": {"base_interval": "600s"}}
    await gateway.apply(grpc_pool(backend.address, service={"retry_policy": policy}))
    backend.script = failing("UNAVAILABLE")
    call = GrpcClient(channel).open()
    await call.write(b"a")
    await backend.wait_for_calls(1)
    await gateway.wait_for_active_requests(1)
    call.cancel()
    await gateway.wait_until_idle()


async def test_leaving_at_any_moment(gateway: Gateway, client: GrpcClient, backend: GrpcBackend) -> None:
    backend.script = shout
    for turns in range(100):
        call = client.open()
        writing = asyncio.create_task(call.write(b"a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        writing.cancel()  # of a call that has not begun, grpcio would wait for ever
        await asyncio.gather(writing, return_exceptions=True)
    await gateway.wait_until_idle()
    assert (await client.call(b"a")).messages == [b"A"]


# Those who are slow.


async def blocked(progress: Callable[[], int]) -> None:
    """Returns once something that has begun has not gone on for 0.3 s."""
    seen = [0]

    async def has_stopped() -> bool:
        seen.append(progress())
        return len(seen) > 30 and seen[-1] == seen[-30] > 0

    await eventually(has_stopped, "it goes on no more")


async def test_slow_caller_makes_the_backend_wait_and_not_the_node_grow(
    gateway: Gateway, client: GrpcClient, backend: GrpcBackend
) -> None:
    count = 512
    backend.script = answering(*[bytes(BLOCKING_BYTES // count)] * count)
    before = gateway.process.resident_bytes
    calls = [client.open() for _ in range(4)]
    for call in calls:
        await call.done_writing()
        await call.initial_metadata()
    await backend.wait_for_calls(4)
    await blocked(lambda: sum(call.sent for call in backend.calls))
    assert all(call.sent < count / 2 for call in backend.calls)
    assert gateway.process.resident_bytes - before < BLOCKING_BYTES / 2
    for call in calls:
        assert len((await outcome(call)).messages) == count


async def test_slow_backend_makes_the_caller_wait_and_not_the_node_grow(
    gateway: Gateway, client: GrpcClient, backend: GrpcBackend
) -> None:
    count = 512
    may_read = asyncio.Event()

    async def wait_and_take(call: BackendCall) -> None:
        await may_read.wait()
        await call.send(b"%d" % len(await call.receive_all()))

    backend.script = wait_and_take
    before = gateway.process.resident_bytes
    call = client.open()
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(count):
            await call.write(bytes(BLOCKING_BYTES // count))
            written += 1
        await call.done_writing()

    writing = asyncio.create_task(write())
    await blocked(lambda: written)
    assert written < count / 2
    assert gateway.process.resident_bytes - before < BLOCKING_BYTES
    may_read.set()
    await writing
    assert (await outcome(call)).messages == [b"%d" % count]


# Those who break.


@asynccontextmanager
async def cable(address: str) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """A way to an address that can be cut: what it listens on, and what cuts it."""
    writers: list[asyncio.StreamWriter] = []
    host, _, port = address.rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, to_writer))
        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)

    async def cut() -> None:
        server.close()
        for writer in writers:
            writer.transport.abort()

    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        await cut()


async def test_backend_that_breaks_amid_its_answer(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    first, second = await backends(2)
    async with cable(first.address) as (address, cut):
        await gateway.apply(one_after_another(address, second.address))
        first.script = begin_and_hang
        call = GrpcClient(channel).open(metadata=[("x-request-id", "cut")])
        assert await call.read() == b"first"
        await cut()
        came = await outcome(call)
    assert (came.status, came.reason, came.messages) == ("UNAVAILABLE", "UPSTREAM_CUT", [])
    assert second.calls == []
    assert (await gateway.access_log_entry("cut"))["status"] == "UNAVAILABLE"


async def test_backend_that_breaks_before_its_answer(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    first, second = await backends(2)
    async with cable(first.address) as (address, cut):
        await gateway.apply(one_after_another(address, second.address))
        first.script = hang
        call = GrpcClient(channel).open()
        await call.write(b"a")
        await first.wait_for_calls(1)
        await cut()
        await call.done_writing()
        came = await outcome(call)
    assert (came.status, came.messages, came.values("x-janua-attempts")) == ("OK", [b"A"], ["2"])


async def test_broken_answers_make_an_endpoint_an_outlier(
    gateway: Gateway, channel: aio.Channel, backend: GrpcBackend
) -> None:
    async with cable(backend.address) as (address, cut):
        detection = {"consecutive_local_origin_failure": 1, "max_ejection_percent": 100}
        await gateway.apply(grpc_pool(address, upstream={"outlier_detection": detection}))
        backend.script = begin_and_hang
        call = GrpcClient(channel).open()
        assert await call.read() == b"first"
        await cut()
        assert (await outcome(call)).reason == "UPSTREAM_CUT"
    (endpoint,) = await gateway.endpoints()
    assert endpoint["healthy"] is False


# Copies.


async def mirrored(gateway: Gateway, real: GrpcBackend, shadow: GrpcBackend) -> None:
    route = {"backends": [{"service": "real"}], "mirror": {"service": "shadow"}}
    await gateway.apply(several_services(route, real=real.address, shadow=shadow.address))


async def test_copy_of_a_call_goes_to_the_mirror(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    real, shadow = await backends(2)
    await mirrored(gateway, real, shadow)
    shadow.script = answering(*[b"x"] * 10)
    came = await GrpcClient(channel).call(b"a", metadata=[("x-own", "1"), ("authorization", "Bearer secret")])
    assert (came.messages, came.values("x-janua-service")) == ([b"A"], ["real"])
    (copy,) = await shadow.wait_for_calls(1)
    await copy.is_over.wait()
    assert (copy.method, copy.received, copy.value("x-own")) == (METHOD, [b"a"], "1")
    assert (copy.value("authorization"), copy.sent) == (None, 10)


async def test_failure_of_the_mirror_changes_nothing(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    real, shadow = await backends(2)
    await mirrored(gateway, real, shadow)
    shadow.script = failing("UNAVAILABLE")
    assert (await GrpcClient(channel).call(b"a")).messages == [b"A"]
    await shadow.wait_for_calls(1)


async def test_call_that_goes_on_is_not_copied(gateway: Gateway, channel: aio.Channel, backends: Backends) -> None:
    real, shadow = await backends(2)
    await mirrored(gateway, real, shadow)
    call = GrpcClient(channel).open()
    for message in (b"a", b"b"):
        await call.write(message)
        assert await call.read() == message.upper()
    await call.done_writing()
    assert (await outcome(call)).status == "OK"
    assert (await GrpcClient(channel).call(b"a", b"b")).messages == [b"A", b"B"]
    assert shadow.calls == []
