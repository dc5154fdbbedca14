"""The subscriber's connection: failover, back-off, dead servers, large syncs, and a clean end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
import structlog
from grpc import aio
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest

from gateway.config.back_off import CEILING_S, FLOOR_S
from gateway.config.resources import ROUTE, SERVICE, SYNC_STATE, UPSTREAM
from gateway.config.subscriber import ConnectionTimes, Subscriber, _end_of
from tests.gateway.config.frozen_proxy import frozen_proxy
from tests.gateway.config.recording_sink import NODE, Pauses, RecordingSink, running
from tests.gateway.config.scripted_server import ScriptedServer, is_ack, resource, scripted_server

_PING_BYTES = 17


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running_server:
        yield running_server


@pytest.fixture
async def other() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running_server:
        yield running_server


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@asynccontextmanager
async def unused_address() -> AsyncIterator[str]:
    """An address that nobody serves, and that nobody else takes meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def test_a_subscriber_without_servers_is_refused(sink: RecordingSink) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Subscriber([], NODE, sink)


async def test_rule_55_back_off_grows_and_is_reset_by_a_response_only(
    server: ScriptedServer, sink: RecordingSink
) -> None:
    pauses = Pauses(is_held=True)
    async with running(Subscriber([server.address], NODE, sink, sleep=pauses, random=lambda: 1.0)):
        for _ in range(12):
            (await server.next_stream()).end()
            await pauses.begun()
            pauses.let_go()
        assert pauses.lengths_s == [FLOOR_S * 2**number for number in range(1, 11)] + [CEILING_S] * 2
        # A stream that opens and brings nothing does not count; one that brings a response does.
        stream = await server.next_stream()
        await stream.receive_opening()
        await stream.exchange(UPSTREAM)
        stream.end()
        assert await pauses.begun() == FLOOR_S * 2


async def test_rule_57_servers_are_tried_in_turn(
    server: ScriptedServer, other: ScriptedServer, sink: RecordingSink
) -> None:
    async with unused_address() as nobody:
        servers = [nobody, server.address, other.address]
        async with running(Subscriber(servers, NODE, sink, sleep=Pauses())) as subscriber:
            stream = await server.next_stream()
            await stream.receive_opening()
            await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a")])
            assert subscriber.status.server == server.address
            stream.end()
            stream = await other.next_stream()
            upstreams, *_ = await stream.receive_opening()
            assert dict(upstreams.initial_resource_versions) == {"a": "v1"}
            stream.end()
            await (await server.next_stream()).receive_opening()
            assert subscriber.status.counters.attempts == 5


async def test_a_server_killed_in_mid_sync_is_resumed_at_the_next(
    server: ScriptedServer, other: ScriptedServer, sink: RecordingSink
) -> None:
    async with running(Subscriber([server.address, other.address], NODE, sink, sleep=Pauses())):
        stream = await server.next_stream()
        await stream.receive_opening()
        await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a")])
        await stream.exchange(ROUTE, [resource(ROUTE, f"route-{number}") for number in range(500)])
        await server.stop()

        stream = await other.next_stream()
        opening = await stream.receive_opening()
        held = {request.type_url: len(request.initial_resource_versions) for request in opening}
        assert (held[UPSTREAM], held[ROUTE], held[SERVICE]) == (1, 500, 0)
        assert sink.syncs.empty()
        await stream.exchange(ROUTE, [resource(ROUTE, "last")])
        await stream.send_synced()
        await sink.next_sync()
        assert len(sink.held[ROUTE]) == 501


