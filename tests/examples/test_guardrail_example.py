"""`examples/guardrail.yaml`: what is masked, refused and counted, over HTTP and gRPC."""

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.errors import InvalidArgumentError
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import KEY, start
from tests.support.processes import EchoFactory, Node, NodeFactory

SAID = "write to ann@example.com from 192.0.2.1"
MASKED = "write to [EMAIL] from 192.0.2.1"


@pytest.fixture
async def gateway(node: NodeFactory, echo_models: EchoFactory) -> Node:
    (model,) = await echo_models(1, "--models", "assistant")
    return await start(node, "guardrail.yaml", MODEL=model.address)


async def ask(gateway: Node, text: str) -> tuple[int, str]:
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.http}/v1/chat/completions", json=body, headers=KEY) as reply,
    ):
        return reply.status, await reply.text()


async def test_personal_data_is_masked_and_addresses_are_counted(gateway: Node) -> None:
    status, text = await ask(gateway, SAID)
    assert status == 200
    assert MASKED in text
    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as client:
        answer = await client.chat(ChatCompletionRequest(model="assistant", messages=[user(SAID)]))
    assert MASKED in str(answer)
    async with aiohttp.ClientSession() as session, session.get(f"http://{gateway.admin}/metrics") as reply:
        metrics = await reply.text()
    labels = 'policy="no-personal-data",rule="IP_ADDRESS"'
    # In each request, and in each answer that repeats it.
    assert f'janua_guardrail_total{{action="REPORT",{labels}}} 4.0' in metrics


async def test_subject_is_refused(gateway: Node) -> None:
    status, text = await ask(gateway, "tell me of the Secret  Project")
    assert status == 400
    assert "the guardrail subjects does not let this pass: project" in text
    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as client:
        with pytest.raises(InvalidArgumentError, match="does not let this pass: project"):
            await client.chat(ChatCompletionRequest(model="assistant", messages=[user("the secret project")]))
