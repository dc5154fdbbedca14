"""Nothing of a credential, and of what is made of it, stands in anything that a node writes, shows or answers."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.configuration import Configuration
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.proxying import ProxyClient
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import Exchange, Script, answer, fail, reset
from tests.support.token_issuer import TokenIssuer, entra_app, service_account

SECRETS: Mapping[str, str] = {
    "one": "sk-of-one-service",
    "first": "sk-of-the-first",
    "second": "sk-of-the-second",
    "query": "sk+of-a-query",
    "aws": json.dumps(
        {
            "access_key_id": "ASIAOFAWSACCOUNT",
            "secret_access_key": "sk/of/aws",
            "session_token": "token/of-aws-session",
        }
    ),
}
SENT = ["of-one-service", "of-the-first", "of-the-second", "of-a-query", "OFAWSACCOUNT", "of-aws-session", "token-1"]
WORDS = [*SENT, "of/aws", "pass~word", "pass%7Eword", "PRIVATE KEY", "AWS4-HMAC-SHA256", "eyJ"]

CUSTOM = {"provider": "custom"}
SERVICES: Mapping[str, Mapping[str, Any]] = {
    "one": {**CUSTOM, "credentials": [{"secret": "one"}]},
    "pool": {**CUSTOM, "credentials": [{"secret": "first"}, {"secret": "second", "weight": 2}]},
    "query": {**CUSTOM, "credentials": [{"secret": "query"}], "auth": {"query": {"name": "key"}}},
    "aws": {"provider": "bedrock", "region": "eu-west-1", "credentials": [{"secret": "aws"}]},
    "google": {"provider": "vertex_ai", "region": "eu", "project": "p", "credentials": [{"secret": "google"}]},
    "entra": {"provider": "azure_openai", "credentials": [{"secret": "entra"}]},
}


async def echo(exchange: Exchange) -> None:
    """Refuses with all that it was sent."""
    request = exchange.request
    await fail(401, f"{request.target} {request.headers}")(exchange)


SCRIPTS: Mapping[str, Script] = {
    "answer": answer(response(200, b'{"choices": []}')),
    "refusal that quotes it all": echo,
    "failure": fail(503, "busy"),
    "limit": fail(429, "slow"),
    "reset": reset(),
}


def configuration(upstream: FaultyUpstream, issuer: FaultyUpstream, directory: Path) -> Configuration:
    accounts = {"google": service_account(f"{issuer.url}/token"), "entra": entra_app(issuer.url)}
    secrets = []
    for name, text in {**SECRETS, **accounts}.items():
        (directory / name).write_text(text, "utf-8")
        secrets.append({"name": name, "file": str(directory / name)})
    return {
        "secrets": secrets,
        "services": [
            {"name": name, "proxy_service": {**proxy, "base_url": upstream.url}} for name, proxy in SERVICES.items()
        ],
        "routes": [
            {"name": f"model-{name}", "match": {"models": [name]}, "backends": [{"service": name}]} for name in SERVICES
        ],
    }


@pytest.fixture
async def talkative(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Gateway]:
    """A node that logs all it can."""
    process = GatewayProcess(tmp_path)
    try:
        process.start(render({}, "at-start"), "--log-level=debug")
        yield Gateway(process, session)
    finally:
        process.stop()


async def test_no_credential_is_written_shown_or_answered(
    talkative: Gateway, upstreams: Any, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream, issuer = await upstreams(2)
    issuer.script = TokenIssuer()
    await talkative.apply(configuration(upstream, issuer, tmp_path))
    client = ProxyClient(talkative.addresses.http, session)
    answers = []
    for script in SCRIPTS.values():
        upstream.script = script
        for name in SERVICES:
            for streamed in (False, True):
                body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
                answers.append(await client.send("/v1/chat/completions", "POST", data=json.dumps(body).encode()))
    sent = str([(request.target, request.headers) for request in upstream.requests])
    assert [word for word in SENT if word not in sent] == []

    issuer.script = fail(400, "no")
    for name in ("google", "entra"):  # fresh ones, which get no token
        path = tmp_path / name
        path.write_text(path.read_text("utf-8").replace("app-1", "app-2").replace("key-1", "key-2"), "utf-8")
    await talkative.apply(configuration(upstream, issuer, tmp_path))
    (tmp_path / "aws").write_text('{"secret_access_key": "sk/of/aws"', "utf-8")
    (tmp_path / "google").write_text('{"private_key": "-----BEGIN PRIVATE KEY-----"}', "utf-8")
    shown = [(await talkative.get(path))[1] for path in ("/metrics", "/config_dump", "/endpoints")]
    talkative.process.stop()

    told = {
        "written": talkative.process.written,
        "shown": "".join(shown),
        "answers": "".join(f"{each.status} {each.headers} {each.body!r}" for each in answers),
    }
    assert [(where, word) for where, text in told.items() for word in WORDS if word in text] == []
