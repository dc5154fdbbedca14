"""`examples/web-app.yaml`: pages, people with tokens and programs with keys on one route, over HTTP and gRPC."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.errors import PermissionDeniedError, ResourceExhaustedError, UnauthenticatedError
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import KEY, start
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.processes import EchoFactory, Node, NodeFactory
from tests.support.scripts import answer
from tests.support.tokens import ISSUER, claims, ec_key, jwk, key_set, token

ISSUERS_KEY = ec_key()
PAGE = {"origin": "https://app.example"}


def bearer(subject: str, *groups: str, **changes: Any) -> dict[str, str]:
    said = claims(subject, aud="assistant", groups=list(groups), **changes)
    return {"authorization": f"Bearer {token(ISSUERS_KEY, said)}"}


@pytest.fixture
async def gateway(node: NodeFactory, echo_models: EchoFactory) -> AsyncIterator[Node]:
    """A node that serves the example, with an issuer and a model."""
    issuer = FaultyUpstream()
    issuer.script = answer(response(200, key_set(jwk(ISSUERS_KEY)).encode()))
    await issuer.start()
    (model,) = await echo_models(1, "--models", "assistant")
    yield await start(node, "web-app.yaml", ISSUER=ISSUER, JWKS=f"{issuer.url}/jwks", MODEL=model.address)
    await issuer.stop()


async def ask(node: Node, headers: dict[str, str], text: str = "hi") -> tuple[int, Any]:
    """Status and headers over HTTP."""
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{node.http}/v1/chat/completions", json=body, headers=headers) as reply,
    ):
        return reply.status, reply.headers


async def test_over_http(gateway: Node) -> None:
    assert (await ask(gateway, bearer("alice@example")))[0] == 200
    assert (await ask(gateway, bearer("bob", "assistant-users")))[0] == 200
    assert (await ask(gateway, bearer("bob", "others")))[0] == 403
    assert (await ask(gateway, bearer("alice@example", exp=1)))[0] == 401
    assert (await ask(gateway, KEY))[0] == 200
    assert (await ask(gateway, KEY, "x" * 30_000))[0] == 413
    assert (await ask(gateway, bearer("alice@example"), "x" * 30_000))[0] == 200
    assert (await ask(gateway, bearer("alice@example"), "x" * 200_000))[0] == 413


async def test_pages(gateway: Node) -> None:
    asked = {**PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with (
        aiohttp.ClientSession() as session,
        session.options(f"http://{gateway.http}/v1/chat/completions", headers=asked) as reply,
    ):
        assert reply.status == 204
        assert reply.headers["access-control-allow-headers"] == "authorization"
    for headers, expected in ((bearer("alice@example"), 200), (bearer("alice@example", exp=1), 401)):
        status, told = await ask(gateway, {**headers, **PAGE})
        assert (status, told["access-control-allow-origin"]) == (expected, PAGE["origin"])
        status, told = await ask(gateway, {**headers, "origin": "https://other.example"})
        assert status == expected
        assert "access-control-allow-origin" not in told


async def test_over_grpc(gateway: Node) -> None:
    async def ask_over_grpc(headers: dict[str, str], text: str = "hi") -> None:
        key = headers["authorization"].removeprefix("Bearer ")
        async with InferenceClient(gateway.grpc, api_key=key) as client:
            await client.chat(ChatCompletionRequest(model="assistant", messages=[user(text)]))

    await ask_over_grpc(bearer("alice@example"))
    await ask_over_grpc(bearer("bob", "assistant-users"))
    await ask_over_grpc(KEY)
    with pytest.raises(PermissionDeniedError):
        await ask_over_grpc(bearer("bob"))
    with pytest.raises(UnauthenticatedError):
        await ask_over_grpc(bearer("alice@example", exp=1))
    with pytest.raises(ResourceExhaustedError):
        await ask_over_grpc(KEY, "x" * 30_000)
