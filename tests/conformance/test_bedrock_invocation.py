"""Bedrock's own operations on models, passed through by path: what they take is counted as it is of any other request
for a model, and their errors are Bedrock's."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.session import Session

from gateway.framing.aws_event_stream import AwsEventStreamParser, encode_frame
from tests.conformance.configuration import api_key, with_keys
from tests.conformance.conftest import MAX_BODY_BYTES, Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.proxying import ProxiedAnswer, ProxyClient
from tests.conformance.test_bedrock import LONG_LIVED, MODEL, as_json, bedrock
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, response
from tests.support.scripts import Script, answer, cut, fail, stall

INVOKE, STREAM = "/model/claude/invoke", "/model/claude/invoke-with-response-stream"
EVENT_STREAM = "application/vnd.amazon.eventstream"
PRICE = {"input": 2.0, "cached_input": 0.5, "cache_creation": 4.0, "output": 10.0}
USD = (3 * 2.0 + 100 * 0.5 + 10 * 4.0 + 7 * 10.0) / 1e6
ASKED = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
KEY = "sk-alice-0123456789"

CLAUDE: Mapping[str, Any] = {
    "type": "message",
    "content": [{"type": "text", "text": "hello"}],
    "usage": {
        "input_tokens": 3,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 10,
        "output_tokens": 7,
    },
}
COUNTED = [
    ("x-amzn-bedrock-input-token-count", "3"),
    ("x-amzn-bedrock-cache-read-input-token-count", "100"),
    ("x-amzn-bedrock-cache-write-input-token-count", "10"),
    ("x-amzn-bedrock-output-token-count", "7"),
]
METRICS = {
    "inputTokenCount": 3,
    "cacheReadInputTokenCount": 100,
    "cacheWriteInputTokenCount": 10,
    "outputTokenCount": 7,
    "invocationLatency": 5,
}


def frame(value: object) -> bytes:
    """A part of a maker's answer, as Bedrock sends it."""
    part = {"bytes": base64.b64encode(json.dumps(value).encode()).decode(), "p": "abcd"}
    return encode_frame(json.dumps(part).encode(), "chunk")


def stream(*frames: bytes) -> bytes:
    return chunked_response(list(frames), content_type=EVENT_STREAM)


