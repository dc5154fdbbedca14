"""One example for each kind of policy: what it shows happens, over HTTP and gRPC alike."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from janua.config.v1.policy_pb2 import Policy
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.errors import JanuaError
from janua_client.inference_client import InferenceClient
from janua_client.messages import user
from janua_client.tls import Tls

from tests.examples.test_examples import EXAMPLES, load, start
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.pki import Identity, Pki, issue
from tests.support.processes import EchoFactory, Node, NodeFactory
from tests.support.scripts import Exchange
from tests.support.tokens import claims, ec_key, jwk, key_set, token

KEY, NEXT_KEY = "janua-demo-key", "janua-second-key"
KEY_HEADER = {"authorization": f"Bearer {KEY}"}
ISSUERS_KEY = ec_key()


@pytest.mark.parametrize("kind", [field.name for field in Policy.DESCRIPTOR.oneofs_by_name["spec"].fields])
def test_every_kind_of_policy_has_an_example(kind: str) -> None:
    messages = load(EXAMPLES / f"{kind.replace('_', '-')}.yaml")
    assert kind in {message.WhichOneof("spec") for message in messages if isinstance(message, Policy)}


@pytest.fixture
async def model(echo_models: EchoFactory) -> str:
    (model,) = await echo_models(1, "--models", "assistant")
    return model.address


async def over_http(node: Node, key: str = "", text: str = "hi", **headers: str) -> tuple[str, Mapping[str, str]]:
    """The code of the error, empty for an answer; and the headers."""
    body = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    sent = {**headers, **({"authorization": f"Bearer {key}"} if key else {})}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{node.http}/v1/chat/completions", json=body, headers=sent) as reply,
    ):
        answer = await reply.json()
        return answer.get("error", {}).get("code", ""), reply.headers


async def over_grpc(node: Node, key: str = "", text: str = "hi") -> str:
    """The same over gRPC."""
    request = ChatCompletionRequest(model="assistant", messages=[user(text)], max_output_tokens=5)
    async with InferenceClient(node.grpc, api_key=key) as client:
        try:
            await client.chat(request)
        except JanuaError as error:
            return str(error.reason).lower()
    return ""


async def both(node: Node, key: str = "", text: str = "hi") -> set[str]:
    code, _ = await over_http(node, key, text)
    return {code, await over_grpc(node, key, text)}


async def test_api_key_auth(node: NodeFactory, model: str) -> None:
    gateway = await start(node, "api-key-auth.yaml", MODEL=model)
    assert await both(gateway, KEY) == {""}
    assert await both(gateway) == {"missing_api_key"}
    assert await both(gateway, "sk-of-nobody") == {"invalid_api_key"}
    assert await both(gateway, NEXT_KEY) == {""}


async def test_ip_filter(node: NodeFactory, model: str) -> None:
    gateway = await start(node, "ip-filter.yaml", MODEL=model)
    assert await both(gateway, KEY) == {""}
    elsewhere = await start(node, "ip-filter.yaml", MODEL=model, LOCAL="10.9.9.9/32")
    assert await both(elsewhere, KEY) == {"address_not_allowed"}
    guest = await start(node, "ip-filter.yaml", MODEL=model, GUESTS="127.0.0.0/8")
    assert await both(guest, KEY) == {"address_not_allowed"}


async def test_rate_limit(node: NodeFactory, model: str) -> None:
    gateway = await start(node, "rate-limit.yaml", MODEL=model)
    for left in ("4", "2"):
        code, headers = await over_http(gateway, KEY)
        assert (code, headers["x-ratelimit-remaining-requests"]) == ("", left)
        assert await over_grpc(gateway, KEY) == ""
    assert (await over_http(gateway, KEY))[0] == ""
    assert await both(gateway, KEY) == {"rate_limited"}


async def test_budget(node: NodeFactory, model: str) -> None:
    gateway = await start(node, "budget.yaml", MODEL=model)
    assert await both(gateway, KEY, "word " * 100) == {""}
    for _ in range(3):
        await over_http(gateway, KEY, "word " * 100)
    assert await both(gateway, KEY, "word " * 100) == {"budget_exceeded"}


@pytest.fixture
async def issuer() -> AsyncIterator[FaultyUpstream]:
    """Says of itself where its keys are."""
    issuer = FaultyUpstream()

    async def script(exchange: Exchange) -> None:
        said = json.dumps({"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"})
        is_of_keys = exchange.request.target == "/keys"
        await exchange.send(response(200, (key_set(jwk(ISSUERS_KEY)) if is_of_keys else said).encode()))

    issuer.script = script
    await issuer.start()
    yield issuer
    await issuer.stop()


async def test_jwt_auth(node: NodeFactory, model: str, issuer: FaultyUpstream) -> None:
    gateway = await start(node, "jwt-auth.yaml", MODEL=model, ISSUER=issuer.url)

    def bearer(audience: str = "assistant", **changes: int) -> str:
        return token(ISSUERS_KEY, claims("alice@example", iss=issuer.url, aud=audience, **changes))

    assert await both(gateway, bearer()) == {""}
    assert await both(gateway) == {"missing_token"}
    assert await both(gateway, bearer("others")) == {"invalid_token"}
    assert await both(gateway, bearer(exp=1)) == {"expired_token"}


async def test_mtls_auth(node: NodeFactory, model: str, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    options = pki.node_options(client_certificates="grpc")
    gateway = await node(None, *options, config_file=EXAMPLES / "mtls-auth.yaml", env={"MODEL": model})
    rank = "spiffe://prod.example/agents/rank"
    shown: dict[str, tuple[Identity | None, int, int]] = {
        "search": (issue(pki.client_ca, uris=["spiffe://prod.example/agents/search"]), 200, 200),
        "search by its name": (issue(pki.client_ca, dns=["search.prod.example"]), 200, 401),
        "batch": (issue(pki.client_ca, subject="CN=batch,O=Example"), 200, 401),
        "an agent": (issue(pki.client_ca, uris=[rank]), 401, 200),
        "nobody": (None, 401, 401),
    }
    body = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "input": "hi"}
    for name, (identity, *statuses) in shown.items():
        found = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=pki.context(identity))) as session:
            for path in ("chat/completions", "embeddings"):
                async with session.post(f"https://{gateway.http}/v1/{path}", json=body) as reply:
                    found.append(reply.status)
            async with session.get(f"https://{gateway.http}/v1/models", headers=KEY_HEADER) as reply:
                assert [each["id"] for each in (await reply.json())["data"]] == ["assistant"]
        assert (name, found) == (name, statuses)
        if identity is None:
            continue
        file = pki.write("client.pem", b"".join(identity))
        tls = Tls(ca_file=pki.ca_file, certificate_file=file)
        request = ChatCompletionRequest(model="assistant", messages=[user("hi")])
        async with InferenceClient(gateway.grpc, tls=tls, api_key=KEY if statuses[0] == 401 else "") as client:
            assert (await client.chat(request)).text


async def test_cors(node: NodeFactory, model: str) -> None:
    gateway = await start(node, "cors.yaml", MODEL=model)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for origin, status in (("https://app.example", 204), ("https://other.example", 403)):
        async with (
            aiohttp.ClientSession() as session,
            session.options(f"http://{gateway.http}/v1/chat/completions", headers={"origin": origin, **asked}) as reply,
        ):
            assert reply.status == status
        _, headers = await over_http(gateway, KEY, origin=origin)
        assert headers.get("access-control-allow-origin") == (origin if status == 204 else None)
    assert await both(gateway, KEY) == {""}  # programs, which are of no origin
    assert await both(gateway) == {"missing_api_key"}


async def test_size_limits(node: NodeFactory, model: str) -> None:
    gateway = await start(node, "size-limits.yaml", MODEL=model)
    assert await both(gateway, KEY, "x" * 10_000) == {""}
    code, _ = await over_http(gateway, KEY, "x" * 30_000)
    assert (code, await over_grpc(gateway, KEY, "x" * 30_000)) == ("payload_too_large", "payload_too_large")
