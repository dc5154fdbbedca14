"""`examples/semantic-cache.yaml`: the same question in other words is answered again, to everybody."""

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import KEY, start
from tests.support.embedding_model import vectors
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.processes import EchoFactory, Node, NodeFactory

GUEST = {"authorization": "Bearer janua-guest-key"}


@pytest.fixture
async def gateway(node: NodeFactory, echo_models: EchoFactory, faulty_upstream: FaultyUpstream) -> Node:
    (model,) = await echo_models(1, "--models", "assistant")
    faulty_upstream.script = vectors()
    return await start(node, "semantic-cache.yaml", MODEL=model.address, EMBEDDER=faulty_upstream.address)


async def ask(node: Node, text: str, headers: dict[str, str], system: str = "Be kind.") -> tuple[str, str]:
    """What the cache did, and the answer."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    url = f"http://{node.http}/v1/chat/completions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"model": "help", "messages": messages}, headers=headers) as reply,
    ):
        assert reply.status == 200
        return reply.headers["x-janua-cache"], (await reply.json())["choices"][0]["message"]["content"]


async def test_other_words_are_answered_again(gateway: Node, faulty_upstream: FaultyUpstream) -> None:
    first = await ask(gateway, "password lost", KEY)
    assert first[0] == "miss"
    assert "password lost" in first[1]
    assert await ask(gateway, "password forgotten, what now?", GUEST) == ("hit", first[1])
    assert (await ask(gateway, "password forgotten, what now?", GUEST, system="Be rude."))[0] == "miss"
    assert (await ask(gateway, "telephone lost", KEY))[0] == "miss"
    assert faulty_upstream.requests[0].json()["model"] == "nomic-embed-text"
    await faulty_upstream.stop()
    assert (await ask(gateway, "password gone", KEY))[0] == "miss"
    assert (await ask(gateway, "password lost", KEY))[0] == "hit"


async def test_other_words_are_answered_again_over_grpc(gateway: Node) -> None:
    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as client:
        told = [
            await client.chat(ChatCompletionRequest(model="help", messages=[user(text)]))
            for text in ("password lost", "password forgotten")
        ]
    assert [each.headers["x-janua-cache"] for each in told] == ["miss", "hit"]
    assert float(told[1].headers["x-janua-cache-similarity"]) >= 0.93
    assert told[0].response == told[1].response
