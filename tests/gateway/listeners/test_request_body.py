"""The body of a passed-through request: how much of it is read before a backend wants it, and whether it is whole."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError, PayloadTooLargeError
from gateway.listeners.disconnect import AsgiMessage, ClientGoneError
from gateway.listeners.request_body import RequestBody
from gateway.operations.replay import MAX_KEPT_BYTES, ReplayableParts

BODILESS = ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"]
LARGE = {b"content-length": b"%d" % (MAX_KEPT_BYTES + 1)}
CHUNKED = {b"transfer-encoding": b"chunked"}


class Client:
    """Sends these parts, and then waits or, with `leaves`, goes away."""

    def __init__(self, *parts: bytes, is_whole: bool = True, leaves: bool = False) -> None:
        self._messages: list[AsgiMessage] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        if is_whole:
            self._messages.append({"type": "http.request", "body": b"", "more_body": False})
        if leaves:
            self._messages.append({"type": "http.disconnect"})
        self.taken = 0

    async def receive(self) -> AsgiMessage:
        if self.taken == len(self._messages):
            await asyncio.get_running_loop().create_future()
        self.taken += 1
        return self._messages[self.taken - 1]


async def parts_of(
    client: Client, headers: Mapping[bytes, bytes], method: str = "POST", *, is_http2: bool = False
) -> ReplayableParts | None:
    async with asyncio.timeout(1):
        return await RequestBody(client.receive).parts(method, headers, is_http2=is_http2)


async def all_of(parts: ReplayableParts) -> bytes:
    return b"".join([part async for part in parts.parts()])


async def test_parts_are_read_as_they_come() -> None:
    client = Client(b"a", b"", b"bc")
    body = RequestBody(client.receive)
    assert await body.read() == b"a"
    assert (client.taken, body.ended.is_set()) == (1, False)
    assert await body.read() == b"bc"
    assert await body.read() is None
    assert body.ended.is_set()
    assert await body.read() is None


async def test_last_part_may_come_with_the_end() -> None:
    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": b"all", "more_body": False}

    body = RequestBody(receive)
    assert await body.read() == b"all"
    assert body.ended.is_set()
    assert await body.read() is None


async def test_client_that_leaves_is_noticed() -> None:
    body = RequestBody(Client(b"a", is_whole=False, leaves=True).receive)
    assert await body.read() == b"a"
    with pytest.raises(ClientGoneError):
        await body.read()
    assert not body.ended.is_set()


@pytest.mark.parametrize("method", [*BODILESS, "POST", "PUT", "PATCH"])
async def test_request_without_length_has_no_body_over_http1(method: str) -> None:
    assert await parts_of(Client(), {}, method) is None


@pytest.mark.parametrize("method", BODILESS)
async def test_what_hardly_has_a_body_over_http2_is_looked_at(method: str) -> None:
    assert await parts_of(Client(), {}, method, is_http2=True) is None
    parts = await parts_of(Client(b"one", b"two", is_whole=False), {}, method, is_http2=True)
    assert parts is not None
    assert not parts.is_complete


async def test_what_may_have_a_body_over_http2_is_not_waited_for() -> None:
    client = Client(is_whole=False)
    assert await parts_of(client, {}, "POST", is_http2=True) is not None
    assert client.taken == 0


async def test_chunks_are_not_waited_for() -> None:
    client = Client(is_whole=False)
    assert await parts_of(client, {**CHUNKED, b"content-length": b"3"}) is not None
    assert client.taken == 0


async def test_length_beside_chunks_does_not_count() -> None:
    parts = await parts_of(Client(b"hello"), {**CHUNKED, b"content-length": b"3"})
    assert parts is not None
    assert await all_of(parts) == b"hello"


@pytest.mark.parametrize("size", [0, 1, MAX_KEPT_BYTES])
async def test_small_body_is_read_whole_and_can_be_sent_again(size: int) -> None:
    parts = await parts_of(Client(b"x" * size), {b"content-length": b"%d" % size})
    assert parts is not None
    assert parts.whole == b"x" * size
    assert await all_of(parts) == await all_of(parts) == b"x" * size


async def test_large_body_is_not_waited_for() -> None:
    client = Client(b"x" * MAX_KEPT_BYTES, b"y")
    parts = await parts_of(client, LARGE)
    assert client.taken == 0
    assert parts is not None
    assert await all_of(parts) == b"x" * MAX_KEPT_BYTES + b"y"


@pytest.mark.parametrize("length", [b"", b"-1", b"+1", b"1.0", b"0x1", b"1, 1", b"1 1", b"one", b"1" * 19, b"\xb9"])
async def test_length_that_is_none_is_refused(length: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        await parts_of(Client(b"x"), {b"content-length": length})


@pytest.mark.parametrize("sent", [(), (b"hell",), (b"hello", b"!"), (b"h", b"ello!")])
async def test_small_body_of_another_length_than_told_is_refused(sent: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        await parts_of(Client(*sent), {b"content-length": b"5"})


@pytest.mark.parametrize("sent", [(), (b"x" * MAX_KEPT_BYTES,), (b"x" * MAX_KEPT_BYTES, b"yz")])
async def test_large_body_of_another_length_than_told_never_ends_well(sent: tuple[bytes, ...]) -> None:
    parts = await parts_of(Client(*sent), LARGE)
    assert parts is not None
    with pytest.raises(InvalidRequestError):
        await all_of(parts)


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_any_body_comes_as_it_was_sent(sent: list[bytes]) -> None:
    async def check() -> None:
        body = b"".join(sent)
        for headers in ({b"content-length": b"%d" % len(body)}, CHUNKED):
            parts = await parts_of(Client(*sent), headers)
            assert parts is not None
            assert await all_of(parts) == body

    asyncio.run(check())


@pytest.mark.parametrize("headers", [{b"content-length": b"6"}, CHUNKED, {}], ids=["length", "chunked", "neither"])
async def test_whole_body(headers: Mapping[bytes, bytes]) -> None:
    body = RequestBody(Client(b"abc", b"", b"def").receive)
    assert await body.read_whole(headers, 6) == b"abcdef"
    assert body.ended.is_set()


async def test_whole_body_over_the_limit_is_not_read_on() -> None:
    client = Client(b"abc", b"def", b"ghi")
    with pytest.raises(PayloadTooLargeError, match="limit of 5 bytes"):
        await RequestBody(client.receive).read_whole(CHUNKED, 5)
    assert client.taken == 2


async def test_whole_body_that_is_told_to_be_over_the_limit_is_not_read_at_all() -> None:
    client = Client(b"abcdef")
    with pytest.raises(PayloadTooLargeError):
        await RequestBody(client.receive).read_whole({b"content-length": b"6"}, 5)
    assert client.taken == 0


async def test_whole_body_of_another_length_than_was_told_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not as long"):
        await RequestBody(Client(b"abc").receive).read_whole({b"content-length": b"6"}, 9)


async def test_parts_go_through_whoever_stands_between() -> None:
    client = Client(b"abc", b"def")
    body = RequestBody(client.receive)

    async def read() -> bytes | None:
        part = await body.read()
        return None if part is None else part.upper()

    parts = await body.parts("POST", {b"content-length": b"6"}, is_http2=False, read=read)
    assert parts is not None
    assert parts.whole == b"ABCDEF"
