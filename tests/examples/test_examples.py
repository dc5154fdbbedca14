"""Every file in `examples/`: it is right in itself, and a real node does with it what its comments say."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.inference_client import InferenceClient
from janua_client.messages import user
from janua_resources import documents, field_rules, rules, world
from janua_resources.kinds import ConfigMessage, kind_of

from tests.support.processes import EchoFactory, Node, NodeFactory

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = {"authorization": "Bearer janua-demo-key"}


def load(path: Path, environ: Mapping[str, str] | None = None) -> list[ConfigMessage]:
    found = documents.parse(path.read_text(), source=path.name, environ=environ or {}).resources
    return [located.message for located in found]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*")), ids=lambda path: path.name)
def test_example_is_valid_as_it_stands_and_nothing_in_it_is_doubtful(path: Path) -> None:
    messages = load(path)
    assert messages
    assert [(message.name, *field_rules.check_fields(message), *rules.check(message)) for message in messages] == [
        (message.name,) for message in messages
    ]
    whole = {(kind_of(message).kind, message.name): message for message in messages}
    assert world.check_world(whole) == []
    assert world.warnings(whole, now=datetime.now(UTC)) == []


async def start(node: NodeFactory, example: str, **environ: str) -> Node:
    """A node that serves an example as a file, with these variables in its environment."""
    return await node(config_file=EXAMPLES / example, env=environ)


async def ask(node: Node, model: str, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, str, str]:
    """Status, route and service of one request, as the gateway names them."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "input": "hi"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{node.http}{path}", json=body, headers={**KEY, **names}) as reply,
    ):
        await reply.read()
        return reply.status, reply.headers.get("x-janua-route", ""), reply.headers.get("x-janua-service", "")


async def test_quickstart_serves_both_servers_to_holders_of_the_key(
    node: NodeFactory, echo_models: EchoFactory
) -> None:
    first, second = await echo_models(2, "--models", "gemma-3-270m")
    gateway = await start(node, "quickstart.yaml", MODEL_1=first.address, MODEL_2=second.address)
    assert await ask(gateway, "gemma-3-270m") == (200, "chat", "local-llm")
    assert (await ask(gateway, "gemma-3-270m", authorization="Bearer wrong"))[0] == 401
    assert (await ask(gateway, "gpt-4"))[0] == 404
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{gateway.http}/v1/models", headers=KEY) as reply,
    ):
        assert [model["id"] for model in (await reply.json())["data"]] == ["gemma-3-270m"]


async def test_canary_takes_exactly_one_in_twenty(node: NodeFactory, echo_models: EchoFactory) -> None:
    stable, next_ = await echo_models(2, "--models", "gemma-3-270m,gemma-4")
    gateway = await start(node, "canary.yaml", STABLE=stable.address, NEXT=next_.address)
    answers = Counter([await ask(gateway, "assistant") for _ in range(40)])
    assert answers == {(200, "assistant", "stable"): 38, (200, "assistant", "next"): 2}


async def test_provider_is_listed_and_never_called_without_a_key_of_ours(node: NodeFactory) -> None:
    gateway = await start(node, "openai-proxy.yaml", OPENAI_API_KEY="sk-made-up")
    assert (await ask(gateway, "fast", authorization="Bearer wrong"))[0] == 401
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{gateway.http}/v1/models", headers=KEY) as reply,
    ):
        assert {model["id"] for model in (await reply.json())["data"]} == {"fast", "text-embedding-3-small"}


async def test_routing_sends_each_request_where_the_comments_say(node: NodeFactory, echo_models: EchoFactory) -> None:
    big, small = await echo_models(2, "--models", "gemma-large,gemma-3,other")
    gateway = await start(node, "routing.yaml", BIG=big.address, SMALL=small.address)
    chat, embeddings = "/v1/chat/completions", "/v1/embeddings"
    assert await ask(gateway, "gemma-large") == (200, "gemma-large", "big")
    assert await ask(gateway, "gemma-3") == (200, "gemma", "small")
    assert await ask(gateway, "gemma-3", x_tier="gold") == (200, "gemma-gold", "big")
    assert await ask(gateway, "gemma-3", x_tier="silver") == (200, "gemma", "small")
    assert await ask(gateway, "gemma-large", host="partner.example.com") == (200, "partner", "small")
    assert await ask(gateway, "other", chat, host="eu.partners.example.com:8080") == (200, "partner", "small")
    assert await ask(gateway, "gemma-large", embeddings) == (200, "embeddings", "small")
    assert await ask(gateway, "other") == (200, "rest", "small")
    assert await ask(gateway, "gemma-3", x_tier="gold", x_batch="1") == (200, "gemma", "small")
    assert await ask(gateway, "other", f"{chat}?beta=1") == (200, "beta", "big")
    assert await ask(gateway, "other", f"{embeddings}?beta=1") == (200, "embeddings", "small")
    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as client:
        reply = await client.chat(ChatCompletionRequest(model="gemma-3", messages=[user("hi")]))
    assert (reply.headers["x-janua-route"], reply.headers["x-janua-service"]) == ("grpc", "big")


async def test_resilience_goes_from_server_to_server_and_then_to_the_other_model(
    node: NodeFactory, echo_models: EchoFactory
) -> None:
    big, other, spare, small = await echo_models(4, "--models", "assistant")
    addresses = {"BIG_1": big.address, "BIG_2": other.address, "BIG_SPARE": spare.address, "SMALL": small.address}
    gateway = await start(node, "resilience.yaml", **addresses)
    assert await ask(gateway, "assistant") == (200, "chat", "big")
    await big.kill()
    assert [await ask(gateway, "assistant") for _ in range(4)] == [(200, "chat", "big")] * 4
    await other.kill()
    assert [await ask(gateway, "assistant") for _ in range(4)] == [(200, "chat", "big")] * 4
    await spare.kill()
    assert [await ask(gateway, "assistant") for _ in range(4)] == [(200, "chat", "small")] * 4
