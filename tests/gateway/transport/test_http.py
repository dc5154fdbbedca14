"""Connections to backends on real sockets: every fault becomes one of ours, nothing leaks, and connections are kept or
closed as they should be."""

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from yarl import URL

from gateway.transport import http
from gateway.transport.http import (
    AnswerTooLargeError,
    ConnectError,
    ConnectionBrokenError,
    HttpResponse,
    HttpTransport,
    TransportError,
)
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, response

SELF_SIGNED = Path(__file__).with_name("self_signed.pem")


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(idle_timeout_s=60)
    yield transport
    await transport.close()


async def get(transport: HttpTransport, url: str, *, body: bytes | None = None) -> HttpResponse:
    return await transport.send("POST", URL(url), headers=[], body=body, connect_timeout_s=5)


async def get_all(transport: HttpTransport, url: str, *, body: bytes | None = None, limit: int = 10**8) -> bytes:
    answer = await get(transport, url, body=body)
    try:
        return await answer.read_all(limit)
    finally:
        answer.close()


async def closed_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


# Requests as they are sent.


async def test_request_and_answer(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(201, b"hello", headers=[("x-a", "1"), ("X-A", "2")]))
    url = URL(f"{faulty_upstream.url}/base/p%2Fq?a=b%20c", encoded=True)
    answer = await transport.send("POST", url, headers=[("x-sent", "y")], body=b"{}", connect_timeout_s=5)
    assert answer.status == 201
    assert [pair for pair in answer.headers if pair[0].lower() == b"x-a"] == [(b"x-a", b"1"), (b"X-A", b"2")]
    assert (answer.header("X-a"), answer.header("x-none")) == ("1", None)
    assert await answer.read() == b"hello"
    assert await answer.read() == b""
    answer.close()
    (request,) = faulty_upstream.requests
    assert (request.method, request.target, request.body) == ("POST", "/base/p%2Fq?a=b%20c", b"{}")
    assert {name.lower(): value for name, value in request.headers} == {
        "host": faulty_upstream.address,
        "x-sent": "y",
        "content-length": "2",
    }


async def test_host_can_be_another(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response())
    headers = [("host", "box.example")]
    answer = await transport.send("GET", URL(faulty_upstream.url), headers=headers, body=None, connect_timeout_s=5)
    answer.close()
    assert faulty_upstream.requests[0].header("host") == "box.example"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(
    transport: HttpTransport, faulty_upstream: FaultyUpstream, status: int
) -> None:
    faulty_upstream.script = scripts.answer(response(status, headers=[("location", f"{faulty_upstream.url}/other")]))
    answer = await get(transport, faulty_upstream.url)
    answer.close()
    assert answer.status == status
    assert len(faulty_upstream.requests) == 1


async def test_cookies_are_not_kept(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(headers=[("set-cookie", "a=b")]))
    # The address by name: of servers without a name a client would keep none anyway.
    url = faulty_upstream.url.replace("127.0.0.1", "localhost")
    await get_all(transport, url)
    await get_all(transport, url)
    assert faulty_upstream.requests[1].header("cookie") is None


async def test_compressed_bytes_are_left_as_they_are(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(200, b"\x1f\x8bgarbage", headers=[("content-encoding", "gzip")]))
    assert await get_all(transport, faulty_upstream.url) == b"\x1f\x8bgarbage"


