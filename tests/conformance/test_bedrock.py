"""Bedrock behind the node: a server that computes each signature anew finds the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.framing.aws_event_stream import encode_frame
from tests.conformance.calls import Caller, Kind, Question, ask, assert_refused
from tests.conformance.configuration import Configuration
from tests.conformance.gateway import Gateway
from tests.conformance.proxying import ProxyClient
from tests.conformance.refusals import refusals
from tests.support.aws_signatures import AwsAccount
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response
from tests.support.scripts import Exchange, Script

MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.amazon.nova-lite-v1:0"

LONG_LIVED = AwsAccount(access_key_id="AKIAEXAMPLE", secret_access_key="secret/of+the=operator")
SESSION = AwsAccount(access_key_id="ASIAEXAMPLE", secret_access_key="secret/2", session_token="token/of+the==session")

WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello there"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
    "metrics": {"latencyMs": 1},
}
EVENTS = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello there"}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}, "metrics": {"latencyMs": 1}}),
]


def bedrock(account: AwsAccount) -> Script:
    """Answers whoever signs with the account's key; tells others what is wrong."""

    async def script(exchange: Exchange) -> None:
        fault = account.fault(exchange.request)
        if fault is not None:
            await exchange.send(json_response(403, {"message": fault}))
        elif exchange.request.target.endswith("/converse-stream"):
            frames = [encode_frame(json.dumps(data).encode(), event) for event, data in EVENTS]
            await exchange.send(chunked_response(frames, content_type="application/vnd.amazon.eventstream"))
        else:
            await exchange.send(json_response(200, WHOLE))

    return script


def as_json(account: AwsAccount) -> Mapping[str, str]:
    fields = {"access_key_id": account.access_key_id, "secret_access_key": account.secret_access_key}
    return fields | ({"session_token": account.session_token} if account.session_token else {})


def configuration(upstream: FaultyUpstream, secret: Path, text: str, **proxy: Any) -> Configuration:
    """Models and everything else from a service at this upstream, with a credential from that file."""
    secret.write_text(text, "utf-8")
    service = {
        "provider": "bedrock",
        "base_url": upstream.url,
        "region": "eu-west-1",
        "credentials": [{"secret": "aws"}],
        **proxy,
    }
    return {
        "secrets": [{"name": "aws", "file": str(secret)}],
        "services": [{"name": "bedrock", "proxy_service": service}],
        "routes": [
            {"name": "models", "match": {"models": ["*"]}, "backends": [{"service": "bedrock"}]},
            {"name": "rest", "match": {"path": {"prefix": "/"}}, "backends": [{"service": "bedrock"}]},
        ],
    }


@pytest.fixture
async def client(
    gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream, tmp_path: Path
) -> ProxyClient:
    """A client of a node that signs everything it passes through."""
    await gateway.apply(configuration(upstream, tmp_path / "aws", json.dumps(as_json(LONG_LIVED))))
    upstream.script = bedrock(LONG_LIVED)
    return ProxyClient(gateway.addresses.http, session)


@pytest.mark.parametrize("account", [LONG_LIVED, SESSION], ids=["key", "session"])
@pytest.mark.parametrize(
    ("model", "path"),
    [
        (MODEL, "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0"),
        (
            ARN,
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A111122223333%3Ainference-profile%2Feu.amazon.nova-lite-v1%3A0",
        ),
    ],
    ids=["colon", "arn"],
)
async def test_requests_are_signed(
    gateway: Gateway,
    upstream: FaultyUpstream,
    caller: Caller,
    streamed: bool,
    tmp_path: Path,
    account: AwsAccount,
    model: str,
    path: str,
) -> None:
    await gateway.apply(configuration(upstream, tmp_path / "aws", json.dumps(as_json(account))))
    upstream.script = bedrock(account)

    answer = await ask(caller, Question(model=model), streamed=streamed)

    assert answer.text == "hello there"
    assert answer.headers["x-janua-attempts"] == "1"
    (request,) = upstream.requests
    assert request.target == path + ("/converse-stream" if streamed else "/converse")
    assert request.header("accept") == ("application/vnd.amazon.eventstream" if streamed else "application/json")


