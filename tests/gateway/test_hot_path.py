"""What a request costs, as the number of functions of the gateway that it calls: a figure that no noise changes.

More calls than here need a reason. Who has one writes the new number down, in a commit that says why; who makes them
fewer lowers it.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import gateway
from gateway.listeners.data_plane import DataPlane
from gateway.listeners.disconnect import AsgiMessage
from tests.support.in_process import ANSWER, CHUNK, DONE, ask, call, data_plane, request, typed_api

SOURCE = f"{Path(gateway.__file__).parent}/"
ALLOWED_GROWTH = 1.05


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Counts the calls of functions of the gateway, each step of a coroutine as one."""
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield lambda: calls
    finally:
        sys.setprofile(before)


async def calls_of(app: DataPlane, **fields: object) -> tuple[int, list[AsgiMessage]]:
    """How many calls a request makes once everything that is remembered is."""
    written = request(**fields)
    for _ in range(3):
        await ask(app, written)
    with counting() as count:
        sent = await ask(app, written)
        calls = count()
    assert sent[0]["status"] == 200
    return calls, sent


async def calls_of_stream(pieces: Sequence[bytes]) -> int:
    """The same for a streamed answer, which must arrive as it was sent."""
    async with data_plane(b"text/event-stream", pieces) as app:
        calls, sent = await calls_of(app, stream=True)
    assert b"".join(message.get("body", b"") for message in sent) == b"".join(pieces)
    return calls


async def test_whole_answer() -> None:
    async with data_plane(b"application/json", [ANSWER]) as app:
        calls, sent = await calls_of(app)
    assert sent[-1]["body"] == ANSWER
    assert calls <= 146 * ALLOWED_GROWTH


async def test_stream_that_comes_in_one_piece() -> None:
    assert await calls_of_stream([CHUNK * 100 + DONE]) <= 173 * ALLOWED_GROWTH


async def test_each_further_piece_of_a_stream() -> None:
    few = await calls_of_stream([*[CHUNK] * 10, DONE])
    many = await calls_of_stream([*[CHUNK] * 110, DONE])
    assert (many - few) / 100 <= 3


async def calls_of_grpc(content_type: bytes, pieces: Sequence[bytes], *, stream: bool) -> int:
    """How many calls a typed request makes."""
    async with typed_api(content_type, pieces) as methods:
        for _ in range(3):
            await call(methods, stream=stream)
        with counting() as count:
            sent = await call(methods, stream=stream)
            calls = count()
    assert len(sent) == len(pieces)
    return calls


async def test_whole_answer_over_grpc() -> None:
    assert await calls_of_grpc(b"application/json", [ANSWER], stream=False) <= 177 * ALLOWED_GROWTH


async def test_each_message_of_a_stream_over_grpc() -> None:
    few = await calls_of_grpc(b"text/event-stream", [*[CHUNK] * 10, DONE], stream=True)
    many = await calls_of_grpc(b"text/event-stream", [*[CHUNK] * 110, DONE], stream=True)
    assert (many - few) / 100 <= 19


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_request_leaves_nothing_for_the_garbage_collector(is_streaming: bool) -> None:
    content_type, pieces = (b"text/event-stream", [CHUNK, DONE]) if is_streaming else (b"application/json", [ANSWER])
    async with data_plane(content_type, pieces) as app:
        await calls_of(app, stream=is_streaming)
        gc.collect()
        gc.disable()
        try:
            await ask(app, request(stream=is_streaming))
            assert gc.collect() == 0
        finally:
            gc.enable()
