"""Bedrock behind a node that has no lasting key: it assumes roles, or asks the machine it runs on."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_refused
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.refusals import refusals
from tests.conformance.test_bedrock import MODEL, WHOLE, as_json, bedrock, configuration
from tests.support.aws_key_issuer import CONTAINER_TOKEN, ROLE, AwsKeyIssuer, sts_error
from tests.support.aws_signatures import AwsAccount
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.processes import NodeFactory
from tests.support.scripts import Exchange, Script, answer

BASE = AwsAccount(access_key_id="AKIAEXAMPLE", secret_access_key="secret/of+the=operator")


def for_holders_of(issuer: AwsKeyIssuer) -> Script:
    """Bedrock, for whoever signs with the key that was issued last."""

    async def script(exchange: Exchange) -> None:
        await bedrock(issuer.issued[-1])(exchange)

    return script


@pytest.fixture
async def pair(upstreams: Upstreams) -> Sequence[FaultyUpstream]:
    """Bedrock, and who issues keys for it."""
    return await upstreams(2)


async def test_requests_are_signed_as_a_role(
    gateway: Gateway, pair: Sequence[FaultyUpstream], caller: Caller, streamed: bool, tmp_path: Path
) -> None:
    provider, sts = pair
    sts.script = issuer = AwsKeyIssuer(base=replace(BASE, service="sts"), external_id="x-1")
    provider.script = for_holders_of(issuer)
    secret = {**as_json(BASE), "role_arn": ROLE, "external_id": "x-1", "sts_url": sts.url}
    await gateway.apply(configuration(provider, tmp_path / "aws", json.dumps(secret)))

    for _ in range(3):
        assert (await ask(caller, Question(model=MODEL), streamed=streamed)).text == "hello there"
    assert len(issuer.issued) == 1
    assert len(provider.requests) == 3


async def test_key_that_expires_is_fetched_anew_with_the_token_of_then(
    gateway: Gateway, pair: Sequence[FaultyUpstream], http: Caller, tmp_path: Path
) -> None:
    provider, sts = pair
    sts.script = issuer = AwsKeyIssuer(lifetime_s=5)
    provider.script = for_holders_of(issuer)
    token = tmp_path / "token"
    token.write_text("", "utf-8")
    secret = {"role_arn": ROLE, "web_identity_token_file": str(token), "sts_url": sts.url}
    await gateway.apply(configuration(provider, tmp_path / "aws", json.dumps(secret)))

    for issuer.web_token in ("eyJ.1", "eyJ.2"):
        token.write_text(issuer.web_token, "utf-8")
        assert (await ask(http, Question(model=MODEL))).text == "hello there"
    assert len(issuer.issued) == 2


async def test_without_a_key_the_caller_sees_a_fault_of_ours(
    gateway: Gateway, pair: Sequence[FaultyUpstream], caller: Caller, tmp_path: Path
) -> None:
    provider, sts = pair
    sts.script = answer(sts_error(403, "AccessDenied"))
    secret = {**as_json(BASE), "role_arn": ROLE, "sts_url": sts.url}
    await gateway.apply(configuration(provider, tmp_path / "aws", json.dumps(secret)))
    failure = assert_refused(await ask(caller, Question(model=MODEL)), Kind.BAD_GATEWAY, "CREDENTIAL_UNAVAILABLE")
    assert failure.message.startswith("no AWS key from 127.0.0.1: status 403 (AccessDenied)")
    assert provider.requests == []


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ({"sts_url": "https://evil.example", **as_json(BASE)}, "may not be sent to evil.example"),
        ({"web_identity_token_file": "/nowhere/token"}, "names file /nowhere/token, which cannot be read"),
        ({"credential_source": "EcsContainer"}, "this node has neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor"),
    ],
)
async def test_account_that_cannot_be_used_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, tmp_path: Path, secret: dict[str, Any], problem: str
) -> None:
    found = await refusals(gateway, configuration(upstream, tmp_path / "aws", json.dumps({"role_arn": ROLE, **secret})))
    assert problem in found
    assert "proxy_service.credentials[0].secret" in found


@pytest.mark.parametrize("source", ["Ec2InstanceMetadata", "EcsContainer"])
async def test_machine_gives_the_key(
    node: NodeFactory, pair: Sequence[FaultyUpstream], tmp_path: Path, source: str
) -> None:
    provider, machine = pair
    machine.script = issuer = AwsKeyIssuer()
    provider.script = for_holders_of(issuer)
    config = configuration(provider, tmp_path / "aws", json.dumps({"credential_source": source}))
    (tmp_path / "config.yaml").write_text(json.dumps(config), "utf-8")
    environ = {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": machine.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{machine.url}/v2/credentials/1",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN,
    }
    running = await node(config_file=tmp_path / "config.yaml", env=environ)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{running.http}/v1/chat/completions", json=body) as reply,
    ):
        told = await reply.json()
    assert told["choices"][0]["message"]["content"] == "hello there"
    assert len(issuer.issued) == 1


async def test_machine_is_not_asked_through_the_services_proxy(
    node: NodeFactory, pair: Sequence[FaultyUpstream], tmp_path: Path
) -> None:
    proxy, machine = pair
    machine.script = issuer = AwsKeyIssuer()
    proxy.script = answer(json_response(200, WHOLE))
    text = json.dumps({"credential_source": "Ec2InstanceMetadata"})
    config = configuration(machine, tmp_path / "aws", text, egress_proxy=proxy.url)
    (tmp_path / "config.yaml").write_text(json.dumps(config), "utf-8")
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": machine.url}
    running = await node(config_file=tmp_path / "config.yaml", env=environ)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{running.http}/v1/chat/completions", json=body) as reply,
    ):
        assert reply.status == 200
    assert len(issuer.issued) == 1
    assert [request.method for request in proxy.requests] == ["POST"]