async def test_a_server_that_comes_back_is_found_again(server: ScriptedServer, sink: RecordingSink) -> None:
    async with running(Subscriber([server.address], NODE, sink)) as subscriber:
        stream = await server.next_stream()
        await stream.exchange_opening()
        await server.stop()
        await stream.closed()
        await server.start()
        stream = await server.next_stream()
        await stream.exchange_opening()
        assert subscriber.status.is_connected
        assert subscriber.status.counters.streams == 2


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.OK,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ],
)
async def test_whatever_ends_a_stream_the_next_try_comes_soon(
    server: ScriptedServer, sink: RecordingSink, code: grpc.StatusCode
) -> None:
    pauses = Pauses()
    async with running(Subscriber([server.address], NODE, sink, sleep=pauses, random=lambda: 1.0)) as subscriber:
        stream = await server.next_stream()
        await stream.exchange_opening()
        stream.end(code, "for a reason")
        await (await server.next_stream()).receive_opening()
        assert pauses.lengths_s == [FLOOR_S * 2]
        assert subscriber.status.last_error is not None
        assert ("ENDED" if code is grpc.StatusCode.OK else code.name) in subscriber.status.last_error


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED], ids=str)
async def test_a_server_that_refuses_is_tried_slowly_and_the_log_says_so(
    server: ScriptedServer, sink: RecordingSink, code: grpc.StatusCode
) -> None:
    pauses = Pauses(is_held=True)
    with structlog.testing.capture_logs() as log:
        async with running(Subscriber([server.address], NODE, sink, sleep=pauses, random=lambda: 0.0)):
            for _ in range(3):
                (await server.next_stream()).end(code, "go away")
                assert await pauses.begun() == CEILING_S / 2
                pauses.let_go()
    (entry,) = log
    assert (entry["log_level"], entry["server"], entry["code"]) == ("error", server.address, code.name)
    assert entry["reason"] == "go away"


class EndedCall:
    """A stream whose status is read a moment after a write on it has failed."""

    def __init__(self) -> None:
        self._status = (grpc.StatusCode.INTERNAL, "Internal error from Core")
        asyncio.get_running_loop().call_later(0.01, self._read)

    def _read(self) -> None:
        self._status = (grpc.StatusCode.UNAUTHENTICATED, "this token is not known")

    async def code(self) -> grpc.StatusCode:
        return self._status[0]

    async def details(self) -> str:
        return self._status[1]


async def test_a_write_that_fails_does_not_hide_why_the_stream_has_ended() -> None:
    error = aio.AioRpcError(grpc.StatusCode.INTERNAL, aio.Metadata(), aio.Metadata(), "Internal error from Core")
    end = await _end_of(cast("Any", EndedCall()), error)
    assert (end.code, end.reason, end.is_refused) == ("UNAUTHENTICATED", "this token is not known", True)


async def test_one_server_that_refuses_does_not_slow_the_way_to_the_next(
    server: ScriptedServer, other: ScriptedServer, sink: RecordingSink
) -> None:
    pauses = Pauses(is_held=True)
    async with running(Subscriber([server.address, other.address], NODE, sink, sleep=pauses, random=lambda: 0.0)):
        (await server.next_stream()).end(grpc.StatusCode.PERMISSION_DENIED)
        assert await pauses.begun() == FLOOR_S
        pauses.let_go()
        (await other.next_stream()).end(grpc.StatusCode.PERMISSION_DENIED)
        assert await pauses.begun() == CEILING_S / 2


async def test_state_changes_are_logged_once_each(server: ScriptedServer, sink: RecordingSink) -> None:
    pauses = Pauses(is_held=True)
    with structlog.testing.capture_logs() as log:
        async with running(Subscriber([server.address], NODE, sink, sleep=pauses)):
            await (await server.next_stream()).exchange_opening()
            await server.stop()
            for _ in range(5):
                await pauses.begun()
                pauses.let_go()
            await server.start()
            stream = await server.next_stream()
            await stream.exchange_opening()
            stream.end()
            await pauses.begun()
    messages = [entry["event"].partition(":")[0] for entry in log]
    up, down = "connected to config server", "lost config server"
    # What the tries in between add is at most that nobody listens there any more.
    assert [message for message in messages if message in (up, down)] == [up, down, up, down]
    assert len(messages) <= 5


async def test_status_says_what_is_connected_and_counts(server: ScriptedServer, sink: RecordingSink) -> None:
    pauses = Pauses(is_held=True)
    async with running(Subscriber([server.address], NODE, sink, sleep=pauses)) as subscriber:
        status = subscriber.status
        stream = await server.next_stream()
        await stream.receive_opening()
        assert not status.is_connected
        assert subscriber.channel is None
        sink.refuse(UPSTREAM, "bad")
        await stream.exchange(UPSTREAM, [resource(UPSTREAM, "bad")])
        await stream.exchange(ROUTE, [resource(ROUTE, "good")])
        assert (status.is_connected, status.server) == (True, server.address)
        assert subscriber.channel is not None
        counters = status.counters
        assert (counters.attempts, counters.streams) == (1, 1)
        assert (counters.responses, counters.acks, counters.nacks) == (2, 1, 1)
        stream.end(details="shutting down")
        await pauses.begun()
        assert (status.is_connected, status.server, subscriber.channel) == (False, None, None)
        assert status.last_error == f"{server.address}: UNAVAILABLE: shutting down"


