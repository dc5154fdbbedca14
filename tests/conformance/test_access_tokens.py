"""Providers that want access tokens: fetched once for all, anew when they expire, and never in anybody's way."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_refused
from tests.conformance.configuration import Configuration, proxy_service
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.refusals import refusals
from tests.conformance.upstream_scripts import after, embeddings
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, sse
from tests.support.scripts import Exchange, Script, answer, chat, fail
from tests.support.token_issuer import TokenIssuer, entra_app, service_account

PIECE = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello there"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
}


async def gemini(exchange: Exchange) -> None:
    """Answers whole or streamed."""
    if "streamGenerateContent" in exchange.request.target:
        await exchange.send(chunked_response(sse(PIECE, done=False)))
    else:
        await exchange.send(json_response(200, PIECE))


def vertex(upstream: FaultyUpstream, secret: Path, text: str, *others: dict[str, Any]) -> Configuration:
    """All models from Vertex AI at this upstream, with an account from that file; then from other services."""
    secret.write_text(text, "utf-8")
    service = {
        "provider": "vertex_ai",
        "base_url": upstream.url,
        "project": "my-project",
        "region": "europe-west4",
        "credentials": [{"secret": "account"}],
    }
    backends = [{"service": "vertex"}, *({"service": each["name"], "priority": 1} for each in others)]
    return {
        "secrets": [{"name": "account", "file": str(secret)}],
        "services": [{"name": "vertex", "proxy_service": service}, *others],
        "routes": [{"name": "all", "match": {"models": ["*"]}, "backends": backends}],
    }


@pytest.fixture
async def pair(upstreams: Upstreams) -> Sequence[FaultyUpstream]:
    """The provider, and who issues tokens for it."""
    provider, issuer = await upstreams(2)
    provider.script = gemini
    issuer.script = TokenIssuer()
    return provider, issuer


async def test_service_account_gets_a_token_for_all_its_requests(
    gateway: Gateway, pair: Sequence[FaultyUpstream], caller: Caller, streamed: bool, tmp_path: Path
) -> None:
    provider, issuer = pair
    tokens = TokenIssuer()
    issuer.script = tokens
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token")))

    for _ in range(3):
        told = await ask(caller, Question(model="gemini-2.5-pro"), streamed=streamed)
        assert told.text == "hello there"

    method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    models = "/v1/projects/my-project/locations/europe-west4/publishers/google/models"
    assert [request.target for request in provider.requests] == [f"{models}/gemini-2.5-pro:{method}"] * 3
    assert {request.header("authorization") for request in provider.requests} == {"Bearer token-1"}
    (claims,) = tokens.claims
    assert claims["iss"] == "node@my-project.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"


async def test_many_at_a_time_share_one_fetch_and_it_goes_on_when_the_first_leaves(
    gateway: Gateway, pair: Sequence[FaultyUpstream], http: Caller, tmp_path: Path
) -> None:
    provider, issuer = pair
    gate = asyncio.Event()
    issuer.script = after(gate, issuer.script)
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token")))

    first = asyncio.create_task(ask(http, Question(model="m")))
    await issuer.wait_for_requests(1)
    rest = [asyncio.create_task(ask(http, Question(model="m"))) for _ in range(9)]
    await gateway.wait_for_active_requests(10)
    first.cancel()
    await gateway.wait_for_active_requests(9)
    gate.set()

    assert [told.text for told in await asyncio.gather(*rest)] == ["hello there"] * 9
    assert len(issuer.requests) == 1
    assert len(provider.requests) == 9


async def test_expired_token_is_fetched_anew(
    gateway: Gateway, pair: Sequence[FaultyUpstream], http: Caller, tmp_path: Path
) -> None:
    provider, issuer = pair
    issuer.script = TokenIssuer(lifetime_s=1)
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token")))
    for _ in range(2):
        assert (await ask(http, Question(model="m"))).text == "hello there"
    assert [request.header("authorization") for request in provider.requests] == ["Bearer token-1", "Bearer token-2"]


async def test_fetch_that_hangs_is_in_nobody_elses_way(
    gateway: Gateway, pair: Sequence[FaultyUpstream], upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    provider, issuer = pair
    gate = asyncio.Event()
    issuer.script = after(gate, issuer.script)
    configured = vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token"))
    other = {"name": "other", "match": {"models": ["local"]}, "backends": [{"service": "other"}]}
    await gateway.apply(
        {
            **configured,
            "services": [*configured["services"], proxy_service("other", upstream.url)],
            "routes": [*configured["routes"], other],
        }
    )
    waiting = asyncio.create_task(ask(http, Question(model="m")))
    await issuer.wait_for_requests(1)
    assert (await ask(http, Question(model="local"))).failure is None
    gate.set()
    assert (await waiting).text == "hello there"


async def test_what_passes_is_tried_again(
    gateway: Gateway, pair: Sequence[FaultyUpstream], http: Caller, tmp_path: Path
) -> None:
    provider, issuer = pair
    issuer.next.extend([fail(503), fail(429)])
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token")))
    assert (await ask(http, Question(model="m"))).text == "hello there"
    assert len(issuer.requests) == 3


NO_TOKEN: dict[str, tuple[Script, str]] = {
    "refused": (
        answer(json_response(401, {"error": "invalid_client", "error_description": "sk-7"})),
        "status 401 (inv",
    ),
    "no JSON": (answer(json_response(400, "sk-7")), "status 400;"),
    "no token": (answer(json_response(200, {"expires_in": 3600})), "no access token"),
    "no text": (answer(json_response(200, {"access_token": "a\nb", "expires_in": 3600})), "no access token"),
    "down": (fail(503, "sk-7"), "status 503"),
    "redirect": (answer(json_response(302, {}, headers=[("location", "http://127.0.0.1:1/")])), "status 302"),
}


@pytest.mark.parametrize("name", NO_TOKEN)
async def test_without_a_token_the_caller_sees_a_fault_of_ours(
    gateway: Gateway, pair: Sequence[FaultyUpstream], caller: Caller, tmp_path: Path, name: str
) -> None:
    provider, issuer = pair
    issuer.script, told = NO_TOKEN[name]
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token")))
    failure = assert_refused(await ask(caller, Question(model="m")), Kind.BAD_GATEWAY, "CREDENTIAL_UNAVAILABLE")
    assert failure.message.startswith("no access token from 127.0.0.1: ")
    assert told in failure.message
    assert "sk-7" not in failure.message
    assert provider.requests == []
    (endpoint,) = await gateway.endpoints()
    assert endpoint["healthy"]


async def test_route_goes_on_to_its_next_backend_without_a_token(
    gateway: Gateway, pair: Sequence[FaultyUpstream], upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    provider, issuer = pair
    nowhere = f"{issuer.url}/token"
    await issuer.stop()
    other = dict(proxy_service("other", upstream.url))
    upstream.script = chat("from the other")
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(nowhere), other))
    assert (await ask(http, Question(model="m"))).text == "from the other"


async def test_token_that_is_refused_when_young_is_kept(
    gateway: Gateway, pair: Sequence[FaultyUpstream], caller: Caller, tmp_path: Path
) -> None:
    provider, issuer = pair
    provider.script = answer(json_response(401, {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}))
    await gateway.apply(vertex(provider, tmp_path / "a", service_account(f"{issuer.url}/token")))
    for _ in range(3):
        assert_refused(await ask(caller, Question(model="m")), Kind.BAD_GATEWAY, "UPSTREAM_AUTH_FAILED")
    assert len(issuer.requests) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (service_account("https://evil.example/token"), "may not be sent to evil.example"),
        (service_account("http://oauth2.googleapis.com/token"), "has no https:// URL as its token_uri"),
        (service_account("https://oauth2.googleapis.com/token", type="authorized_user"), "its type is not"),
        (service_account("https://oauth2.googleapis.com/token", private_key="sk-7"), "private_key that is not an RSA"),
        (service_account("https://oauth2.googleapis.com/token", client_email=""), "has no client_email"),
        ("-----BEGIN CERTIFICATE-----\nsk-7\n", "is a certificate, which cannot be sent as a credential"),
    ],
)
async def test_account_that_cannot_be_used_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, tmp_path: Path, text: str, problem: str
) -> None:
    told = await refusals(gateway, vertex(upstream, tmp_path / "a", text))
    assert problem in told
    assert "proxy_service.credentials[0].secret" in told
    assert "sk-7" not in told


# Azure.


def azure(upstream: FaultyUpstream, secret: Path, text: str, **proxy: Any) -> Configuration:
    secret.write_text(text, "utf-8")
    service = {
        "provider": "azure_openai",
        "base_url": upstream.url,
        "credentials": [{"secret": "app"}],
        **proxy,
    }
    return {
        "secrets": [{"name": "app", "file": str(secret)}],
        "services": [{"name": "azure", "proxy_service": service}],
        "routes": [{"name": "all", "match": {"models": ["*"]}, "backends": [{"service": "azure"}]}],
    }


async def test_application_of_entra_gets_a_token(
    gateway: Gateway, pair: Sequence[FaultyUpstream], caller: Caller, streamed: bool, tmp_path: Path
) -> None:
    provider, issuer = pair
    provider.script = chat("hello there")
    tokens = TokenIssuer()
    issuer.script = tokens
    await gateway.apply(azure(provider, tmp_path / "a", entra_app(issuer.url)))
    for _ in range(2):
        assert (await ask(caller, streamed=streamed)).text == "hello there"
    assert {request.header("authorization") for request in provider.requests} == {"Bearer token-1"}
    assert {request.header("api-key") for request in provider.requests} == {None}
    (request,) = issuer.requests
    assert request.target == "/tenant-1/oauth2/v2.0/token"
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert tokens.forms == [
        {
            "grant_type": "client_credentials",
            "client_id": "app-1",
            "client_secret": "pass~word/1",
            "scope": "https://cognitiveservices.azure.com/.default",
        }
    ]


@pytest.mark.parametrize(
    ("proxy", "target"),
    [
        ({}, "/openai/v1/chat/completions"),
        ({"api_version": "preview"}, "/openai/v1/chat/completions?api-version=preview"),
        ({"api_version": "2024-10-21"}, "/openai/deployments/gpt%2F4o/chat/completions?api-version=2024-10-21"),
    ],
)
async def test_azure_is_asked_where_it_has_its_models(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path, proxy: dict[str, str], target: str
) -> None:
    for base_url in (upstream.url, f"{upstream.url}/openai"):
        await gateway.apply(azure(upstream, tmp_path / "a", "key-1", **proxy, base_url=base_url))
        assert (await ask(http, Question(model="gpt/4o"))).failure is None
    assert [request.target for request in upstream.requests] == [target, target]
    assert [request.header("api-key") for request in upstream.requests] == ["key-1", "key-1"]
    assert {json.loads(request.body)["model"] for request in upstream.requests} == {"gpt/4o"}


async def test_azure_embeddings_are_of_deployments_too(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, tmp_path: Path
) -> None:
    upstream.script = embeddings([[1.0]])
    await gateway.apply(azure(upstream, tmp_path / "a", "key-1", api_version="2024-10-21"))
    await http.embed("text-embedding-3", ["a"])
    assert upstream.requests[0].target == "/openai/deployments/text-embedding-3/embeddings?api-version=2024-10-21"
