"""The faulty upstream against a real HTTP client: every fault is one that a client sees."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest

from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, response, sse

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_default_is_a_good_server(faulty_upstream: FaultyUpstream) -> None:
    async with openai.AsyncOpenAI(base_url=f"{faulty_upstream.url}/v1", api_key="k", max_retries=0) as client:
        unary = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert unary.choices[0].message.content == "hello there"
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "hello there"
    assert chunks[-1].usage is not None
    assert [request.target for request in faulty_upstream.requests] == ["/v1/chat/completions"] * 2
    assert faulty_upstream.requests[0].header("authorization") == "Bearer k"
    assert faulty_upstream.requests[1].json()["stream"] is True
    assert faulty_upstream.disconnects == 0


async def test_next_scripts_come_first_in_order(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    faulty_upstream.next.extend([scripts.fail(503, headers=[("retry-after", "1")]), scripts.fail(429)])
    faulty_upstream.script = scripts.answer(response(200, b"ok"))
    statuses = []
    for _ in range(4):
        async with session.get(faulty_upstream.url) as reply:
            statuses.append(reply.status)
            await reply.read()
    assert statuses == [503, 429, 200, 200]
    assert faulty_upstream.connections == 1, "the connection is kept"


async def test_health_is_counted_apart_and_can_fail(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    for status in (200, 500):
        faulty_upstream.health_status = status
        async with session.get(f"{faulty_upstream.url}/health") as reply:
            assert reply.status == status
    assert faulty_upstream.health_checks == 2
    assert faulty_upstream.requests == []


async def test_cut_at_a_byte_is_an_incomplete_answer(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    data = response(200, b"0123456789")
    faulty_upstream.script = scripts.cut(data, len(data) - 3)
    async with session.get(faulty_upstream.url) as reply:
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()
    assert faulty_upstream.disconnects == 0, "it was the server that left"


async def test_reset_breaks_the_connection(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.reset()
    reader, writer = await asyncio.open_connection(*faulty_upstream.address.split(":"))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_stall_lasts_until_the_client_leaves(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    data = chunked_response(sse({"a": 1}))
    faulty_upstream.script = scripts.stall(data, data.index(b"data"))
    async with session.get(faulty_upstream.url) as reply:
        assert reply.status == 200
        assert faulty_upstream.disconnects == 0
    await faulty_upstream.wait_for_disconnects(1)


async def test_client_that_leaves_before_the_head_is_noticed(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    faulty_upstream.script = scripts.stall()
    asking = asyncio.create_task(session.post(faulty_upstream.url, json=QUESTION).__aenter__())
    await faulty_upstream.wait_for_requests(1)
    asking.cancel()
    await faulty_upstream.wait_for_disconnects(1)
    assert faulty_upstream.requests[0].json() == QUESTION


async def test_stepped_answer_comes_when_permitted(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    permits = asyncio.Semaphore(1)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    faulty_upstream.script = scripts.stepped([head, b"a", b"b"], permits)
    async with session.get(faulty_upstream.url) as reply:
        for letter in (b"a", b"b"):
            permits.release()
            assert await reply.content.read(1) == letter


async def test_garbage_is_no_http(faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession) -> None:
    faulty_upstream.script = scripts.cut(b"\x00\x01 hello\r\n\r\n", 100)
    with pytest.raises(aiohttp.ClientError):
        await session.get(faulty_upstream.url)


async def test_huge_body_is_sent_as_promised(faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession) -> None:
    faulty_upstream.script = scripts.huge(5_000_000)
    async with session.get(faulty_upstream.url) as reply:
        read = sum([len(piece) async for piece in reply.content.iter_any()])
    assert read == int(reply.headers["content-length"]) >= 5_000_000


async def test_stopped_server_refuses_and_comes_back_on_its_port(
    faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    url, port = faulty_upstream.url, int(faulty_upstream.address.rpartition(":")[2])
    faulty_upstream.script = scripts.stall(response(200), 10)
    asking = asyncio.create_task(session.get(url).__aenter__())
    await faulty_upstream.wait_for_requests(1)
    await faulty_upstream.stop()
    with pytest.raises(aiohttp.ClientError):
        await asking
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.get(url)
    await faulty_upstream.start(port)
    faulty_upstream.script = scripts.answer(response(200))
    async with session.get(url) as reply:
        assert reply.status == 200


async def test_errors_in_scripts_are_kept_for_the_test() -> None:
    upstream = FaultyUpstream()
    await upstream.start()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(upstream.url, data=b"not json")  # the default script expects a chat
    await upstream.stop()
    assert [type(error) for error in upstream.errors] == [json.JSONDecodeError]


async def test_many_clients_at_once(faulty_upstream: FaultyUpstream, session: aiohttp.ClientSession) -> None:
    faulty_upstream.script = scripts.answer(json_response(200, {}))

    async def ask() -> int:
        async with session.post(faulty_upstream.url, json=QUESTION) as reply:
            return reply.status

    assert await asyncio.gather(*(ask() for _ in range(50))) == [200] * 50
    assert len(faulty_upstream.requests) == 50
