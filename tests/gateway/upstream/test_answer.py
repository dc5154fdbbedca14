"""The rest of a streamed answer: whole or an error, never a silent end; time limits that count the upstream's silence
and not the client's."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from gateway.errors import BadGatewayError, TimeoutExceededError
from gateway.types import Usage
from gateway.upstream.answer import AnswerStream, StreamAnswer, UpstreamStreamError
from gateway.upstream.cluster import Cluster
from tests.gateway.upstream.calls import (
    DONE,
    EVENTS,
    FINISH,
    HELLO,
    ROLE,
    STREAM,
    THERE,
    LoopClock,
    attempt,
    chat_request,
    cluster_of,
    turns,
    until,
)
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, sse

(ERROR,) = sse({"error": {"message": "overloaded"}}, done=False)
USAGE = sse(*scripts.chat_events("hello there", model="m", usage=True))


@pytest.fixture
async def cluster(faulty_upstream: FaultyUpstream) -> AsyncIterator[Cluster]:
    cluster = cluster_of(faulty_upstream.address)
    yield cluster
    assert [endpoint.active_requests for endpoint in cluster.endpoints] == [0]
    await cluster.connections.close()


async def committed(cluster: Cluster, **limits: float) -> AnswerStream:
    answer = await attempt(cluster, cluster.endpoints[0], chat_request(stream=True, **limits))
    assert isinstance(answer, StreamAnswer)
    return answer.rest


async def read_all(stream: AnswerStream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def test_whole_stream(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    answer = await attempt(cluster, cluster.endpoints[0], chat_request(stream=True))
    assert isinstance(answer, StreamAnswer)
    assert answer.first + await read_all(answer.rest) == b"".join(EVENTS)
    assert await answer.rest.read() == b""
    answer.rest.close()


@pytest.mark.parametrize("ending", [[FINISH, DONE], [FINISH], [DONE], [FINISH, b": bye\n\n"]])
async def test_stream_that_ends_as_it_should(
    cluster: Cluster, faulty_upstream: FaultyUpstream, ending: list[bytes]
) -> None:
    faulty_upstream.script = scripts.answer(chunked_response([ROLE, HELLO, *ending]))
    stream = await committed(cluster)
    await read_all(stream)
    stream.close()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scripts.answer(chunked_response([ROLE, HELLO, THERE])), id="no end mark"),
        pytest.param(scripts.answer(chunked_response([ROLE, HELLO, THERE[:30]])), id="ends in an event"),
        pytest.param(scripts.cut(STREAM, until(STREAM, FINISH)), id="closed between chunks"),
        pytest.param(scripts.cut(STREAM, until(STREAM, FINISH) + 20), id="closed in a chunk"),
        pytest.param(scripts.reset(STREAM, until(STREAM, FINISH)), id="reset"),
        pytest.param(
            scripts.cut(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + ROLE + HELLO + THERE, 10**6),
            id="no length and no end mark",
        ),
        pytest.param(scripts.answer(chunked_response([HELLO, ERROR.rstrip()])), id="ends in an error event"),
        pytest.param(scripts.answer(chunked_response([HELLO, ERROR, THERE])), id="goes on after an error event"),
    ],
)
async def test_stream_that_is_cut_off_ends_with_an_error(
    cluster: Cluster, faulty_upstream: FaultyUpstream, script: scripts.Script
) -> None:
    faulty_upstream.script = script
    stream = await committed(cluster)
    with pytest.raises(BadGatewayError, match="the upstream's answer was cut off: ") as caught:
        await read_all(stream)
    assert caught.value.reason == "UPSTREAM_CUT"
    stream.close()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scripts.answer(chunked_response([HELLO, ERROR])), id="in order"),
        pytest.param(scripts.answer(chunked_response([HELLO, THERE * 200, ERROR])), id="after much text"),
        pytest.param(scripts.reset(chunked_response([HELLO, ERROR]), -5), id="reset"),
    ],
)
async def test_stream_may_end_with_an_error_of_its_own(
    cluster: Cluster, faulty_upstream: FaultyUpstream, script: scripts.Script
) -> None:
    faulty_upstream.script = script
    stream = await committed(cluster)
    with pytest.raises(UpstreamStreamError, match="overloaded") as caught:
        await read_all(stream)
    assert caught.value.reason == "UPSTREAM_FAILED"
    stream.close()


async def test_stream_without_length_may_end_with_its_connection(
    cluster: Cluster, faulty_upstream: FaultyUpstream
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    faulty_upstream.script = scripts.cut(head + b"".join(EVENTS), 10**6)
    answer = await attempt(cluster, cluster.endpoints[0], chat_request(stream=True))
    assert isinstance(answer, StreamAnswer)
    assert answer.first + await read_all(answer.rest) == b"".join(EVENTS)
    answer.rest.close()


async def test_upstream_that_falls_silent(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    clock = LoopClock()
    faulty_upstream.script = scripts.stall(STREAM, until(STREAM, THERE))
    stream = await committed(cluster, stream_idle_timeout_s=60)
    reading = asyncio.create_task(stream.read())
    await turns()
    await clock.advance(59)
    assert not reading.done()
    await clock.advance(2)
    with pytest.raises(TimeoutExceededError, match="the upstream sent nothing for 60 s") as caught:
        await reading
    assert caught.value.reason == "STREAM_IDLE_TIMEOUT"
    with pytest.raises(TimeoutExceededError):
        await stream.read()
    stream.close()
    await faulty_upstream.wait_for_disconnects(1)


async def test_every_piece_starts_the_silence_anew(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    clock = LoopClock()
    permits = asyncio.Semaphore(1)
    pieces = [STREAM[: until(STREAM, THERE)], *(b"%x\r\n%b\r\n" % (len(THERE), THERE) for _ in range(5))]
    faulty_upstream.script = scripts.stepped(pieces, permits)
    stream = await committed(cluster, stream_idle_timeout_s=60)
    for _ in range(5):
        reading = asyncio.create_task(stream.read())
        await turns()
        await clock.advance(50)
        assert not reading.done()
        permits.release()
        assert await reading == THERE
    stream.close()


async def test_client_that_is_slow_to_read_is_not_silence(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    clock = LoopClock()
    permits = asyncio.Semaphore(1)
    place = until(STREAM, THERE)
    faulty_upstream.script = scripts.stepped([STREAM[:place], STREAM[place:]], permits)
    stream = await committed(cluster, stream_idle_timeout_s=60)
    for _ in range(5):
        await clock.advance(59)
    reading = asyncio.create_task(stream.read())
    await turns()
    await clock.advance(59)
    assert not reading.done()
    permits.release()
    assert (await reading).startswith(THERE)
    await clock.advance(300)
    await read_all(stream)
    stream.close()


@pytest.mark.parametrize("is_reading", [True, False])
async def test_deadline_ends_a_stream_however_busy(
    cluster: Cluster, faulty_upstream: FaultyUpstream, is_reading: bool
) -> None:
    clock = LoopClock()
    faulty_upstream.script = scripts.stall(STREAM, until(STREAM, THERE))
    deadline = asyncio.get_running_loop().time() + 100
    stream = await committed(cluster, stream_idle_timeout_s=300, deadline=deadline)
    reading = asyncio.create_task(stream.read()) if is_reading else None
    await turns()
    await clock.advance(99)
    assert reading is None or not reading.done()
    await clock.advance(2)
    with pytest.raises(TimeoutExceededError, match="the request's time limit passed") as caught:
        await (reading or stream.read())
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    stream.close()
    await faulty_upstream.wait_for_disconnects(1)


async def test_closed_stream_has_no_timer_left(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    stream = await committed(cluster)
    await read_all(stream)
    stream.close()
    seen = weakref.ref(stream)
    del stream
    gc.collect()
    assert seen() is None, "the loop still holds it"


async def test_request_counts_until_its_stream_is_closed(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    (endpoint,) = cluster.endpoints
    streams = [await committed(cluster) for _ in range(3)]
    assert endpoint.active_requests == 3
    for count, stream in enumerate(streams):
        assert endpoint.active_requests == 3 - count
        stream.close()
        stream.close()
    assert endpoint.active_requests == 0


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_usage_is_found_however_the_end_is_cut(
    cluster: Cluster, faulty_upstream: FaultyUpstream, step: int
) -> None:
    end = b"".join(USAGE[2:])
    pieces = [end[place : place + step] for place in range(0, len(end), step)]
    faulty_upstream.script = scripts.answer(chunked_response([*USAGE[:2], *pieces]))
    stream = await committed(cluster)
    await read_all(stream)
    assert stream.usage == Usage(input_tokens=1, output_tokens=2)
    stream.close()


async def test_usage_that_was_not_told(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    stream = await committed(cluster)
    await read_all(stream)
    assert stream.usage is None
    stream.close()