DELTA = frame({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}})
CLAUDE_STREAM = [
    frame({"type": "message_start", "message": {**CLAUDE, "usage": {**CLAUDE["usage"], "output_tokens": 1}}}),
    DELTA,
    frame({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
    # What was cached is not always in it.
    frame({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 7}}),
]
OTHER_STREAM = [
    frame({"outputs": [{"text": "hello"}]}),
    frame({"outputs": [], "amazon-bedrock-invocationMetrics": METRICS}),
]


def exception(kind: str, message: str) -> bytes:
    return encode_frame(json.dumps({"message": message}).encode(), kind)


def refuse(status: int, message: str) -> Script:
    return answer(json_response(status, {"message": message}))


def configuration(*addresses: str, secret: Path, price: bool = True, **service: Any) -> dict[str, Any]:
    """What is below `/aws` to Bedrock, at each of these addresses in turn, signed."""
    secret.write_text(json.dumps(as_json(LONG_LIVED)), "utf-8")
    models = [{"name": "claude", "upstream_name": MODEL, **({"price": PRICE} if price else {})}]
    names = [f"bedrock-{number}" for number, _ in enumerate(addresses)]
    match = {"path": {"prefix": "/aws"}}
    backends = [{"service": name, "priority": number} for number, name in enumerate(names)]
    return {
        "secrets": [{"name": "aws", "file": str(secret)}],
        "services": [
            {
                "name": name,
                "models": models,
                "retry_policy": {"num_retries": 0},
                "proxy_service": {
                    "provider": "bedrock",
                    "base_url": f"http://{address}",
                    "region": "eu-west-1",
                    "credentials": [{"secret": "aws"}],
                },
                **service,
            }
            for name, address in zip(names, addresses, strict=True)
        ],
        "routes": [{"name": "aws", "match": match, "rewrite": {"path_prefix": "/"}, "backends": backends}],
    }


@pytest.fixture
async def client(
    gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream, tmp_path: Path
) -> ProxyClient:
    """A client of a node that passes what is below `/aws` to Bedrock."""
    await gateway.apply(configuration(upstream.address, secret=tmp_path / "aws"))
    return ProxyClient(gateway.addresses.http, session)


async def post(client: ProxyClient, path: str = INVOKE, value: object = ASKED, **headers: str) -> ProxiedAnswer:
    headers["content-type"] = "application/json"
    return await client.send(f"/aws{path}", "POST", headers=headers, data=json.dumps(value))


def refusal(answered: ProxiedAnswer) -> tuple[int, str | None, str]:
    """Status, kind and message of an error in Bedrock's form."""
    assert answered.header("content-type") == "application/json"
    return answered.status, answered.header("x-amzn-errortype"), json.loads(answered.body)["message"]


WHOLE = {
    "by the maker": json_response(200, CLAUDE),
    "by headers": json_response(200, {"outputs": [{"text": "hello"}]}, headers=COUNTED),
    "by Nova": json_response(200, {"output": {}, "usage": {**METRICS, "inputTokens": 3, "outputTokens": 7}}),
}
STREAMS = {"by the maker": stream(*CLAUDE_STREAM), "by metrics": stream(*OTHER_STREAM)}


@pytest.mark.parametrize(
    ("path", "sent"),
    [*((INVOKE, sent) for sent in WHOLE.values()), *((STREAM, sent) for sent in STREAMS.values())],
    ids=[*(f"whole, {told}" for told in WHOLE), *(f"stream, {told}" for told in STREAMS)],
)
async def test_tokens_and_cost_are_counted(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, path: str, sent: bytes
) -> None:
    upstream.script = answer(sent)
    labels = {"service": "bedrock-0", "gen_ai_operation_name": "generate_content"}
    counted = [{**labels, "gen_ai_token_type": kind} for kind in ("input", "output")]
    before = [await gateway.metric("gen_ai_client_token_usage_sum", each) for each in counted]

    answered = await post(client, path)

    assert answered.status == 200
    assert answered.body in sent if path == INVOKE else list(AwsEventStreamParser().feed(answered.body))
    (request,) = upstream.requests
    assert request.target == path.replace("claude", MODEL.replace(":", "%3A"))
    assert request.json() == ASKED
    assert LONG_LIVED.fault(request) is None
    entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
    assert (entry["model"], entry["service"], entry["status"]) == ("claude", "bedrock-0", "200")
    assert (entry["input_tokens"], entry["output_tokens"], entry.get("stream", False)) == (113, 7, path == STREAM)
    assert entry["cost_usd"] == pytest.approx(USD)
    after = [await gateway.metric("gen_ai_client_token_usage_sum", each) for each in counted]
    assert [now - then for now, then in zip(after, before, strict=True)] == [113, 7]


async def test_converse_is_counted_too(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = bedrock(LONG_LIVED)
    for path in ("/model/claude/converse", "/model/claude/converse-stream"):
        answered = await post(client, path)
        assert answered.status == 200
        entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
        assert (entry["input_tokens"], entry["output_tokens"]) == (5, 2)
        assert entry["cost_usd"] == pytest.approx((5 * 2.0 + 2 * 10.0) / 1e6)


@pytest.mark.parametrize(("path", "sent"), [(INVOKE, json_response(200, CLAUDE)), (STREAM, stream(*OTHER_STREAM))])
@pytest.mark.parametrize("rule", ["rate_limit", "budget"])
async def test_limits_of_tokens_and_budgets_hold(
    gateway: Gateway,
    session: aiohttp.ClientSession,
    upstream: FaultyUpstream,
    tmp_path: Path,
    path: str,
    sent: bytes,
    rule: str,
) -> None:
    """The first request takes 120 tokens, of which 64 were asked for: not even one more is left of 100, nor of its
    price."""
    spec: Mapping[str, Any] = {
        "rate_limit": {"limits": [{"unit": "TOTAL_TOKENS", "limit": 100, "window": "60s"}]},
        "budget": {"amount_usd": 0.0001, "period": "DAY"},
    }
    config = dict(with_keys(configuration(upstream.address, secret=tmp_path / "aws"), api_key(KEY)))
    name = f"invocations-{rule}-{path[-6:]}".replace("_", "-")  # what was spent of a budget is not forgotten
    config["policies"].append({"name": name, rule: spec[rule]})
    config["routes"][0]["policies"].append(name)
    await gateway.apply(config)
    upstream.script = answer(sent)
    client = ProxyClient(gateway.addresses.http, session)
    bearer = {"authorization": f"Bearer {KEY}"}

    assert (await post(client, path, **bearer)).status == 200
    await gateway.wait_until_idle()
    refused = await post(client, path, **bearer)
    status, kind, _ = refusal(refused)
    assert (status, kind) == (429, "ThrottlingException")
    assert refused.header("retry-after")
    if rule == "rate_limit":
        asked_for_more = await post(client, path, {**ASKED, "max_tokens": 101}, **bearer)
        assert asked_for_more.status == 429
    assert len(upstream.requests) == 1


async def test_callers_are_held_to_the_models_that_they_may_use(
    gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream, tmp_path: Path
) -> None:
    config = configuration(upstream.address, secret=tmp_path / "aws")
    config["policies"] = [{"name": "claude-only", "authorization": {"allow": [{"models": ["claude"]}]}}]
    config["routes"][0]["policies"] = ["claude-only"]
    await gateway.apply(config)
    upstream.script = answer(json_response(200, CLAUDE))
    client = ProxyClient(gateway.addresses.http, session)
    assert (await post(client)).status == 200
    assert refusal(await post(client, "/model/amazon.nova-pro-v1%3A0/invoke"))[:2] == (403, "AccessDeniedException")
    assert len(upstream.requests) == 1


async def test_bodies_are_signed_up_to_the_limit_of_the_node(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = bedrock(LONG_LIVED)
    assert (await post(client, value={"prompt": "x" * 600_000})).status == 200

    async def pieces() -> Any:
        yield b'{"prompt": "'
        yield b"x" * 100_000 + b'"}'

    assert (await client.send(f"/aws{INVOKE}", "POST", data=pieces())).status == 200
    assert len(upstream.requests[1].body) > 100_000
    too_large = await client.send(f"/aws{INVOKE}", "POST", data=BytesIO(b"x" * (MAX_BODY_BYTES + 1)))
    assert refusal(too_large)[:2] == (413, "ValidationException")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (refuse(401, "no"), (502, "InternalServerException")),
        (refuse(403, "The security token included in the request is invalid."), (502, "InternalServerException")),
        (refuse(400, "no such field"), (400, "ValidationException")),
        (refuse(404, "no such model"), (404, "ResourceNotFoundException")),
        (refuse(424, "the model has failed"), (424, "ModelErrorException")),
        (refuse(429, "Too many tokens"), (429, "ThrottlingException")),
        (refuse(500, "oops"), (502, "InternalServerException")),
        (refuse(503, "busy"), (503, "ServiceUnavailableException")),
        (answer(stream(exception("throttlingException", "Too many requests"))), (429, "ThrottlingException")),
        (answer(stream()), (502, "InternalServerException")),
        (answer(stream(b"\x00" * 40)), (502, "InternalServerException")),
        (cut(stream(DELTA), 150), (502, "InternalServerException")),
        (answer(response(200, b"<html>", content_type="text/html")), (502, "InternalServerException")),
        (answer(response(502, b"<html>", content_type="text/html")), (502, "InternalServerException")),
    ],
    ids=[
        "401",
        "403",
        "400",
        "404",
        "424",
        "429",
        "500",
        "503",
        "exception",
        "no event",
        "no frame",
        "cut",
        "page",
        "page of an error",
    ],
)
async def test_failure_before_the_first_event_is_an_error_of_bedrocks(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, script: Script, expected: tuple[int, str]
) -> None:
    upstream.script = script
    answered = await post(client, STREAM)
    assert refusal(answered)[:2] == expected
    assert b"security token" not in answered.body
    entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
    assert "cost_usd" not in entry


@pytest.mark.parametrize(
    "script",
    [
        refuse(429, "no"),
        answer(stream(exception("serviceUnavailableException", "busy"))),
        answer(stream(b"\x00" * 40)),
        cut(stream(DELTA), 150),
    ],
    ids=["429", "exception", "no frame", "cut"],
)
async def test_another_service_answers_instead_of_one_that_fails_before_its_first_event(
    gateway: Gateway, session: aiohttp.ClientSession, upstreams: Upstreams, tmp_path: Path, script: Script
) -> None:
    first, second = await upstreams(2)
    first.script, second.script = script, answer(stream(*CLAUDE_STREAM))
    await gateway.apply(configuration(first.address, second.address, secret=tmp_path / "aws"))
    answered = await post(ProxyClient(gateway.addresses.http, session), STREAM)
    assert (answered.status, answered.body) == (200, b"".join(CLAUDE_STREAM))
    assert answered.header("x-janua-service") == "bedrock-1"


async def test_stalled_first_event_is_not_waited_for_for_ever(
    gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream, tmp_path: Path
) -> None:
    config = configuration(upstream.address, secret=tmp_path / "aws", timeouts={"first_token": "0.2s"})
    await gateway.apply(config)
    begun = chunked_response([], content_type=EVENT_STREAM).removesuffix(b"0\r\n\r\n")
    upstream.script = stall(begun, len(begun))
    answered = await post(ProxyClient(gateway.addresses.http, session), STREAM)
    assert refusal(answered)[:2] == (504, "ModelTimeoutException")


def last_event(answered: ProxiedAnswer) -> tuple[str, Sequence[bytes]]:
    """The type of the last event, and the frames before it."""
    *before, last = AwsEventStreamParser().feed(answered.body)
    return last.event, [event.raw for event in before]


async def test_stream_that_breaks_ends_with_an_exception(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    begun = stream(*CLAUDE_STREAM[:2], DELTA[:30]).removesuffix(b"0\r\n\r\n")
    for script in (cut(begun, len(begun)), answer(begun + b"0\r\n\r\n")):
        upstream.script = script
        answered = await post(client, STREAM)
        assert last_event(answered) == ("internalServerException", CLAUDE_STREAM[:2])
        entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
        assert (entry["reason"], entry["input_tokens"]) == ("UPSTREAM_CUT", 113)


async def test_exception_of_the_backend_is_shown_as_it_is(client: ProxyClient, upstream: FaultyUpstream) -> None:
    frames = [*CLAUDE_STREAM[:2], exception("modelStreamErrorException", "the model has failed")]
    upstream.script = answer(stream(*frames))
    assert (await post(client, STREAM)).body == b"".join(frames)


async def test_client_that_leaves_frees_the_backend(client: ProxyClient, upstream: FaultyUpstream) -> None:
    begun = stream(*CLAUDE_STREAM[:2]).removesuffix(b"0\r\n\r\n")
    for script in (stall(), stall(begun, len(begun))):
        upstream.script = script
        asking = asyncio.create_task(post(client, STREAM))
        await upstream.wait_for_requests(len(upstream.requests) + 1)
        asking.cancel()
    async with asyncio.timeout(2):
        await upstream.wait_for_disconnects(2)


async def test_paths_like_these_at_other_services_are_none_of_bedrocks(
    gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream
) -> None:
    await gateway.apply(
        {
            "upstreams": [{"name": "pool", "endpoints": [{"address": upstream.address}]}],
            "services": [{"name": "web", "upstream_service": {"upstream": "pool"}}],
            "routes": [{"name": "all", "match": {"path": {"prefix": "/"}}, "backends": [{"service": "web"}]}],
        }
    )
    upstream.script = fail(418, "a teapot")
    answered = await ProxyClient(gateway.addresses.http, session).send(INVOKE, "POST", data=b"no json")
    assert answered.status == 418
    assert upstream.requests[0].body == b"no json"


async def test_botocore_takes_the_node_for_bedrock(
    gateway: Gateway, upstream: FaultyUpstream, client: ProxyClient
) -> None:
    """Amazon's own library: whole, streamed, refused and broken off."""
    aws = Session().create_client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=f"http://{gateway.addresses.http}/aws",
        aws_access_key_id="AKIACALLER",
        aws_secret_access_key="of the caller",
        config=Config(retries={"max_attempts": 0}),
    )

    def streamed() -> list[bytes]:
        told = aws.invoke_model_with_response_stream(modelId="claude", body=json.dumps(ASKED))
        with closing(told["body"]) as events:
            return [event["chunk"]["bytes"] for event in events]

    def whole() -> Any:
        with closing(aws.invoke_model(modelId="claude", body=json.dumps(ASKED))["body"]) as body:
            return json.loads(body.read())

    try:
        upstream.script = answer(json_response(200, CLAUDE))
        assert await asyncio.to_thread(whole) == CLAUDE
        upstream.script = answer(stream(*OTHER_STREAM))
        assert json.loads((await asyncio.to_thread(streamed))[0]) == {"outputs": [{"text": "hello"}]}
        upstream.script = refuse(429, "slow down")
        with pytest.raises(aws.exceptions.ThrottlingException):
            await asyncio.to_thread(whole)
        upstream.script = refuse(401, "no")
        with pytest.raises(ClientError) as failed:
            await asyncio.to_thread(whole)
        assert failed.value.response["Error"]["Code"] == "InternalServerException"
        begun = stream(*CLAUDE_STREAM[:2]).removesuffix(b"0\r\n\r\n")
        upstream.script = cut(begun, len(begun))
        with pytest.raises(EventStreamError, match="cut off"):
            await asyncio.to_thread(streamed)
    finally:
        aws.close()
    assert all(LONG_LIVED.fault(request) is None for request in upstream.requests)
