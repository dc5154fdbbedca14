"""Parts of a request: read when they are wanted, kept while they are few, and the same for every attempt."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations.replay import MAX_KEPT_BYTES, ReplayableParts, SplicedParts, WholeBody
from gateway.schemas.multipart_form import Splice
from tests.gateway.upstream.calls import turns


class Client:
    """Sends parts, one each time it is asked."""

    def __init__(self, parts: Sequence[bytes], *, fails: bool = False) -> None:
        self.left = list(parts)
        self.reads = 0
        self.fails = fails

    async def read(self) -> bytes | None:
        self.reads += 1
        await asyncio.sleep(0)
        if self.left:
            return self.left.pop(0)
        if self.fails:
            raise ConnectionResetError("the client has gone")
        return None


class SlowClient(Client):
    """Sends a part when the test lets it."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(parts)
        self.permits = asyncio.Semaphore(0)
        self.is_reading = False

    async def read(self) -> bytes | None:
        assert not self.is_reading, "two reads at a time"
        self.is_reading = True
        try:
            await self.permits.acquire()
            return await super().read()
        finally:
            self.is_reading = False


def replayable(client: Client, max_kept_bytes: int = MAX_KEPT_BYTES) -> ReplayableParts:
    return ReplayableParts(client.read, max_kept_bytes=max_kept_bytes)


async def collect(parts: ReplayableParts) -> list[bytes]:
    return [part async for part in parts.parts()]


async def test_every_attempt_gets_all_parts() -> None:
    client = Client([b"a", b"", b"bc"])
    parts = replayable(client)
    assert await collect(parts) == [b"a", b"", b"bc"]
    assert await collect(parts) == [b"a", b"", b"bc"]
    assert client.reads == 4
    assert (parts.is_complete, parts.is_replayable, parts.whole) == (True, True, b"abc")


async def test_nothing_is_read_before_it_is_wanted() -> None:
    client = Client([b"a", b"b"])
    parts = replayable(client)
    assert (client.reads, parts.whole, parts.is_complete) == (0, None, False)
    iterator = parts.parts()
    assert await anext(iterator) == b"a"
    assert client.reads == 1
    await iterator.aclose()


async def test_an_attempt_goes_on_reading_where_the_one_before_it_stopped() -> None:
    client = Client([b"a", b"b", b"c"])
    parts = replayable(client)
    iterator = parts.parts()
    assert [await anext(iterator), await anext(iterator)] == [b"a", b"b"]
    await iterator.aclose()
    assert await collect(parts) == [b"a", b"b", b"c"]


async def test_the_first_part_can_be_read_ahead() -> None:
    client = Client([b"a", b"b"])
    parts = replayable(client)
    await parts.read_first()
    await parts.read_first()
    assert (client.reads, parts.is_complete) == (1, False)
    assert await collect(parts) == [b"a", b"b"]


async def test_that_there_is_no_first_part_can_be_learnt_ahead() -> None:
    client = Client([])
    parts = replayable(client)
    await parts.read_first()
    await parts.read_first()
    assert (client.reads, parts.is_complete, parts.whole) == (1, True, b"")
    assert await collect(parts) == []


async def test_all_parts_can_be_read_ahead() -> None:
    parts = replayable(Client([b"a", b"b"]))
    await parts.read_all()
    assert parts.whole == b"ab"


@pytest.mark.parametrize(
    ("sizes", "is_replayable"),
    [
        ([10], True),
        ([5, 5], True),
        ([5, 6], False),
        ([11], True),
        ([1000], True),
        ([1000, 0], False),
        ([1] * 11, False),
    ],
)
async def test_what_is_over_the_bound_together_cannot_be_sent_again(sizes: list[int], is_replayable: bool) -> None:
    sent = [bytes([index]) * size for index, size in enumerate(sizes)]
    parts = replayable(Client(sent), max_kept_bytes=10)
    assert await collect(parts) == sent
    assert parts.is_replayable is is_replayable
    assert parts.whole == (b"".join(sent) if is_replayable else None)


async def test_a_single_part_of_any_size_can_be_sent_again_until_the_next_has_come() -> None:
    client = Client([b"x" * 100, b"y"])
    parts = replayable(client, max_kept_bytes=10)
    first = parts.parts()
    assert await anext(first) == b"x" * 100
    await first.aclose()
    second = parts.parts()
    assert await anext(second) == b"x" * 100
    assert parts.is_replayable
    assert await anext(second) == b"y"
    assert not parts.is_replayable
    await second.aclose()