async def test_what_the_aws_command_line_prints_is_a_credential(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    printed = {
        "Version": 1,
        "AccessKeyId": SESSION.access_key_id,
        "SecretAccessKey": SESSION.secret_access_key,
        "SessionToken": SESSION.session_token,
        "Expiration": "2030-01-01T00:00:00+00:00",
    }
    await gateway.apply(configuration(upstream, tmp_path / "aws", json.dumps(printed, indent=2)))
    upstream.script = bedrock(SESSION)
    assert (await ask(http, Question(model=MODEL))).text == "hello there"


async def test_large_bodies_are_signed_as_they_are(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(configuration(upstream, tmp_path / "aws", json.dumps(as_json(LONG_LIVED))))
    upstream.script = bedrock(LONG_LIVED)
    assert (await ask(http, Question(model=MODEL, text="x" * 600_000))).text == "hello there"
    assert len(upstream.requests[0].body) > 512 * 1024


async def test_signatures_take_the_place_of_whatever_the_client_sends(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(configuration(upstream, tmp_path / "aws", json.dumps(as_json(LONG_LIVED))))
    upstream.script = bedrock(LONG_LIVED)
    headers = {
        "authorization": "AWS4-HMAC-SHA256 of the client",
        "x-amz-date": "20200101T000000Z",
        "x-amz-security-token": "of the client",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    }
    assert (await ask(http, Question(model=MODEL, headers=headers))).text == "hello there"


async def test_wrong_key_is_the_operators_problem(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, tmp_path: Path
) -> None:
    wrong = {**as_json(LONG_LIVED), "secret_access_key": "another"}
    await gateway.apply(configuration(upstream, tmp_path / "aws", json.dumps(wrong)))
    upstream.script = bedrock(LONG_LIVED)
    assert_refused(await ask(caller, Question(model=MODEL)), Kind.BAD_GATEWAY, "UPSTREAM_AUTH_FAILED")


async def test_api_key_is_sent_as_it_is(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    await gateway.apply(configuration(upstream, tmp_path / "aws", "bedrock-api-key-1"))

    async def script(exchange: Exchange) -> None:
        await exchange.send(json_response(200, WHOLE))

    upstream.script = script
    assert (await ask(http, Question(model=MODEL))).text == "hello there"
    assert upstream.requests[0].header("authorization") == "Bearer bedrock-api-key-1"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"access_key_id": "AKIA"}', "secret 'aws' has no secret_access_key"),
        (
            '{"access_key_id": "AKIA", "secret_access_key": 7}',
            "secret 'aws' has something else than printable text as its secret_access_key",
        ),
        ('{"secret_access_key": "sk-7"', "secret 'aws' is not an AWS credential: it is no JSON object"),
    ],
)
async def test_secret_that_is_no_credential_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, tmp_path: Path, text: str, problem: str
) -> None:
    found = await refusals(gateway, configuration(upstream, tmp_path / "aws", text))
    assert problem in found
    assert "proxy_service.credentials[0].secret" in found
    assert "sk-7" not in found


# What is passed through.


@pytest.mark.parametrize(
    "target",
    [
        "/model/m%3A0/invoke",
        "/model/m:0/invoke",
        "/guardrail/g%2Fh/apply?b=2&a=%20x&a=1&c",
        "/a%20b/~c/(d)",
        "/foundation-models",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_requests_that_pass_through_are_signed(
    client: ProxyClient, upstream: FaultyUpstream, target: str, method: str
) -> None:
    headers = {"content-type": "application/json", "x-amzn-bedrock-trace": "ENABLED", "x-amz-meta": " a  b "}
    answered = await client.send(target, method, headers=headers, data=b"{}" if method == "POST" else None)
    assert (answered.status, answered.body) == (200, json.dumps(WHOLE).encode())
    assert upstream.requests[0].target == target


async def test_body_that_streams_by_cannot_be_signed(client: ProxyClient, upstream: FaultyUpstream) -> None:
    async def pieces() -> Any:
        yield b"{}"

    for data in (pieces(), b"x" * (64 * 1024 + 1)):
        answered = await client.send("/guardrail/g/apply", "POST", data=data)
        assert answered.problem() == (400, "BODY_NOT_SIGNABLE")
    assert upstream.requests == []