@pytest.mark.parametrize("size", [1024 * 1024, 1024 * 1024 + 1, 20 * 1024 * 1024])
async def test_large_bodies_are_sent_whole(
    transport: HttpTransport, faulty_upstream: FaultyUpstream, size: int
) -> None:
    faulty_upstream.script = scripts.answer(response(200, b"ok"))
    body = b"0123456789abcdef" * (size // 16 + 1)
    assert await get_all(transport, faulty_upstream.url, body=body) == b"ok"
    assert faulty_upstream.requests[0].body == body
    assert faulty_upstream.requests[0].header("content-length") == str(len(body))


# Faults.


async def test_refused_connection(transport: HttpTransport) -> None:
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await get(transport, f"http://127.0.0.1:{await closed_port()}")


async def test_connection_that_is_not_made_in_time(transport: HttpTransport) -> None:
    async def never_shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_shake_hands, "127.0.0.1", 0)
    async with server:
        url = URL(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(ConnectError, match=r"^connection timed out$"):
            await transport.send("GET", url, headers=[], body=None, connect_timeout_s=0.05)


async def test_unknown_host(transport: HttpTransport) -> None:
    with pytest.raises(ConnectError, match=r"^host name cannot be resolved$"):
        await get(transport, "http://no-such-host.invalid:80")


async def test_certificate_that_nobody_vouches_for(transport: HttpTransport) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SELF_SIGNED)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises(ConnectError, match=r"^certificate not accepted: self"):
            await get(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_server_that_speaks_no_tls(transport: HttpTransport) -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response(400))
        writer.close()

    server = await asyncio.start_server(speak_http, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectError, match=r"^tls failed: "):
            await get(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")


HUGE_HEADER = b"HTTP/1.1 200 OK\r\nx-big: " + b"x" * 100_000 + b"\r\n\r\n"
MANY_HEADERS = b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(100_000)) + b"\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scripts.reset(), id="reset before the head"),
        pytest.param(scripts.cut(b"", 0), id="closed before the head"),
        pytest.param(scripts.reset(response(200, b"x"), 10), id="reset in the head"),
        pytest.param(scripts.cut(response(200, b"x"), 10), id="closed in the head"),
        pytest.param(scripts.cut(b"\x00\x01\x02 no http\r\n\r\n", 100), id="garbage"),
        pytest.param(scripts.cut(b"HTTP/1.1 abc OK\r\n\r\n", 100), id="bad status"),
        pytest.param(scripts.cut(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 100), id="bad header"),
        pytest.param(scripts.cut(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", 100), id="bad length"),
        pytest.param(scripts.cut(HUGE_HEADER, 200_000), id="huge header"),
        pytest.param(scripts.cut(MANY_HEADERS, len(MANY_HEADERS)), id="many headers"),
    ],
)
async def test_answer_that_breaks_before_its_body(
    transport: HttpTransport, faulty_upstream: FaultyUpstream, script: scripts.Script
) -> None:
    faulty_upstream.script = script
    with pytest.raises(ConnectionBrokenError, match=r"^[a-z][a-zA-Z ]{9,60}$"):
        await get(transport, faulty_upstream.url)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scripts.reset(response(200, b"0123456789"), 60), id="reset"),
        pytest.param(scripts.cut(response(200, b"0123456789"), 75), id="closed"),
        pytest.param(scripts.cut(chunked_response([b"abc", b"def"]), 90), id="closed between chunks"),
        pytest.param(scripts.reset(chunked_response([b"abc", b"def"]), 92), id="reset in a chunk"),
        pytest.param(
            scripts.cut(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 100), id="bad chunk size"
        ),
    ],
)
async def test_answer_that_breaks_in_its_body(
    transport: HttpTransport, faulty_upstream: FaultyUpstream, script: scripts.Script
) -> None:
    faulty_upstream.script = script
    with pytest.raises(ConnectionBrokenError, match=r"^[a-z][a-zA-Z ]{9,60}$"):
        await get_all(transport, faulty_upstream.url)


