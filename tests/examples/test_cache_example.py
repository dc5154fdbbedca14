"""`examples/cache.yaml`: each consumer has answers of its own, the FAQ's are everybody's, and staff may ask anew."""

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import KEY, start
from tests.support.processes import EchoFactory, Node, NodeFactory

GUEST = {"authorization": "Bearer janua-guest-key"}


async def ask(node: Node, model: str, headers: dict[str, str]) -> str:
    """What the cache did."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    url = f"http://{node.http}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as reply:
        assert reply.status == 200
        assert "hello" in (await reply.json())["choices"][0]["message"]["content"]
        return reply.headers["x-janua-cache"]


@pytest.fixture
async def gateway(node: NodeFactory, echo_models: EchoFactory) -> Node:
    (model,) = await echo_models(1, "--models", "assistant")
    return await start(node, "cache.yaml", MODEL=model.address)


async def test_answers_are_kept_for_those_whom_they_are_for(gateway: Node) -> None:
    assert [await ask(gateway, "assistant", key) for key in (KEY, KEY, GUEST)] == ["miss", "hit", "miss"]
    assert [await ask(gateway, "faq", key) for key in (KEY, GUEST)] == ["miss", "hit"]
    anew = {"x-janua-cache": "bypass"}
    assert [await ask(gateway, "assistant", key | anew) for key in (KEY, GUEST)] == ["bypass", "hit"]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.admin}/cache/purge?route=faq") as reply,
    ):
        assert await reply.json() == {"purged": 1}
    assert await ask(gateway, "faq", GUEST) == "miss"


async def test_answers_are_kept_over_grpc(gateway: Node) -> None:
    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as client:
        answers = [
            await client.chat(ChatCompletionRequest(model="assistant", messages=[user("hello")])) for _ in range(2)
        ]
    assert [reply.headers["x-janua-cache"] for reply in answers] == ["miss", "hit"]
    assert answers[0].response == answers[1].response
