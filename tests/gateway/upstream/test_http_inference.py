"""One attempt against every fault that an upstream can have: each becomes the right kind of failure, the right error
for the client, and leaves nothing behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.config.snapshot import Failure
from gateway.errors import (
    BadGatewayError,
    ErrorCode,
    GatewayError,
    RateLimitedError,
    TimeoutExceededError,
    UnavailableError,
    UpstreamRejectedError,
)
from gateway.framing.sse import MAX_EVENT_BYTES
from gateway.upstream.answer import StreamAnswer, UnaryAnswer
from gateway.upstream.cluster import Cluster
from gateway.upstream.http_inference import HttpInference
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.status_errors import parse_retry_after
from tests.gateway.upstream.calls import (
    DONE,
    EVENTS,
    FINISH,
    HELLO,
    ROLE,
    STREAM,
    THERE,
    WHOLE,
    LoopClock,
    attempt,
    chat_request,
    cluster_of,
    turns,
    until,
)
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, response, sse

HTML = response(200, b"<html>Bad Gateway</html>", content_type="text/html")


@pytest.fixture
async def cluster(faulty_upstream: FaultyUpstream) -> AsyncIterator[Cluster]:
    cluster = cluster_of(faulty_upstream.address)
    yield cluster
    assert [endpoint.active_requests for endpoint in cluster.endpoints] == [0]
    await cluster.connections.close()


async def unary(cluster: Cluster, request: HttpInference[Any] | None = None) -> UnaryAnswer:
    answer = await attempt(cluster, cluster.endpoints[0], request or chat_request())
    assert isinstance(answer, UnaryAnswer)
    return answer


async def streamed(cluster: Cluster, request: HttpInference[Any] | None = None) -> StreamAnswer:
    answer = await attempt(cluster, cluster.endpoints[0], request or chat_request(stream=True))
    assert isinstance(answer, StreamAnswer)
    return answer


async def failure(cluster: Cluster, request: HttpInference[Any]) -> AttemptFailedError:
    with pytest.raises(AttemptFailedError) as caught:
        await attempt(cluster, cluster.endpoints[0], request)
    return caught.value


# What goes well.


async def test_whole_answer(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    answer = await unary(cluster)
    assert (answer.status, json.loads(answer.body)["object"]) == (200, "chat.completion")
    (request,) = faulty_upstream.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.json() == {"model": "m", "messages": []}


async def test_stream_is_committed_to_at_its_first_content(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    permits = asyncio.Semaphore(2)
    pieces = [STREAM[: until(STREAM, HELLO)], STREAM[until(STREAM, HELLO) : until(STREAM, THERE)]]
    faulty_upstream.script = scripts.stepped([*pieces, STREAM[until(STREAM, THERE) :]], permits)
    answer = await streamed(cluster)
    assert answer.first == ROLE + HELLO
    assert cluster.endpoints[0].active_requests == 1
    permits.release()
    rest = b""
    while data := await answer.rest.read():
        rest += data
    assert rest == THERE + FINISH + DONE
    answer.rest.close()


async def test_role_alone_is_not_content(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    permits = asyncio.Semaphore(1)
    faulty_upstream.script = scripts.stepped([STREAM[: until(STREAM, HELLO)], STREAM[until(STREAM, HELLO) :]], permits)
    waiting = asyncio.create_task(streamed(cluster))
    await faulty_upstream.wait_for_requests(1)
    await turns()
    assert not waiting.done()
    permits.release()
    answer = await waiting
    assert answer.first.startswith(ROLE + HELLO)
    answer.rest.close()


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
async def test_stream_is_known_by_its_content_type(
    cluster: Cluster, faulty_upstream: FaultyUpstream, content_type: str
) -> None:
    faulty_upstream.script = scripts.answer(chunked_response(EVENTS, content_type=content_type))
    (await streamed(cluster)).rest.close()


async def test_whole_answer_may_come_where_a_stream_was_asked_for(
    cluster: Cluster, faulty_upstream: FaultyUpstream
) -> None:
    faulty_upstream.script = scripts.answer(WHOLE)
    assert (await unary(cluster, chat_request(stream=True))).status == 200


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_uncompressed_is_uncompressed(cluster: Cluster, faulty_upstream: FaultyUpstream, encoding: str) -> None:
    faulty_upstream.script = scripts.answer(response(200, b"{}", headers=[("content-encoding", encoding)]))
    assert (await unary(cluster)).body == b"{}"


async def test_any_success_is_one(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(202, b' \n{"id":1}'))
    assert (await unary(cluster)).status == 202


async def test_connection_is_used_again_after_success_and_after_an_error_that_was_read(
    cluster: Cluster, faulty_upstream: FaultyUpstream
) -> None:
    await unary(cluster)
    faulty_upstream.next.append(scripts.fail(503))
    await failure(cluster, chat_request())
    answer = await streamed(cluster)
    while await answer.rest.read():
        pass
    answer.rest.close()
    await unary(cluster)
    assert faulty_upstream.connections == 1


async def test_connection_is_closed_with_a_stream_that_is_not_read_to_its_end(
    cluster: Cluster, faulty_upstream: FaultyUpstream
) -> None:
    faulty_upstream.script = scripts.stall(STREAM, until(STREAM, THERE))
    answer = await streamed(cluster)
    answer.rest.close()
    answer.rest.close()
    await faulty_upstream.wait_for_disconnects(1)


# What goes wrong.


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What an upstream does, and what an attempt makes of it."""

    script: scripts.Script
    kind: Failure | None
    error: type[GatewayError] = BadGatewayError
    reason: str = "UPSTREAM_RESET"
    is_streaming: bool | None = None
    """None: the same for both."""


