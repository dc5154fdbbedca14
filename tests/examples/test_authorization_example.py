"""`examples/authorization.yaml`: models by group, experiments by header, over HTTP and gRPC."""

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import ask, start
from tests.support.processes import EchoFactory, Node, NodeFactory

STAFF = {"authorization": "Bearer janua-demo-key"}
GUEST = {"authorization": "Bearer janua-guest-key"}


@pytest.fixture
async def gateway(node: NodeFactory, echo_models: EchoFactory) -> Node:
    (model,) = await echo_models(1, "--models", "small-model,big-model,experiment")
    return await start(node, "authorization.yaml", MODEL=model.address)


@pytest.mark.parametrize(
    ("model", "headers", "status"),
    [
        ("small-model", STAFF, 200),
        ("small-model", GUEST, 200),
        ("big-model", STAFF, 200),
        ("big-model", GUEST, 403),
        ("big-model", {"authorization": "Bearer nobody"}, 401),
        ("experiment", {**STAFF, "x_group": "search"}, 200),
        ("experiment", {**STAFF, "x_group": "other"}, 403),
        ("experiment", STAFF, 403),
    ],
)
async def test_callers_get_what_they_may_use(gateway: Node, model: str, headers: dict[str, str], status: int) -> None:
    assert (await ask(gateway, model, **headers))[0] == status


async def test_it_is_the_same_over_grpc(gateway: Node) -> None:
    request = ChatCompletionRequest(model="big-model", messages=[user("hi")])
    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as staff:
        assert "hi" in (await staff.chat(request)).text
    async with InferenceClient(gateway.grpc, api_key="janua-guest-key") as guest:
        with pytest.raises(Exception, match="may not use the model 'big-model'"):
            await guest.chat(request)


async def test_models_are_listed_for_those_who_may_use_them(gateway: Node) -> None:
    found = {}
    async with aiohttp.ClientSession() as session:
        for who in (STAFF, GUEST):
            async with session.get(f"http://{gateway.http}/v1/models", headers=who) as reply:
                found[who["authorization"]] = [model["id"] for model in (await reply.json())["data"]]
    assert found == {STAFF["authorization"]: ["big-model", "small-model"], GUEST["authorization"]: ["small-model"]}
