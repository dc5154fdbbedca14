"""What a client learns when the backend refuses, fails, or answers what is no answer."""

import json

import aiohttp
import pytest

from tests.conformance.calls import EVENT, Caller, CallFailedError, Kind, ask, assert_refused
from tests.conformance.configuration import Configuration, one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import ERROR, FIRST_EVENTS, HELLO, ROLE, open_stream, stream_of
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, response, sse
from tests.support.scripts import answer, fail

WHOLE_ANSWERS = (
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/messages/count_tokens",
    "/v1beta/models/m:countTokens",
    "/v1beta/models/m:embedContent",
    "/v1beta/models/m:batchEmbedContents",
    "/v2/embed",
    "/v2/rerank",
    "/api/embed",
    "/v1/moderations",
    "/v1/images/generations",
)


def without_retries(upstream: FaultyUpstream) -> Configuration:
    return one_pool(upstream.address, service={"retry_policy": {"num_retries": 0}})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID_REQUEST),
        (404, Kind.NOT_FOUND),
        (409, Kind.INVALID_REQUEST),
        (413, Kind.TOO_LARGE),
        (422, Kind.INVALID_REQUEST),
    ],
)
async def test_refusal_is_shown_and_not_repeated(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, status: int, kind: Kind
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = fail(status, "the prompt has 9000 tokens, 4096 fit")

    failure = (await ask(caller, streamed=streamed)).failure

    assert failure is not None
    assert failure.status in (str(status), kind.on(caller.wire))
    assert failure.message == "the prompt has 9000 tokens, 4096 fit"
    assert len(upstream.requests) == 1


async def test_refusal_over_http_stands_as_the_backend_wrote_it(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(one_pool(upstream.address))
    body = b'{ "error": {"message":"no", "type":"exotic", "code":7, "param":null, "hint":"\xc3\xa9"} }'
    upstream.script = answer(response(422, body, headers=[("x-trace", "t-1")]))
    async with session.post(f"http://{gateway.addresses.http}/v1/chat/completions", json={"model": "m"}) as got:
        assert (got.status, await got.read()) == (422, body)
        assert got.content_type == "application/json"


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_refused_credential_of_the_gateway_is_not_the_callers_fault(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, status: int
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = fail(status, "Incorrect API key provided: sk-gate***way")

    failure = assert_refused(await ask(caller, streamed=streamed), Kind.BAD_GATEWAY, "UPSTREAM_AUTH_FAILED")

    assert "sk-gate" not in failure.message
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credential_is_not_the_callers_fault_whatever_is_asked_for(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, status: int
) -> None:
    target = {"upstream": "pool", "schema": "PASSTHROUGH"}
    await gateway.apply(one_pool(upstream.address, service={"upstream_service": target}))
    upstream.script = fail(status, "Incorrect API key provided: sk-gate***way")
    for path in WHOLE_ANSWERS:
        async with session.post(f"http://{gateway.addresses.http}{path}", json={"model": "m"}) as got:
            assert (got.status, "sk-gate" in await got.text()) == (502, False), path
    assert len(upstream.requests) == len(WHOLE_ANSWERS)


@pytest.mark.parametrize(("headers", "seconds"), [([("retry-after", "7")], 7.0), ([], None)], ids=["told", "not told"])
async def test_rate_limit_tells_when_to_come_again(
    gateway: Gateway,
    upstream: FaultyUpstream,
    caller: Caller,
    streamed: bool,
    headers: list[tuple[str, str]],
    seconds: float | None,
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = fail(429, "slow down", headers=headers)

    failure = assert_refused(await ask(caller, streamed=streamed), Kind.RATE_LIMITED, "RATE_LIMITED")

    assert (failure.message, failure.retry_after_s) == ("slow down", seconds)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (500, Kind.BAD_GATEWAY, "UPSTREAM_FAILED"),
        (502, Kind.BAD_GATEWAY, "UPSTREAM_FAILED"),
        (503, Kind.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        (504, Kind.TIMEOUT, "UPSTREAM_TIMEOUT"),
        (529, Kind.UNAVAILABLE, "UPSTREAM_OVERLOADED"),
    ],
)
async def test_failure_of_the_backend(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, status: int, kind: Kind, reason: str
) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = fail(status, "kaputt")

    answer = await ask(caller, streamed=streamed)

    failure = assert_refused(answer, kind, reason)
    assert "kaputt" in failure.message
    assert answer.headers["x-janua-endpoint"] == upstream.address
    assert answer.headers["x-janua-attempts"] == "1"


async def test_overloaded_backend_tells_when_to_come_again(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = fail(503, headers=[("retry-after", "3")])
    failure = assert_refused(await ask(caller), Kind.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
    assert failure.retry_after_s == 3.0


async def test_redirect_is_not_followed(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = answer(response(307, headers=[("location", f"{upstream.url}/elsewhere")]))
    assert_refused(await ask(caller), Kind.BAD_GATEWAY, "UPSTREAM_FAILED")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "body", [b"<html>welcome</html>", b"", b"[]", b'"text"'], ids=["html", "empty", "list", "text"]
)
async def test_whole_answer_that_is_none(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, body: bytes
) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = answer(response(200, body))
    assert_refused(await ask(caller), Kind.BAD_GATEWAY, "UPSTREAM_RESET")


BROKEN = pytest.mark.parametrize(
    "body", [b'{"choices":', b'{"choices": ' + b"[" * 100_000], ids=["truncated", "nested"]
)


@BROKEN
async def test_broken_answer_cannot_be_typed(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller, body: bytes
) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = answer(response(200, body))
    assert_refused(await ask(grpc_caller), Kind.BAD_GATEWAY, "UPSTREAM_MALFORMED")


@BROKEN
async def test_broken_answer_passes_through_as_any_other(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, body: bytes
) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = answer(response(200, body))
    async with session.post(f"http://{gateway.addresses.http}/v1/chat/completions", json={"model": "m"}) as got:
        assert (got.status, await got.read()) == (200, body)


async def test_compressed_answer_that_was_not_asked_for(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = answer(response(200, b"\x1f\x8b...", headers=[("content-encoding", "gzip")]))
    assert_refused(await ask(caller, streamed=streamed), Kind.BAD_GATEWAY, "UPSTREAM_RESET")
    assert upstream.requests[0].header("accept-encoding") == "identity"


async def test_error_event_amid_a_stream_reaches_the_client(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stream_of(sse(ROLE, HELLO, ERROR))
    answer = await ask(caller, streamed=True)
    assert answer.text == "hello"
    assert answer.failure is not None
    assert answer.failure.status in (EVENT, Kind.BAD_GATEWAY.on(caller.wire))
    assert "the model crashed" in answer.failure.message


async def test_stream_that_becomes_garbage_over_grpc_is_an_error(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller
) -> None:
    """Over HTTP the bytes of the same dialect pass through; typed messages need events that can be understood."""
    await gateway.apply(one_pool(upstream.address))
    upstream.script = answer(open_stream(FIRST_EVENTS, b"data: {garbage\n\n"))
    got = await ask(grpc_caller, streamed=True)
    assert got.text == "hello"
    assert got.failure is not None
    assert (got.failure.status, got.failure.reason) == ("UNAVAILABLE", "UPSTREAM_MALFORMED")


async def test_embeddings_that_are_none(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(without_retries(upstream))
    upstream.script = fail(500)
    with pytest.raises(CallFailedError) as failed:
        await caller.embed("m", ["one"])
    assert failed.value.failure.status == Kind.BAD_GATEWAY.on(caller.wire)


async def test_error_without_a_text_of_its_own_has_one(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = answer(json_response(404, {"detail": "Not Found"}))
    async with session.post(f"http://{gateway.addresses.http}/v1/chat/completions", json={"model": "m"}) as got:
        error = json.loads(await got.read())["error"]
    assert (got.status, error["type"], error["code"]) == (404, "not_found_error", "upstream_rejected")
    assert "404" in error["message"]