def status_fault(status: int, kind: Failure | None, error: type[GatewayError], reason: str) -> Fault:
    return Fault(script=scripts.fail(status), kind=kind, error=error, reason=reason)


ERROR_EVENT = sse({"error": {"message": "out of order"}}, done=False)
OVERLOADED_EVENT = sse({"error": {"message": "the model is overloaded"}}, done=False)
RESET, GATEWAY_ERROR = Failure.RESET, Failure.GATEWAY_ERROR
FAULTS = {
    "reset before the head": Fault(script=scripts.reset(), kind=RESET),
    "closed before the head": Fault(script=scripts.cut(b"", 0), kind=RESET),
    "reset in the head": Fault(script=scripts.reset(WHOLE, 20), kind=RESET),
    "closed in the head": Fault(script=scripts.cut(WHOLE, 20), kind=RESET),
    "garbage": Fault(script=scripts.cut(b"\x16\x03\x01 hello\r\n\r\n", 99), kind=RESET),
    "reset in the body": Fault(script=scripts.reset(WHOLE, len(WHOLE) - 9), kind=RESET, is_streaming=False),
    "closed in the body": Fault(script=scripts.cut(WHOLE, len(WHOLE) - 9), kind=RESET, is_streaming=False),
    "nothing": Fault(script=scripts.answer(response(200)), kind=RESET),
    "no content": Fault(script=scripts.answer(response(204)), kind=RESET),
    "HTML": Fault(script=scripts.answer(HTML), kind=RESET),
    "JSON that is no object": Fault(script=scripts.answer(json_response(200, ["a"])), kind=RESET),
    "stream where none was asked for": Fault(script=scripts.answer(STREAM), kind=RESET, is_streaming=False),
    "compressed": Fault(
        script=scripts.answer(response(200, b"\x1f\x8b", headers=[("content-encoding", "gzip")])), kind=RESET
    ),
    "compressed stream": Fault(
        script=scripts.answer(chunked_response(EVENTS, headers=[("content-encoding", "br")])), kind=RESET
    ),
    "switched protocols": Fault(
        script=scripts.stall(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 99
        ),
        kind=RESET,
    ),
    "stream reset before content": Fault(
        script=scripts.reset(STREAM, until(STREAM, HELLO)), kind=RESET, is_streaming=True
    ),
    "stream closed before content": Fault(
        script=scripts.cut(STREAM, until(STREAM, HELLO)), kind=RESET, is_streaming=True
    ),
    "stream without content": Fault(script=scripts.answer(chunked_response([ROLE])), kind=RESET, is_streaming=True),
    "empty stream": Fault(script=scripts.answer(chunked_response([])), kind=RESET, is_streaming=True),
    "stream of comments": Fault(
        script=scripts.answer(chunked_response([b": ping\n\n"] * 3)), kind=RESET, is_streaming=True
    ),
    "stream cut in its first event": Fault(
        script=scripts.answer(chunked_response([HELLO[:20]])), kind=RESET, is_streaming=True
    ),
    "stream of garbage": Fault(
        script=scripts.answer(chunked_response([b"data: garbage\n\n"])), kind=RESET, is_streaming=True
    ),
    "stream of nested garbage": Fault(
        script=scripts.answer(chunked_response([b"data: " + b"[" * 100_000 + b"\n\n"])), kind=RESET, is_streaming=True
    ),
    "stream of an endless event": Fault(
        script=scripts.answer(chunked_response([b"x" * 65536] * (MAX_EVENT_BYTES // 65536 + 1))),
        kind=RESET,
        is_streaming=True,
    ),
    "error at the start of a stream": Fault(
        script=scripts.answer(chunked_response([ROLE, *ERROR_EVENT])),
        kind=GATEWAY_ERROR,
        reason="UPSTREAM_FAILED",
        is_streaming=True,
    ),
    "overload at the start of a stream": Fault(
        script=scripts.answer(chunked_response([ROLE, *OVERLOADED_EVENT])),
        kind=Failure.OVERLOADED,
        error=UnavailableError,
        reason="UPSTREAM_OVERLOADED",
        is_streaming=True,
    ),
    "error event at the start of a stream": Fault(
        script=scripts.answer(chunked_response([b"event: error\ndata: whatever\n\n"])),
        kind=GATEWAY_ERROR,
        reason="UPSTREAM_FAILED",
        is_streaming=True,
    ),
    "huge": Fault(
        script=scripts.huge(65 * 1024 * 1024), kind=None, reason="UPSTREAM_ANSWER_TOO_LARGE", is_streaming=False
    ),
    "301": status_fault(301, None, BadGatewayError, "UPSTREAM_FAILED"),
    "304": Fault(script=scripts.answer(b"HTTP/1.1 304 Not Modified\r\n\r\n"), kind=None, reason="UPSTREAM_FAILED"),
    "307": status_fault(307, None, BadGatewayError, "UPSTREAM_FAILED"),
    "401": status_fault(401, Failure.UNAUTHENTICATED, BadGatewayError, "UPSTREAM_AUTH_FAILED"),
    "403": status_fault(403, Failure.PERMISSION_DENIED, BadGatewayError, "UPSTREAM_AUTH_FAILED"),
    "407": status_fault(407, Failure.UNAUTHENTICATED, BadGatewayError, "UPSTREAM_AUTH_FAILED"),
    "429": status_fault(429, Failure.RATE_LIMITED, RateLimitedError, "RATE_LIMITED"),
    "500": status_fault(500, Failure.SERVER_ERROR, BadGatewayError, "UPSTREAM_FAILED"),
    "501": status_fault(501, Failure.SERVER_ERROR, BadGatewayError, "UPSTREAM_FAILED"),
    "502": status_fault(502, GATEWAY_ERROR, BadGatewayError, "UPSTREAM_FAILED"),
    "503": status_fault(503, GATEWAY_ERROR, UnavailableError, "UPSTREAM_UNAVAILABLE"),
    "504": status_fault(504, GATEWAY_ERROR, TimeoutExceededError, "UPSTREAM_TIMEOUT"),
    "529": status_fault(529, Failure.OVERLOADED, UnavailableError, "UPSTREAM_OVERLOADED"),
    "999": status_fault(999, Failure.SERVER_ERROR, BadGatewayError, "UPSTREAM_FAILED"),
    "503 with a huge page": Fault(
        script=scripts.answer(response(503, b"<p>" * 1_000_000)),
        kind=GATEWAY_ERROR,
        error=UnavailableError,
        reason="UPSTREAM_UNAVAILABLE",
    ),
}


@pytest.mark.parametrize(
    ("name", "is_streaming"),
    [
        pytest.param(name, is_streaming, id=f"{name}-{'stream' if is_streaming else 'unary'}")
        for name, fault in FAULTS.items()
        for is_streaming in (False, True)
        if fault.is_streaming in (None, is_streaming)
    ],
)
async def test_fault(cluster: Cluster, faulty_upstream: FaultyUpstream, name: str, is_streaming: bool) -> None:
    fault = FAULTS[name]
    faulty_upstream.script = fault.script
    failed = await failure(cluster, chat_request(stream=is_streaming))
    assert next(iter(failed.failures), None) is fault.kind
    assert type(failed.error) is fault.error
    assert failed.error.reason == fault.reason
    assert len(faulty_upstream.requests) == 1


async def test_refused_connection() -> None:
    upstream = FaultyUpstream()
    await upstream.start()
    cluster = cluster_of(upstream.address)
    await upstream.stop()
    failed = await failure(cluster, chat_request())
    assert failed.failures == (Failure.CONNECT_FAILURE,)
    assert type(failed.error) is UnavailableError
    assert failed.error.reason == "UPSTREAM_UNREACHABLE"
    assert cluster.endpoints[0].active_requests == 0
    await cluster.connections.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ErrorCode.INVALID_REQUEST),
        (402, ErrorCode.INVALID_REQUEST),
        (404, ErrorCode.NOT_FOUND),
        (413, ErrorCode.PAYLOAD_TOO_LARGE),
        (418, ErrorCode.INVALID_REQUEST),
        (422, ErrorCode.INVALID_REQUEST),
        (499, ErrorCode.INVALID_REQUEST),
    ],
)
@pytest.mark.parametrize("is_streaming", [False, True])
async def test_request_that_the_upstream_refuses(
    cluster: Cluster, faulty_upstream: FaultyUpstream, status: int, code: ErrorCode, is_streaming: bool
) -> None:
    data = json_response(status, {"error": {"message": "no such thing", "more": [1]}})
    faulty_upstream.script = scripts.answer(data)
    with pytest.raises(UpstreamRejectedError, match="no such thing") as caught:
        await attempt(cluster, cluster.endpoints[0], chat_request(stream=is_streaming))
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.body == data.partition(b"\r\n\r\n")[2]
    assert caught.value.content_type == "application/json"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"detail":"no"}', b"x" * 2_000_000])