@pytest.mark.parametrize("garbage", [b"\xff" * 300, b"5\r\nhello" + b"\xff" * 100, b"5\r\nhello\r\n" + b"\xff" * 100])
async def test_garbage_after_a_first_chunk_ends_the_body_at_once(transport: HttpTransport, garbage: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await is_read.wait()
        writer.write(garbage)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    is_read = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        answer = await get(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert await answer.read() == b"abcde"
        is_read.set()
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionBrokenError, match=r"^the answer is cut off or malformed$"):
                await answer.read_all(10**6)
        answer.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("body", [None, b"x"], ids=["without body", "with body"])
async def test_request_whose_connection_breaks_is_sent_once(
    transport: HttpTransport, faulty_upstream: FaultyUpstream, method: str, body: bytes | None
) -> None:
    faulty_upstream.script = scripts.cut(b"", 0)
    with pytest.raises(ConnectionBrokenError):
        await transport.send(method, URL(faulty_upstream.url), headers=[], body=body, connect_timeout_s=5)
    assert len(faulty_upstream.requests) == 1


async def test_stall_ends_when_the_caller_gives_up(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.stall()
    asking = asyncio.create_task(get(transport, faulty_upstream.url))
    await faulty_upstream.wait_for_requests(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await faulty_upstream.wait_for_disconnects(1)


async def test_request_on_a_closed_transport_cannot_connect(faulty_upstream: FaultyUpstream) -> None:
    transport = HttpTransport(idle_timeout_s=60)
    await transport.close()
    with pytest.raises(ConnectError):
        await get(transport, faulty_upstream.url)


# Large answers.


async def test_answer_over_the_limit_is_given_up(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.huge(50_000_000)
    with pytest.raises(AnswerTooLargeError, match="larger than 1000000 bytes"):
        await get_all(transport, faulty_upstream.url, limit=1_000_000)
    await faulty_upstream.wait_for_disconnects(1)


@pytest.mark.parametrize("chunked", [False, True])
async def test_limit_is_exact(transport: HttpTransport, faulty_upstream: FaultyUpstream, chunked: bool) -> None:
    body = b"x" * 1000
    faulty_upstream.script = scripts.answer(chunked_response([body]) if chunked else response(200, body))
    assert await get_all(transport, faulty_upstream.url, limit=1000) == body
    with pytest.raises(AnswerTooLargeError):
        await get_all(transport, faulty_upstream.url, limit=999)


async def test_pieces_come_as_they_arrive(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    permits = asyncio.Semaphore(1)
    whole = chunked_response([b"one", b"two"])
    first = whole.index(b"two") - 3
    faulty_upstream.script = scripts.stepped([whole[:first], whole[first:]], permits)
    answer = await get(transport, faulty_upstream.url)
    assert await answer.read() == b"one"
    permits.release()
    assert await answer.read() == b"two"
    assert await answer.read() == b""
    answer.close()


# Connections.


async def test_connection_is_used_again_after_a_whole_answer(
    transport: HttpTransport, faulty_upstream: FaultyUpstream
) -> None:
    faulty_upstream.script = scripts.answer(response(200, b"ok"))
    for _ in range(3):
        await get_all(transport, faulty_upstream.url)
    assert faulty_upstream.connections == 1


async def test_connection_is_closed_with_an_answer_that_was_not_read(
    transport: HttpTransport, faulty_upstream: FaultyUpstream
) -> None:
    faulty_upstream.script = scripts.stall(chunked_response([b"abc"] * 9), 80)
    answer = await get(transport, faulty_upstream.url)
    answer.close()
    answer.close()
    await faulty_upstream.wait_for_disconnects(1)


async def test_abort_wakes_the_reader_with_the_error(transport: HttpTransport, faulty_upstream: FaultyUpstream) -> None:
    data = chunked_response([b"abc"])
    faulty_upstream.script = scripts.stall(data, data.index(b"abc") - 3)
    answer = await get(transport, faulty_upstream.url)
    reading = asyncio.create_task(answer.read())
    await asyncio.sleep(0)
    answer.abort(RuntimeError("time is up"))
    with pytest.raises(RuntimeError, match="time is up"):
        await reading
    with pytest.raises(RuntimeError, match="time is up"):
        await answer.read()
    answer.close()
    await faulty_upstream.wait_for_disconnects(1)


async def test_connection_that_the_server_closed_meanwhile_is_not_the_callers_fault_twice(
    transport: HttpTransport, faulty_upstream: FaultyUpstream
) -> None:
    faulty_upstream.next.append(scripts.answer(response(200, b"ok", headers=[("connection", "close")])))
    faulty_upstream.script = scripts.answer(response(200, b"ok"))
    await get_all(transport, faulty_upstream.url)
    await get_all(transport, faulty_upstream.url)
    assert faulty_upstream.connections == 2


@pytest.mark.parametrize("largest_in_one_go", [1024, 10**8])
async def test_connection_whose_request_has_not_gone_out_is_not_used_again(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, largest_in_one_go: int
) -> None:
    """A backend that refuses by the head alone need not take the body, which is more than the system takes."""
    monkeypatch.setattr(http, "_LARGE_BODY_BYTES", largest_in_one_go)
    connections = 0
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(413, b"too large"))
        await is_over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for body in (b"x" * 20_000_000, b"x"):
            async with asyncio.timeout(5):
                assert await get_all(transport, url, body=body) == b"too large"
        is_over.set()
    assert connections == 2


# Closing.


async def test_closing_waits_for_what_runs(faulty_upstream: FaultyUpstream) -> None:
    transport = HttpTransport(idle_timeout_s=60)
    permits = asyncio.Semaphore(1)
    whole = chunked_response([b"one", b"two"])
    first = whole.index(b"two") - 3
    faulty_upstream.script = scripts.stepped([whole[:first], whole[first:]], permits)
    answer = await get(transport, faulty_upstream.url)
    closing = asyncio.create_task(transport.close_when_idle())
    assert await answer.read() == b"one"
    assert not closing.done()
    permits.release()
    assert await answer.read_all(100) == b"two"
    assert not closing.done()
    answer.close()
    await closing


async def test_closing_waits_for_the_last_of_several(faulty_upstream: FaultyUpstream) -> None:
    transport = HttpTransport(idle_timeout_s=60)
    faulty_upstream.script = scripts.answer(response(200, b"ok"))
    first, second = await get(transport, faulty_upstream.url), await get(transport, faulty_upstream.url)
    closing = asyncio.create_task(transport.close_when_idle())
    await asyncio.sleep(0)
    first.close()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    second.close()
    await closing


async def test_closing_an_idle_transport_does_not_wait(faulty_upstream: FaultyUpstream) -> None:
    transport = HttpTransport(idle_timeout_s=60)
    await transport.close_when_idle()
    again = HttpTransport(idle_timeout_s=60)
    faulty_upstream.script = scripts.answer(response(200, b"ok"))
    await get_all(again, faulty_upstream.url)
    with pytest.raises(ConnectError):
        await get(again, f"http://127.0.0.1:{await closed_port()}")
    faulty_upstream.script = scripts.reset()
    with pytest.raises(ConnectionBrokenError):
        await get(again, faulty_upstream.url)
    await again.close_when_idle()


async def test_nothing_is_left_open(faulty_upstream: FaultyUpstream) -> None:
    """Whatever happened to requests, garbage collection finds no forgotten socket."""
    transport = HttpTransport(idle_timeout_s=60)
    data = chunked_response([b"abc"] * 3)
    for script in (
        scripts.answer(data),
        scripts.cut(data, 90),
        scripts.reset(data, 90),
        scripts.stall(data, 90),
        scripts.reset(),
    ):
        faulty_upstream.script = script
        try:
            answer = await get(transport, faulty_upstream.url)
        except TransportError:
            continue
        answer.close()
    await transport.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport, answer
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []
