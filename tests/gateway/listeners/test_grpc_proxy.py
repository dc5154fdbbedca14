"""The messages of a caller, as they are read for one backend after another."""

import asyncio
from typing import cast

import pytest
from grpc import aio

from gateway.listeners.grpc_call import Call
from gateway.listeners.grpc_proxy import CallerMessages
from tests.gateway.upstream.calls import LoopClock, turns


class Sent:
    """The part of a call that is read from: gives what tests put in, one read at a time."""

    def __init__(self, *messages: object) -> None:
        self.queue: asyncio.Queue[object] = asyncio.Queue()
        self.reads = 0
        self._is_reading = False
        for message in messages:
            self.queue.put_nowait(message)

    async def read(self) -> object:
        assert not self._is_reading, "grpcio allows one at a time"
        self._is_reading = True
        self.reads += 1
        try:
            return await self.queue.get()
        finally:
            self._is_reading = False


def messages_of(sent: Sent) -> CallerMessages:
    return CallerMessages(cast("Call", sent))


async def test_messages_come_one_by_one_and_then_the_end() -> None:
    sent = Sent(b"a", b"", b"c", aio.EOF)
    async with messages_of(sent) as messages:
        assert [await messages.read() for _ in range(5)] == [b"a", b"", b"c", None, None]
    assert sent.reads == 4


async def test_nothing_is_read_before_it_is_wanted() -> None:
    sent = Sent(b"a", b"b")
    async with messages_of(sent) as messages:
        await messages.read()
        await turns()
    assert sent.reads == 1


async def test_message_is_not_lost_with_the_reader_that_was_cancelled() -> None:
    sent = Sent()
    async with messages_of(sent) as messages:
        for _ in range(3):
            reading = asyncio.create_task(messages.read())
            await turns(5)
            reading.cancel()
            await asyncio.wait({reading})
            assert reading.cancelled()
        sent.queue.put_nowait(b"a")
        await turns(5)
        assert await messages.read() == b"a"
    assert sent.reads == 1


async def test_end_that_comes_with_a_single_message_is_the_end_at_once() -> None:
    async with messages_of(Sent(b"a", aio.EOF)) as messages, asyncio.timeout(0.015):
        assert [await messages.read(), await messages.read()] == [b"a", None]


@pytest.mark.parametrize("before", [[], [b"a", b"b"]])
async def test_other_end_is_held_until_it_could_be_known_for_a_cancellation(before: list[bytes]) -> None:
    clock = LoopClock()
    async with messages_of(Sent(*before, aio.EOF)) as messages:
        for message in before:
            assert await messages.read() == message
        reading = asyncio.create_task(messages.read())
        await turns(10)
        assert not reading.done()
        await clock.advance(0.03)
        assert await reading is None


async def test_end_that_comes_late_after_a_single_message_is_held_too() -> None:
    clock = LoopClock()
    sent = Sent(b"a")
    async with messages_of(sent) as messages:
        assert await messages.read() == b"a"
        reading = asyncio.create_task(messages.read())
        await turns(5)
        await clock.advance(1)
        sent.queue.put_nowait(aio.EOF)
        await turns(10)
        assert not reading.done()
        await clock.advance(0.03)
        assert await reading is None


async def test_whether_there_is_more_can_be_asked_without_taking_it() -> None:
    async with messages_of(Sent(b"a", b"b", aio.EOF)) as messages:
        await messages.read()
        assert not await messages.have_ended()
        assert [await messages.read(), await messages.have_ended(), await messages.read()] == [b"b", True, None]


async def test_leaving_ends_the_read_that_is_under_way() -> None:
    sent = Sent()
    async with messages_of(sent) as messages:
        reading = asyncio.create_task(messages.read())
        await turns(5)
    with pytest.raises(asyncio.CancelledError):
        await reading