async def test_what_the_client_ends_with_comes_out() -> None:
    parts = replayable(Client([b"a"], fails=True))
    iterator = parts.parts()
    assert await anext(iterator) == b"a"
    with pytest.raises(ConnectionResetError):
        await anext(iterator)
    assert not parts.is_complete


async def test_an_attempt_that_is_cancelled_while_it_waits_loses_no_part() -> None:
    client = SlowClient([b"a", b"b"])
    parts = replayable(client)
    waiting = asyncio.create_task(collect(parts))
    await turns(5)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for _ in range(3):
        client.permits.release()
    assert await collect(parts) == [b"a", b"b"]


async def test_two_attempts_at_a_time_both_get_all_and_never_read_at_once() -> None:
    client = SlowClient([b"a", b"b", b"c"])
    parts = replayable(client)
    both = asyncio.gather(collect(parts), collect(parts))
    for _ in range(4):
        await turns(5)
        client.permits.release()
    first, second = await both
    assert first == second == [b"a", b"b", b"c"]
    assert client.reads == 4


@given(
    sent=st.lists(st.binary(max_size=8), max_size=12),
    bound=st.integers(0, 40),
    stops=st.lists(st.integers(0, 12), max_size=4),
)
def test_as_long_as_it_is_replayable_any_attempt_gets_the_same_and_little_is_kept(
    sent: list[bytes], bound: int, stops: list[int]
) -> None:
    async def run() -> None:
        parts = replayable(Client(sent), max_kept_bytes=bound)
        for stop in [*stops, len(sent)]:
            if not parts.is_replayable:
                return
            got = []
            iterator = parts.parts()
            async for part in iterator:
                got.append(part)
                kept = parts._kept  # the bound is of what is held in memory
                assert sum(map(len, kept)) <= max(bound, len(kept[-1]))
                if len(got) > stop:
                    break
            await iterator.aclose()
            assert got == sent[: stop + 1]
        if sum(map(len, sent)) <= bound:
            assert parts.is_replayable

    asyncio.run(run())


async def test_what_is_read_ahead_is_kept_whatever_its_size() -> None:
    client = Client([b"aaaa", b"bbbb", b"cccc", b"dddd"])
    parts = replayable(client, max_kept_bytes=4)
    await parts.read_until(lambda: client.reads == 2)
    assert client.reads == 2
    assert parts.is_replayable
    assert not parts.is_complete
    assert await collect(parts) == [b"aaaa", b"bbbb", b"cccc", b"dddd"]
    assert not parts.is_replayable, "beyond what was read ahead the bound holds"


async def test_reading_ahead_ends_at_the_end() -> None:
    parts = replayable(Client([b"aa", b"bb"]), max_kept_bytes=1)
    await parts.read_until(lambda: False)
    assert parts.is_complete
    assert parts.whole == b"aabb"
    for _ in range(2):
        assert await collect(parts) == [b"aa", b"bb"]


async def test_many_large_parts_are_not_copied_into_one() -> None:
    parts = replayable(Client([b"a" * MAX_KEPT_BYTES, b"b"]))
    await parts.read_until(lambda: False)
    assert parts.is_replayable
    assert parts.whole is None
    assert len(b"".join(await collect(parts))) == MAX_KEPT_BYTES + 1


async def test_a_body_that_is_there_is_one_part() -> None:
    body = WholeBody(b"abc")
    assert body.whole == b"abc"
    assert [part async for part in body.parts()] == [b"abc"]


@given(
    st.lists(st.binary(max_size=6), max_size=6),
    st.integers(0, 20),
    st.integers(0, 10),
    st.binary(max_size=5),
)
async def test_splice_is_the_same_however_the_body_is_cut(
    pieces: list[bytes], start: int, length: int, new: bytes
) -> None:
    whole = b"".join(pieces)
    start = min(start, len(whole))
    splice = Splice(start, min(start + length, len(whole)), new)
    expected = whole[: splice.start] + new + whole[splice.end :]
    parts = replayable(Client(pieces))
    if pieces:
        spliced = SplicedParts(parts, splice)
        assert b"".join([part async for part in spliced.parts()]) == expected
        assert (spliced.whole, spliced.is_complete, spliced.is_replayable) == (expected, True, True)
    assert len(expected) - len(whole) == splice.growth