async def test_the_next_stream_can_be_waited_for(server: ScriptedServer, sink: RecordingSink) -> None:
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())) as subscriber:
        waiting = asyncio.create_task(subscriber.next_stream(0))
        stream = await server.next_stream()
        await stream.exchange_opening()
        assert await waiting == 1
        assert await subscriber.next_stream(0) == 1
        waiting = asyncio.create_task(subscriber.next_stream(1))
        stream.end()
        await (await server.next_stream()).exchange_opening()
        assert await waiting == 2


async def test_bytes_that_are_no_response_end_the_stream_not_the_subscriber(
    server: ScriptedServer, sink: RecordingSink
) -> None:
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())) as subscriber:
        stream = await server.next_stream()
        await stream.receive_opening()
        await stream.send_raw(b"\x0a\xff\xff")
        await (await server.next_stream()).exchange_opening()
        assert subscriber.status.last_error is not None
        assert "MALFORMED" in subscriber.status.last_error


async def test_a_server_that_says_nothing_is_given_up(server: ScriptedServer, sink: RecordingSink) -> None:
    times = ConnectionTimes(first_response_s=0.05)
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses(), times=times)) as subscriber:
        await (await server.next_stream()).closed()
        await server.next_stream()
        assert subscriber.status.last_error == f"{server.address}: SILENT: no response within 0.05 s"


def test_a_dead_server_is_noticed_within_30_seconds() -> None:
    times = ConnectionTimes()
    assert times.keepalive_s + times.keepalive_timeout_s <= 30
    assert max(times.connect_s, times.first_response_s) <= 30


async def test_a_connection_gone_dead_is_noticed_though_nothing_is_sent(
    server: ScriptedServer, other: ScriptedServer, sink: RecordingSink
) -> None:
    times = ConnectionTimes(keepalive_s=0.1, keepalive_timeout_s=0.2)
    async with frozen_proxy(server.port) as proxy:
        subscriber = Subscriber([proxy.address, other.address], NODE, sink, sleep=Pauses(), times=times)
        async with running(subscriber):
            await (await server.next_stream()).exchange_opening()
            proxy.freeze()
            await (await other.next_stream()).exchange_opening()
            assert subscriber.status.server == other.address


async def test_a_long_idle_stream_goes_on_being_checked(server: ScriptedServer, sink: RecordingSink) -> None:
    times = ConnectionTimes(keepalive_s=0.05, keepalive_timeout_s=5)
    async with frozen_proxy(server.port) as proxy:
        subscriber = Subscriber([proxy.address], NODE, sink, sleep=Pauses(), times=times)
        async with running(subscriber):
            stream = await server.next_stream()
            await stream.exchange_opening()
            # By default the third ping without data would wait for a minute. There is at most one a second.
            await proxy.bytes_from_client(4 * _PING_BYTES)
            await stream.exchange(ROUTE)
            assert subscriber.status.counters.streams == 1


async def test_a_proxy_that_never_answers_does_not_hold_up_the_next_server(
    other: ScriptedServer, sink: RecordingSink
) -> None:
    times = ConnectionTimes(connect_s=0.2)
    async with frozen_proxy(other.port) as proxy:
        proxy.freeze()
        servers = [proxy.address, other.address]
        async with running(Subscriber(servers, NODE, sink, sleep=Pauses(), times=times)):
            await (await other.next_stream()).exchange_opening()


async def test_subscribers_of_one_process_have_connections_of_their_own(server: ScriptedServer) -> None:
    subscribers = [Subscriber([server.address], NODE, RecordingSink(), sleep=Pauses()) for _ in range(2)]
    async with running(subscribers[0]), running(subscribers[1]):
        peers = {(await server.next_stream()).peer for _ in subscribers}
        assert len(peers) == 2


async def test_proxies_of_the_environment_are_not_asked(
    server: ScriptedServer, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with unused_address() as nobody:
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://{nobody}")
        for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())):
            await (await server.next_stream()).exchange_opening()


