"""Requests that are passed through and go wrong: who leaves, who fails, what is tried again, what the client sees."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.polling import eventually
from tests.conformance.proxying import ProxyClient, first_then, proxied, several_services
from tests.conformance.raw_http import connected, request
from tests.conformance.unanswering import unanswering_address
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunk, response
from tests.support.raw_backend import raw_backend, read_chunk, read_head, until_gone
from tests.support.scripts import Script, answer, cut, reset, stall

PROMPTLY_S = 2.0
HELLO = response(200, b"hello", content_type="text/plain")
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"begun")
BEGUN_WITH_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun"
LARGE = 10 * 1024 * 1024
NO_RETRIES = {"retry_policy": {"num_retries": 0}}
UNUSED = "127.0.0.1:9"


@pytest.fixture
def client(gateway: Gateway, session: aiohttp.ClientSession) -> ProxyClient:
    """A client of the node."""
    return ProxyClient(gateway.addresses.http, session)


def status_of(status: int, body: bytes = b"failed", **headers: str) -> Script:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return answer(response(status, body, content_type="text/x", headers=pairs))


async def large_body(size: int = LARGE) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536


# Clients that leave.


@pytest.mark.parametrize("sent", [b"", BEGUN, BEGUN_WITH_LENGTH], ids=["before", "chunked", "with length"])
@pytest.mark.parametrize("breaks", [False, True], ids=["closes", "breaks"])
async def test_client_that_leaves_ends_the_work_of_the_backend(
    gateway: Gateway, upstream: FaultyUpstream, sent: bytes, breaks: bool
) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = stall(sent, len(sent))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("POST", "/", "content-length: 1", body=b"x"))
        await upstream.wait_for_requests(1)
        if sent:
            assert await connection.head() is not None
        await gateway.wait_for_active_requests(1)
        if breaks:
            connection.reset()
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)
    await gateway.wait_until_idle()


async def test_client_that_leaves_amid_its_upload_cuts_the_backend_off(gateway: Gateway) -> None:
    for head, part in (
        (request("POST", "/", "content-length: 100000"), b"hello"),
        (request("POST", "/", "transfer-encoding: chunked"), chunk(b"hello")),
    ):
        received = asyncio.Event()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            await reader.readuntil(b"hello")
            received.set()  # noqa: B023  # one at a time
            await until_gone(reader)

        async with raw_backend(take) as backend:
            await gateway.apply(proxied(backend.address))
            async with connected(gateway.addresses.http) as connection:
                await connection.send(head + part)
                await received.wait()
            async with asyncio.timeout(PROMPTLY_S):
                await backend.gone.acquire()
        await gateway.wait_until_idle()


async def test_client_that_leaves_amid_a_small_body_has_made_no_request(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    await gateway.apply(proxied(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("POST", "/", "content-length: 100") + b"hello")
        await gateway.wait_for_active_requests(1)
    await gateway.wait_until_idle()
    assert upstream.requests == []


async def test_client_that_leaves_after_its_upload_and_amid_the_answer(gateway: Gateway) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(BEGUN)
        while await read_chunk(reader):
            pass
        await until_gone(reader)

    async with raw_backend(serve) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            body = b"".join(chunk(b"x" * 65536) for _ in range(4)) + b"0\r\n\r\n"
            await connection.send(request("POST", "/", "transfer-encoding: chunked", body=body))
            assert await connection.head() is not None
        async with asyncio.timeout(PROMPTLY_S):
            await backend.gone.acquire()


async def test_stream_that_is_reset_amid_its_upload_cuts_the_backend_off(gateway: Gateway) -> None:
    received = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await read_chunk(reader)
        received.set()
        await until_gone(reader)

    async with raw_backend(take) as backend:
        await gateway.apply(proxied(backend.address))
        async with http2_client(gateway.addresses.http) as http2:
            number = await http2.begin_post("/")
            await http2.send_data(number, b"hello")
            await received.wait()
            await http2.reset(number)
            async with asyncio.timeout(PROMPTLY_S):
                await backend.gone.acquire()


# Backends that break.


@pytest.mark.parametrize("broken", [cut, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("data", [BEGUN, BEGUN_WITH_LENGTH], ids=["chunked", "with length"])
async def test_answer_that_is_cut_has_no_clean_end(
    gateway: Gateway, upstream: FaultyUpstream, broken: Callable[[bytes, int], Script], data: bytes
) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = broken(data, len(data))
    if broken is reset:
        permits = asyncio.Event()

        async def later(exchange: Any) -> None:
            await exchange.send(data)
            await permits.wait()
            exchange.reset()

        upstream.script = later
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/"))
        head = await connection.head()
        assert head is not None
        assert head.status == 200
        if broken is reset:
            assert b"begun" in await connection.read()
            permits.set()
        rest = b""
        while part := await connection.read():
            rest += part
    assert not rest.endswith(b"0\r\n\r\n")
    assert len(rest) < 100
    upstream.script = cut(data, len(data))
    async with http2_client(gateway.addresses.http) as http2:
        answered = await http2.answer(await http2.post({}, path="/"))
        assert (answered.status, answered.is_complete, answered.is_reset) == (200, False, True)
        upstream.script = answer(HELLO)
        assert (await http2.answer(await http2.post({}, path="/"))).body == b"hello"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (cut(b"", 0), "UPSTREAM_RESET"),
        (reset(), "UPSTREAM_RESET"),
        (cut(b"HTTP/1.1 200 OK\r\ncontent-", 25), "UPSTREAM_RESET"),
        (answer(b"nonsense\r\n\r\n"), "UPSTREAM_RESET"),
        (answer(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "UPSTREAM_RESET"),
        (answer(b"HTTP/1.1 999999 x\r\n\r\n"), "UPSTREAM_RESET"),
    ],
    ids=["closed", "reset", "cut head", "no HTTP", "101", "no status"],
)
async def test_backend_that_gives_no_answer(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, script: Script, reason: str
) -> None:
    await gateway.apply(proxied(upstream.address, service=NO_RETRIES))
    upstream.script = script
    assert (await client.send()).problem() == (502, reason)
    assert (await client.send("/", "POST", data=large_body())).problem() == (502, reason)
    upstream.script = answer(HELLO)
    assert (await client.send()).body == b"hello"


async def test_interim_answers_are_passed_over(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 x\r\n\r\n" + HELLO)
    answered = await client.send()
    assert (answered.status, answered.body, answered.header("link")) == (200, b"hello", None)


async def test_nobody_listens(gateway: Gateway, client: ProxyClient) -> None:
    await gateway.apply(proxied(UNUSED))
    assert (await client.send()).problem() == (503, "UPSTREAM_UNREACHABLE")
    assert (await client.send("/", "POST", data=large_body())).problem() == (503, "UPSTREAM_UNREACHABLE")


async def test_connection_is_used_again_after_errors(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(proxied(upstream.address, service=NO_RETRIES))
    scripts = [status_of(404), cut(b"", 0), status_of(503), answer(HELLO)]
    upstream.script = answer(HELLO)
    upstream.next.extend(scripts)
    async with connected(gateway.addresses.http) as connection:
        statuses = []
        for _ in scripts:
            await connection.send(request("POST", "/", "content-length: 5", body=b"hello"))
            answered = await connection.response()
            assert answered is not None
            statuses.append(answered.status)
        await connection.send(request("GET", "/a/../b"))
        refused = await connection.response()
        await connection.send(request("GET", "/"))
        following = await connection.response()
    assert refused is not None
    assert following is not None
    assert [*statuses, refused.status] == [404, 502, 503, 200, 400]


# What is tried again.


@pytest.mark.parametrize(
    "script",
    [cut(b"", 0), reset(), status_of(502), status_of(503), status_of(504)],
    ids=["closed", "reset", "502", "503", "504"],
)
async def test_failure_is_made_good_by_another_endpoint(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams, script: Script
) -> None:
    first, second = await upstreams(2)
    await gateway.apply(first_then(first.address, second.address))
    first.script, second.script = script, answer(HELLO)
    answered = await client.send("/x", "PUT", data=b"a small body")
    assert (answered.status, answered.body, answered.header("x-janua-attempts")) == (200, b"hello", "2")
    assert [(each.method, each.target, each.body) for each in (*first.requests, *second.requests)] == [
        ("PUT", "/x", b"a small body")
    ] * 2


async def test_unreachable_endpoint_is_passed_over_whatever_the_body(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(first_then(UNUSED, upstream.address))
    upstream.script = answer(HELLO)
    assert (await client.send("/", "PUT", data=large_body())).body == b"hello"
    assert len(upstream.requests[0].body) == LARGE


async def test_body_that_is_still_coming_is_sent_again_from_its_beginning(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(HELLO)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        assert await read_chunk(reader) == b"first"
        writer.write(response(503, b"", headers=[("connection", "close")]))

    async with raw_backend(refuse) as backend:
        await gateway.apply(first_then(backend.address, upstream.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("PUT", "/", "transfer-encoding: chunked", body=chunk(b"first")))
            await eventually(lambda: has_connections(upstream, 1), "the other endpoint is asked")
            await connection.send(chunk(b"second") + b"0\r\n\r\n")
            answered = await connection.response()
    assert answered is not None
    assert (answered.status, answered.body) == (200, b"hello")
    assert [each.body for each in upstream.requests] == [b"firstsecond"]


@pytest.mark.parametrize("failing", [reset(), status_of(503)], ids=["reset", "503"])
async def test_request_that_may_have_been_acted_on_is_sent_again_only_where_that_is_configured(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams, failing: Script
) -> None:
    first, second = await upstreams(2)
    first.script, second.script = failing, answer(HELLO)
    await gateway.apply(first_then(first.address, second.address))
    for method in ("POST", "PATCH", "REPORT"):
        assert (await client.send("/", method, data=b"x")).status in (502, 503)
    assert second.requests == []
    for method in ("GET", "PUT", "DELETE"):
        assert (await client.send("/", method)).status == 200
    policy = {"retry_on": ["RESET", "GATEWAY_ERROR"]}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": policy}))
    assert (await client.send("/", "POST", data=b"x")).status == 200


async def test_request_that_no_backend_has_seen_is_sent_to_another(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(HELLO)
    await gateway.apply(first_then(UNUSED, upstream.address))
    assert (await client.send("/", "POST", data=b"x")).status == 200


async def has_connections(upstream: FaultyUpstream, count: int) -> bool:
    return upstream.connections >= count


async def test_body_of_which_too_much_was_sent_is_not_sent_again(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams
) -> None:
    first, second = await upstreams(2)
    await gateway.apply(first_then(first.address, second.address))
    first.script = status_of(503, b"the first says no", x_first="1")
    answered = await client.send("/", "POST", data=large_body())
    assert (answered.status, answered.body, answered.header("x-first")) == (503, b"the first says no", "1")
    assert second.requests == []


async def test_nothing_is_tried_again_once_the_answer_has_begun(gateway: Gateway, upstreams: Upstreams) -> None:
    first, second = await upstreams(2)
    await gateway.apply(first_then(first.address, second.address))
    first.script = cut(BEGUN_WITH_LENGTH, len(BEGUN_WITH_LENGTH))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/"))
        answered = await connection.response()
    assert answered is not None
    assert (answered.status, answered.body, answered.is_complete) == (200, b"begun", False)
    assert second.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_last_failure_is_shown_as_the_backend_wrote_it(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams, method: str
) -> None:
    first, second = await upstreams(2)
    policy = {"num_retries": 1}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": policy}))
    first.script = status_of(503, b"" if method == "HEAD" else b"the first says no", x_first="1")
    second.script = status_of(502, b"" if method == "HEAD" else b"the second says no", x_second="2", retry_after="7")
    answered = await client.send("/", method)
    assert (answered.status, answered.body) == (502, b"" if method == "HEAD" else b"the second says no")
    assert answered.header("content-type") == "text/x"
    assert (answered.header("x-first"), answered.header("x-second")) == (None, "2")
    assert (answered.header("retry-after"), answered.header("x-janua-attempts")) == ("7", "2")
    assert len(answered.values("content-length")) == 1


async def test_failed_head_keeps_the_length_that_the_backend_tells(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(proxied(upstream.address, service=NO_RETRIES))
    upstream.script = answer(b"HTTP/1.1 503 x\r\ncontent-length: 1234\r\n\r\n")
    for _ in range(2):
        answered = await client.send("/", "HEAD")
        assert (answered.status, answered.header("content-length"), answered.body) == (503, "1234", b"")


async def test_large_failure_is_passed_through_whole(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams
) -> None:
    first, second = await upstreams(2)
    await gateway.apply(first_then(first.address, second.address))
    first.script = status_of(500, b"x" * LARGE)
    answered = await client.send()
    assert (answered.status, len(answered.body)) == (500, LARGE)
    first.script = status_of(503, b"x" * LARGE)
    answered = await client.send()
    assert (answered.status, len(answered.body)) == (503, LARGE)


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 429, 500, 501, 505])
async def test_other_failures_are_the_clients_to_see(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams, status: int
) -> None:
    first, second = await upstreams(2)
    await gateway.apply(first_then(first.address, second.address))
    first.script = status_of(status)
    assert (await client.send()).status == status
    assert second.requests == []


async def test_another_service_takes_over(gateway: Gateway, client: ProxyClient, upstreams: Upstreams) -> None:
    first, second = await upstreams(2)
    backends = [{"service": "first"}, {"service": "second", "priority": 1}]
    route = {"backends": backends, **NO_RETRIES}
    await gateway.apply(several_services(route, first=first.address, second=second.address))
    second.script = answer(HELLO)
    for script in (status_of(500), status_of(503), status_of(429), cut(b"", 0)):
        first.script = script
        answered = await client.send("/", "PUT", data=b"a small body")
        assert (answered.body, answered.header("x-janua-service")) == (b"hello", "second")
        assert second.requests[-1].body == b"a small body"
    first.script = status_of(404)
    assert (await client.send()).status == 404
    first.script = status_of(503, b"the first says no")
    answered = await client.send("/", "PUT", data=large_body())
    assert (answered.status, answered.body) == (503, b"the first says no")


async def test_only_named_failures_lead_to_another_service(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams
) -> None:
    first, second = await upstreams(2)
    backends = [{"service": "first"}, {"service": "second", "priority": 1}]
    route = {"backends": backends, "fallback_on": ["RATE_LIMITED"], **NO_RETRIES}
    await gateway.apply(several_services(route, first=first.address, second=second.address))
    second.script = answer(HELLO)
    first.script = status_of(429)
    assert (await client.send()).status == 200
    first.script = status_of(503)
    assert (await client.send()).status == 503


async def test_shares_of_backends_are_exact(gateway: Gateway, client: ProxyClient, upstreams: Upstreams) -> None:
    first, second = await upstreams(2)
    first.script = second.script = answer(HELLO)
    backends = [{"service": "first", "weight": 3}, {"service": "second", "weight": 1}]
    await gateway.apply(several_services({"backends": backends}, first=first.address, second=second.address))
    services = Counter([(await client.send(f"/{number}")).header("x-janua-service") for number in range(40)])
    assert services == {"first": 30, "second": 10}


# Copies.


async def test_copy_goes_to_the_mirror(gateway: Gateway, client: ProxyClient, upstreams: Upstreams) -> None:
    real, shadow = await upstreams(2)
    real.script = shadow.script = answer(HELLO)
    route = {"backends": [{"service": "real"}], "mirror": {"service": "shadow"}}
    await gateway.apply(several_services(route, real=real.address, shadow=shadow.address))
    assert (await client.send("/a?b", "PATCH", headers={"x-y": "z"}, data=b"hello")).header("x-janua-service") == "real"
    assert (await client.send("/")).body == b"hello"
    await shadow.wait_for_requests(2)
    copies = sorted((each.method, each.target, each.header("x-y"), each.body) for each in shadow.requests)
    assert copies == [("GET", "/", None, b""), ("PATCH", "/a?b", "z", b"hello")]


@pytest.mark.parametrize(
    "script",
    [status_of(500), status_of(503, b"x" * LARGE), cut(BEGUN, len(BEGUN)), reset(), stall(), stall(BEGUN, len(BEGUN))],
)
async def test_failure_of_the_mirror_changes_nothing(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams, script: Script
) -> None:
    real, shadow = await upstreams(2)
    real.script, shadow.script = answer(HELLO), script
    route = {"backends": [{"service": "real"}], "mirror": {"service": "shadow"}, "timeouts": {"request": "1s"}}
    await gateway.apply(several_services(route, real=real.address, shadow=shadow.address))
    begun = time.monotonic()
    for _ in range(3):
        answered = await client.send("/", "POST", data=b"hello")
        assert (answered.status, answered.body, answered.header("x-janua-attempts")) == (200, b"hello", "1")
    assert time.monotonic() - begun < 1
    await shadow.wait_for_requests(3)


async def test_body_that_is_still_coming_is_not_copied(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams
) -> None:
    real, shadow = await upstreams(2)
    real.script = answer(HELLO)
    route = {"backends": [{"service": "real"}], "mirror": {"service": "shadow"}}
    await gateway.apply(several_services(route, real=real.address, shadow=shadow.address))
    assert (await client.send("/", "POST", data=large_body())).body == b"hello"
    assert len(real.requests[0].body) == LARGE
    assert shadow.requests == []


# Time limits.


async def test_connecting_takes_no_longer_than_its_limit(gateway: Gateway, client: ProxyClient) -> None:
    with unanswering_address() as address:
        await gateway.apply(proxied(address, service={"timeouts": {"connect": "0.2s"}, **NO_RETRIES}))
        assert (await client.send()).problem() == (503, "UPSTREAM_UNREACHABLE")


async def test_request_takes_no_longer_than_the_limit_of_the_route(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    route = {"timeouts": {"request": "0.2s"}}
    await gateway.apply(proxied(upstream.address, route=route, service={"timeouts": {"request": "60s"}}))
    upstream.script = stall()
    assert (await client.send()).problem() == (504, "DEADLINE_EXCEEDED")
    await upstream.wait_for_disconnects(1)


async def test_try_takes_no_longer_than_its_limit_and_another_is_made(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams
) -> None:
    first, second = await upstreams(2)
    policy = {"num_retries": 1, "retry_on": ["TIMEOUT"], "per_try_timeout": "0.2s"}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": policy}))
    first.script, second.script = stall(), answer(HELLO)
    assert (await client.send("/", "POST", data=b"hello")).body == b"hello"
    await first.wait_for_disconnects(1)
    second.script = stall()
    assert (await client.send()).problem() == (504, "PER_TRY_TIMEOUT")


async def broken_off(client: ProxyClient) -> bytes:
    """What came of an answer that breaks off."""
    async with connected(client.address) as connection:
        await connection.send(request("GET", "/"))
        answered = await connection.response()
    assert answered is not None
    assert (answered.status, answered.is_complete) == (200, False)
    return answered.body


@pytest.mark.parametrize("timeouts", [{"stream_idle": "0.2s"}, {"request": "0.2s"}], ids=["idle", "request"])
async def test_answer_that_does_not_go_on_is_broken_off(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, timeouts: dict[str, str]
) -> None:
    await gateway.apply(proxied(upstream.address, route={"timeouts": timeouts}))
    upstream.script = stall(BEGUN, len(BEGUN))
    assert await broken_off(client) == b"begun"
    await upstream.wait_for_disconnects(1)


@pytest.mark.parametrize("sent", [b"", BEGUN], ids=["before the answer", "amid the answer"])
async def test_client_can_shorten_the_time(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, sent: bytes
) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = stall(sent, len(sent))
    begun = time.monotonic()
    headers = {"x-janua-timeout-ms": "200"}
    if sent:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.send(headers=headers)
    else:
        assert (await client.send(headers=headers)).problem() == (504, "DEADLINE_EXCEEDED")
    assert 0.2 <= time.monotonic() - begun < 2
    await upstream.wait_for_disconnects(1)
    assert upstream.requests[0].header("x-janua-timeout-ms") is None


async def test_client_cannot_lengthen_the_time(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address, route={"timeouts": {"request": "0.2s"}}))
    upstream.script = stall()
    assert (await client.send(headers={"x-janua-timeout-ms": "60000"})).status == 504


@pytest.mark.parametrize("value", ["0", "-1", "+1", "1.5", "1e3", "", "abc", "1" * 13, "1, 2", "\u0661"])
async def test_time_limit_that_is_none_is_refused(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, value: str
) -> None:
    await gateway.apply(proxied(upstream.address))
    assert (await client.send(headers={"x-janua-timeout-ms": value})).problem() == (400, "INVALID_REQUEST")
    assert upstream.requests == []


# Balancing.


async def test_sticky_cookie_leads_back_to_the_same_endpoint(
    gateway: Gateway, client: ProxyClient, upstreams: Upstreams
) -> None:
    servers = await upstreams(3)
    for server in servers:
        server.script = answer(response(200, b"x", headers=[("set-cookie", "own=1")]))
    balancing = {"policy": "RING_HASH", "hash_policy": [{"cookie": "route"}]}
    addresses = [server.address for server in servers]
    await gateway.apply(proxied(*addresses, upstream={"load_balancing": balancing}))
    for _ in range(4):
        first = await client.send()
        own, sticky = first.values("set-cookie")
        assert own == "own=1"
        cookie = sticky.partition(";")[0]
        assert cookie.startswith("route=")
        for _ in range(4):
            following = await client.send(headers={"cookie": f"a=b; {cookie}"})
            assert following.header("x-janua-endpoint") == first.header("x-janua-endpoint")
            assert following.values("set-cookie") == ["own=1"]


async def test_circuit_breaker_answers_at_once(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    breakers = {"max_requests": 1, "max_pending_requests": 0}
    await gateway.apply(proxied(upstream.address, upstream={"circuit_breakers": breakers}, service=NO_RETRIES))
    upstream.script = stall(BEGUN, len(BEGUN))
    async with client.open() as holding:
        assert await holding.content.readany() == b"begun"
        refused = await client.send()
        assert refused.problem() == (503, "CIRCUIT_OPEN")
        assert refused.header("retry-after") is not None
    await upstream.wait_for_disconnects(1)
    upstream.script = answer(HELLO)
    await gateway.wait_until_idle()
    assert (await client.send()).body == b"hello"