async def test_refusal_in_another_dialect_is_not_passed_on(
    cluster: Cluster, faulty_upstream: FaultyUpstream, body: bytes
) -> None:
    faulty_upstream.script = scripts.answer(response(400, body, content_type="text/html"))
    with pytest.raises(UpstreamRejectedError, match=r"refused the request \(status 400\)") as caught:
        await unary(cluster)
    assert caught.value.body is None


async def test_refusal_of_our_credential_is_our_fault(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.fail(401, "Incorrect API key provided: sk-ours")
    failed = await failure(cluster, chat_request())
    assert failed.error.code is ErrorCode.BAD_GATEWAY
    assert "sk-ours" not in str(failed.error)
    assert "check the service's secret" in str(failed.error)


async def test_message_of_the_upstream_is_told(cluster: Cluster, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.fail(500, "CUDA out of memory")
    assert str((await failure(cluster, chat_request())).error) == (
        "the upstream failed (status 500): CUDA out of memory"
    )


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("²", None)]
)
async def test_waiting_time_that_the_upstream_asks_for(
    cluster: Cluster, faulty_upstream: FaultyUpstream, status: int, header: str, seconds: float | None
) -> None:
    faulty_upstream.script = scripts.fail(status, headers=[("retry-after", header)])
    assert (await failure(cluster, chat_request())).error.retry_after_s == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 30 ", 30.0),
        ("999999999", 999999999.0),
        ("-1", None),
        ("1.5", None),
        ("1e9", None),
        ("²", None),
        ("٣", None),
        ("9" * 400, None),
        ("inf", None),
        ("soon", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


# Time.


@pytest.mark.parametrize("is_streaming", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scripts.stall(), id="before the head"),
        pytest.param(scripts.stall(STREAM, until(STREAM, HELLO)), id="before content"),
        pytest.param(scripts.stall(response(503, b"x" * 10), 90), id="in an error"),
    ],
)
async def test_no_content_in_time(
    cluster: Cluster, faulty_upstream: FaultyUpstream, script: scripts.Script, is_streaming: bool
) -> None:
    faulty_upstream.script = script
    failed = await failure(cluster, chat_request(stream=is_streaming, first_content_timeout_s=0.05))
    assert failed.failures == (Failure.TIMEOUT,)
    assert type(failed.error) is TimeoutExceededError
    assert str(failed.error) == "no content from the upstream within 0.05 s"
    assert failed.error.reason == "FIRST_TOKEN_TIMEOUT"
    await faulty_upstream.wait_for_disconnects(1)


