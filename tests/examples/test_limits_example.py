"""`examples/limits.yaml`: so many requests a minute for each consumer, so much a month for each team, over both
protocols."""

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.errors import ResourceExhaustedError
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import start
from tests.support.processes import EchoFactory, Node, NodeFactory

ANN, BOB = "janua-demo-key", "janua-second-key"


async def post(node: Node, key: str, words: int = 1, most: int = 20) -> tuple[int, dict[str, str], str]:
    """Status, what the limits tell, and the code of the error."""
    body = {"model": "assistant", "max_tokens": most, "messages": [{"role": "user", "content": "word " * words}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{node.http}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        ) as reply,
    ):
        answer = await reply.json()
        told = {name.lower(): value for name, value in reply.headers.items()}
        return reply.status, told, answer.get("error", {}).get("code", "")


async def test_each_consumer_has_five_requests_a_minute_over_both_protocols_together(
    node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1, "--models", "assistant")
    gateway = await start(node, "limits.yaml", MODEL=model.address)
    request = ChatCompletionRequest(model="assistant", messages=[user("hi")], max_output_tokens=5)
    async with InferenceClient(gateway.grpc, api_key=ANN) as client:
        for left in (4, 3):
            assert (await client.chat(request)).headers["x-ratelimit-remaining-requests"] == str(left)
        statuses = [(await post(gateway, ANN))[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        with pytest.raises(ResourceExhaustedError):
            await client.chat(request)
    status, told, _ = await post(gateway, BOB)
    assert (status, told["x-ratelimit-limit-tokens"]) == (200, "20000")


async def test_a_team_that_has_spent_its_month_is_refused_and_the_other_is_not(
    node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1, "--models", "assistant")
    gateway = await start(node, "limits.yaml", MODEL=model.address)
    assert (await post(gateway, ANN, words=200))[0] == 200
    status, told, code = await post(gateway, ANN, words=200)
    assert (status, code) == (429, "budget_exceeded")
    assert int(told["retry-after"]) > 0
    assert (await post(gateway, BOB, words=200))[0] == 200
