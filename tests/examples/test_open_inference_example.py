"""`examples/open-inference.yaml`: a real node does with it what its comments say."""

from pathlib import Path

import aiohttp
import grpc

from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference.dialect import Datatype, InferRequest, Tensor
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from tests.support.open_inference_backends import GrpcBackend, RestBackend, started
from tests.support.processes import Node, NodeFactory

EXAMPLE = Path(__file__).parents[2] / "examples" / "open-inference.yaml"
KEY = "Bearer janua-demo-key"
FLOWER = Tensor(name="x", datatype=Datatype.FP64, shape=(1, 4), data=(5.1, 3.5, 1.4, 0.2))


async def over_rest(node: Node, model: str, key: str = KEY) -> tuple[int, str]:
    """Status, and the model that the answer names."""
    body = bodies.encode_request(InferRequest(model=model, inputs=(FLOWER,)), binary=False)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{node.http}/v2/models/{model}/infer",
            data=body.body,
            headers={"authorization": key, "content-type": body.content_type},
        ) as answer,
    ):
        data = await answer.read()
        return answer.status, bodies.decode_response(data, None).model if answer.status == 200 else ""


async def over_grpc(node: Node, model: str) -> str:
    """The model that the answer names."""
    data = messages.encode_request(InferRequest(model=model, inputs=(FLOWER,)))
    async with grpc.aio.insecure_channel(node.grpc) as channel:
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")
        response = messages.decode_response(await rpc(data, metadata=(("authorization", KEY),)))
    assert response.outputs == (FLOWER,)
    return response.model


async def test_callers_of_either_protocol_reach_servers_of_either(node: NodeFactory) -> None:
    rest, messages_ = RestBackend(), GrpcBackend()
    rest.models = messages_.models = frozenset({"iris", "resnet50-v2", "yolo-8"})
    async with started(rest), started(messages_):
        environ = {"REST_SERVER": rest.address, "GRPC_SERVER": messages_.address}
        gateway = await node(config_file=EXAMPLE, env=environ)
        assert await over_rest(gateway, "iris") == (200, "iris")
        assert await over_rest(gateway, "resnet") == (200, "resnet")
        assert await over_rest(gateway, "yolo-8") == (200, "yolo-8")
        assert await over_grpc(gateway, "iris") == "iris"
        assert await over_grpc(gateway, "resnet") == "resnet"
        assert await over_rest(gateway, "iris", "Bearer wrong") == (401, "")
        assert await over_rest(gateway, "bert") == (404, "")
    assert {asked.model for asked in rest.asked} == {"iris"}
    assert {asked.model for asked in messages_.asked if asked.action == "infer"} == {"resnet50-v2", "yolo-8"}