async def test_limit_to_the_first_content_does_not_bound_the_rest(
    cluster: Cluster, faulty_upstream: FaultyUpstream
) -> None:
    clock = LoopClock()
    permits = asyncio.Semaphore(1)
    place = until(STREAM, THERE)
    faulty_upstream.script = scripts.stepped([STREAM[:place], STREAM[place:]], permits)
    answer = await streamed(cluster, chat_request(stream=True, first_content_timeout_s=60))
    await clock.advance(120)
    permits.release()
    assert (await answer.rest.read()).startswith(THERE)
    answer.rest.close()


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_cancelled_attempt_stops_the_upstream(
    cluster: Cluster, faulty_upstream: FaultyUpstream, is_streaming: bool
) -> None:
    faulty_upstream.script = scripts.stall(STREAM, until(STREAM, HELLO))
    asking = asyncio.create_task(attempt(cluster, cluster.endpoints[0], chat_request(stream=is_streaming)))
    await faulty_upstream.wait_for_requests(1)
    assert cluster.endpoints[0].active_requests == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert cluster.endpoints[0].active_requests == 0
    await faulty_upstream.wait_for_disconnects(1)


async def test_request_does_not_show_its_headers_or_body() -> None:
    request = chat_request(headers=[("authorization", "Bearer sk-ours")], body=b"a secret question")
    assert "sk-ours" not in repr(request)
    assert "secret" not in repr(request)
