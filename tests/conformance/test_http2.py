"""HTTP/2 with prior knowledge: many requests on one connection that must not disturb each other."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.conformance.configuration import one_pool
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import Http2Client, http2_client
from tests.conformance.upstream_scripts import FIRST_EVENTS, Endless, open_stream, text_event
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, sse
from tests.support.scripts import chat, stall, stepped

BEGUN = open_stream(FIRST_EVENTS)
WHOLE, STREAMED = {"model": "m"}, {"model": "m", "stream": True}
PROMPTLY_S = 2.0
MIB = 1024 * 1024


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[Http2Client]:
    """A connection to a node that serves all models."""
    await gateway.apply(one_pool(upstream.address))
    async with http2_client(gateway.addresses.http) as client:
        yield client


async def assert_answers(client: Http2Client) -> None:
    """The connection is well."""
    answer = await client.answer(await client.post(WHOLE))
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "hello there"


async def test_answers(client: Http2Client) -> None:
    await assert_answers(client)
    answer = await client.answer(await client.post(STREAMED))
    assert (answer.status, answer.is_complete) == (200, True)
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_each_piece_arrives_before_the_next_is_sent(client: Http2Client, upstream: FaultyUpstream) -> None:
    """Field failure: streaming over HTTP/2 broken."""
    words = [f"word-{number}" for number in range(10)]
    chunks = [open_stream(*sse(text_event(word), done=False)).removeprefix(open_stream()) for word in words]
    permits = asyncio.Semaphore(1)
    upstream.script = stepped(
        [open_stream() + chunks[0], *chunks[1:], chunked_response([b"data: [DONE]\n\n"])], permits
    )
    number = await client.post(STREAMED)
    for word in words:
        assert word.encode() in await client.body_with(number, word.encode())
        permits.release()


async def test_reset_stream_frees_the_backend_and_leaves_the_others(
    client: Http2Client, upstream: FaultyUpstream
) -> None:
    upstream.script = stall(BEGUN, len(BEGUN))
    left, kept = await client.post(STREAMED), await client.post(STREAMED)
    for number in (left, kept):
        await client.body_with(number, b"hello")
    await client.reset(left)
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)
    upstream.script = chat()
    await assert_answers(client)
    assert upstream.disconnects == 1


async def test_reset_before_the_answer_frees_the_backend(client: Http2Client, upstream: FaultyUpstream) -> None:
    upstream.script = stall()
    number = await client.post(WHOLE)
    await upstream.wait_for_requests(1)
    await client.reset(number)
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)


async def test_closed_connection_frees_all_its_backends(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall(BEGUN, len(BEGUN))
    async with http2_client(gateway.addresses.http) as client:
        for _ in range(3):
            await client.body_with(await client.post(STREAMED), b"hello")
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(3)


async def test_slow_reader_slows_the_backend_down(
    client: Http2Client, gateway: Gateway, upstream: FaultyUpstream
) -> None:
    upstream.script = endless = Endless()
    before = gateway.process.resident_bytes
    client.takes_data = False
    number = await client.post(STREAMED)
    await endless.wait_until_blocked()
    assert endless.sent < 48 * MIB
    assert gateway.process.resident_bytes - before < 48 * MIB
    await client.reset(number)
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)


async def test_connection_that_ends_before_its_answers_are_taken_leaves_nothing_behind(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = endless = Endless()
    async with http2_client(gateway.addresses.http) as client:
        client.takes_data = False
        await client.post(STREAMED)  # uses all that may be sent on the connection
        await endless.wait_until_blocked()
        assert await client.status(await client.post({"model": ""})) == 400
    await gateway.wait_until_idle()


async def test_connection_may_be_used_for_any_number_of_requests(client: Http2Client, upstream: FaultyUpstream) -> None:
    upstream.next.append(stall(BEGUN, len(BEGUN)))
    streaming = await client.post(STREAMED)
    await client.body_with(streaming, b"hello")
    for _ in range(11):
        for number in [await client.post(WHOLE) for _ in range(99)]:
            assert (await client.answer(number)).status == 200
    assert not client.is_told_to_go
    assert upstream.disconnects == 0


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/chat/completions", 413), ("/v1/models", 405), ("/none", 404)], ids=["413", "405", "404"]
)
async def test_refusal_of_a_body_that_is_still_being_sent_leaves_the_others(
    client: Http2Client, upstream: FaultyUpstream, path: str, status: int
) -> None:
    upstream.next.append(stall(BEGUN, len(BEGUN)))
    streaming = await client.post(STREAMED)
    await client.body_with(streaming, b"hello")
    number = await client.begin_post(path, "content-length", str(MAX_BODY_BYTES * 2))
    for _ in range(8):
        await client.send_data(number, b" " * (MAX_BODY_BYTES // 4))
    await client.end(number)
    assert (await client.answer(number)).status == status
    await assert_answers(client)
    assert upstream.disconnects == 0