async def test_a_response_larger_than_grpc_allows_by_default_is_taken(
    server: ScriptedServer, sink: RecordingSink
) -> None:
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())):
        stream = await server.next_stream()
        await stream.receive_opening()
        large = resource(UPSTREAM, "a", description="x" * 10_000_000)
        assert is_ack(await stream.exchange(UPSTREAM, [large]))


async def test_20000_resources_are_synced_and_resumed(server: ScriptedServer, sink: RecordingSink) -> None:
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())):
        stream = await server.next_stream()
        await stream.receive_opening()
        for start in range(0, 20_000, 500):
            page = [resource(ROUTE, f"route-{number}", f"version-{number}") for number in range(start, start + 500)]
            assert is_ack(await stream.exchange(ROUTE, page))
        await stream.send_synced(revision=20_000)
        assert await sink.next_sync() == ("epoch", 20_000)
        assert len(sink.held[ROUTE]) == 20_000
        stream.end()
        routes = _of_type(await (await server.next_stream()).receive_opening(), ROUTE)
        assert len(routes.initial_resource_versions) == 20_000
        assert routes.initial_resource_versions["route-19999"] == "version-19999"


@pytest.mark.parametrize("when", ["connecting", "open", "updating", "pausing"])
async def test_cancelling_leaves_no_task_behind(server: ScriptedServer, sink: RecordingSink, when: str) -> None:
    before = asyncio.all_tasks()
    pauses = Pauses(is_held=True)
    sink.gates[UPSTREAM] = asyncio.Event()
    async with unused_address() as nobody:
        address = nobody if when == "pausing" else server.address
        async with running(Subscriber([address], NODE, sink, sleep=pauses)):
            match when:
                case "connecting":
                    await asyncio.sleep(0)
                case "open":
                    await (await server.next_stream()).receive_opening()
                case "updating":
                    stream = await server.next_stream()
                    await stream.receive_opening()
                    await stream.send(UPSTREAM, [resource(UPSTREAM, "a")])
                    await sink.next_update()
                case "pausing":
                    await pauses.begun()
    if when in {"open", "updating"}:
        await server.stop()
    assert {task for task in asyncio.all_tasks() - before if not _is_of_server(task)} == set()


async def test_an_error_of_the_sink_comes_out_of_run(server: ScriptedServer, sink: RecordingSink) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("a fault of the sink")

    sink.on_update = fail
    running_task = asyncio.create_task(Subscriber([server.address], NODE, sink, sleep=Pauses()).run())
    stream = await server.next_stream()
    await stream.receive_opening()
    await stream.send(UPSTREAM, [resource(UPSTREAM, "a")])
    with pytest.raises(ExceptionGroup) as caught:
        await running_task
    assert caught.group_contains(ZeroDivisionError, match="a fault of the sink")


async def test_hooks_before_and_between_streams_do_no_harm(server: ScriptedServer, sink: RecordingSink) -> None:
    pauses = Pauses(is_held=True)
    subscriber = Subscriber([server.address], NODE, sink, sleep=pauses)
    subscriber.refresh_secret_names()
    subscriber.recover(ROUTE, ["a"])
    async with running(subscriber):
        (await server.next_stream()).end()
        await pauses.begun()
        subscriber.refresh_secret_names()
        subscriber.recover(ROUTE, ["a"])
        pauses.let_go()
        routes = _of_type(await (await server.next_stream()).receive_opening(), ROUTE)
        assert list(routes.resource_names_subscribe) == ["*"]


async def test_a_secret_named_between_streams_is_asked_for_at_once(server: ScriptedServer, sink: RecordingSink) -> None:
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())) as subscriber:
        stream = await server.next_stream()
        await stream.receive_opening()
        sink.secrets = {"a"}
        subscriber.refresh_secret_names()
        assert list((await stream.receive()).resource_names_subscribe) == ["a"]
        # The next stream begins blank: the secret is in its opening, and not once more behind it.
        stream.end()
        stream = await server.next_stream()
        first = await stream.receive()
        assert list(first.resource_names_subscribe) == ["a"]
        await stream.receive_opening()
        await stream.exchange(SYNC_STATE)


def _of_type(requests: list[DeltaDiscoveryRequest], type_url: str) -> DeltaDiscoveryRequest:
    (found,) = (request for request in requests if request.type_url == type_url)
    return found


def _is_of_server(task: asyncio.Task[object]) -> bool:
    """Whether it is a task of the scripted server, which shares the event loop."""
    return "/aio/server.pyx" in repr(task)
