"""A real node between real clients and a real server of the Open Inference Protocol: tritonclient, MLServer."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference.dialect import Datatype, InferRequest, Tensor
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from gateway.schemas.open_inference.rest_metadata import decode_model_metadata
from tests.support.mlserver.server import MLServer
from tests.support.mlserver.triton import triton
from tests.support.open_inference_backends import GrpcBackend, RestBackend, started
from tests.support.processes import Node, start_node

pytestmark = [pytest.mark.component("mlserver"), pytest.mark.component("tritonclient")]

FLOWERS = Tensor(name="flowers", datatype=Datatype.FP64, shape=(2, 4), data=(5.1, 3.5, 1.4, 0.2, 6.7, 3.1, 5.6, 2.4))
IN_JSON: list[dict[str, Any]] = [{"name": "flowers", "datatype": "FP64", "shape": [2, 4], "data": FLOWERS.data}]
KINDS = [{"name": "predict", "datatype": "INT64", "shape": [2, 1], "data": [0, 2]}]


def resources(address: str, protocol: str) -> Mapping[str, Any]:
    """All models from one server, `iris` under another name."""
    return {
        "upstreams": [
            {
                "name": "pool",
                "protocol": protocol,
                "endpoints": [{"address": address}],
                "health_checks": [{"open_inference": {}, "interval": "1s"}],
            }
        ],
        "services": [
            {
                "name": "models",
                "upstream_service": {"upstream": "pool", "schema": "OPEN_INFERENCE"},
                "models": [{"name": "flowers", "upstream_name": "iris"}],
            }
        ],
        "routes": [{"name": "models", "match": {"models": ["*"]}, "backends": [{"service": "models"}]}],
    }


async def node_before(stack: AsyncExitStack, folder: Path, address: str, protocol: str) -> Node:
    """A node before a server that is spoken to in that protocol."""
    file = folder / f"{protocol}.json"
    file.write_text(json.dumps(resources(address, protocol)))
    return await start_node(stack, folder / protocol, protocol.lower(), "--config-file", str(file))


@pytest.fixture(params=["HTTP1", "GRPC"])
async def node(request: pytest.FixtureRequest, mlserver: MLServer, tmp_path: Path) -> AsyncIterator[Node]:
    """A node before MLServer's REST, and in another run of the same test before its gRPC."""
    address = mlserver.http if request.param == "HTTP1" else mlserver.grpc
    async with AsyncExitStack() as stack:
        yield await node_before(stack, tmp_path, address, request.param)


async def test_real_client_over_either_protocol(node: Node) -> None:
    for protocol, address in (("http", node.http), ("grpc", node.grpc)):
        options = ("--version", "v1", "--id", "7", "--json", "--outputs", "predict")
        answer = await triton("infer", protocol, address, "flowers", *options, inputs=IN_JSON)
        assert answer == {"model": "flowers", "version": "v1", "id": "7", "outputs": KINDS}
        assert await triton("ready", protocol, address, "iris") == {"live": True, "server": True, "model": True}
        metadata = await triton("metadata", protocol, address, "flowers")
        assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("flowers", ["v1", "v2"], "sklearn")
        assert (await triton("server", protocol, address, ""))["name"] == "janua"


async def test_real_client_on_a_stream(node: Node) -> None:
    answers = await triton("stream", "grpc", node.grpc, "echo", "--id", "7", "--times", "3", inputs=IN_JSON)
    assert (
        answers
        == [{"model": "echo", "version": "", "id": "7", "outputs": [{**IN_JSON[0], "data": list(FLOWERS.data)}]}] * 3
    )


async def test_real_client_asks_for_a_model_that_is_not_there(node: Node) -> None:
    for protocol, address in (("http", node.http), ("grpc", node.grpc)):
        answer = await triton("infer", protocol, address, "absent", "--json", inputs=IN_JSON)
        assert re.fullmatch("Model absent( with version )? not found", answer["error"]), protocol
        assert answer["status"] == {"http": "404", "grpc": "StatusCode.NOT_FOUND"}[protocol]


async def test_absent_model_is_not_ready(node: Node) -> None:
    """MLServer fails when it is asked over gRPC."""
    assert not (await triton("ready", "http", node.http, "absent"))["model"]
    assert (await triton("ready", "grpc", node.grpc, "absent"))["status"] == "StatusCode.NOT_FOUND"


async def test_wrong_shapes_are_the_callers_fault(node: Node) -> None:
    """MLServer calls them a fault of its own."""
    text = "inputs[0].data: shape [2] needs 2 elements, there are 1"
    wrong = {"inputs": [{"name": "flowers", "shape": [2], "datatype": "FP64", "data": [1.0]}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{node.http}/v2/models/flowers/infer", json=wrong) as answer,
    ):
        assert (answer.status, await answer.json()) == (400, {"error": text})
        async with session.post(f"http://{node.http}/v2/models/flowers/infer", data=b"{") as answer:
            assert answer.status == 400
    tensor = Tensor(name="flowers", datatype=Datatype.FP64, shape=(2,), data=(1.0,))
    data = messages.encode_request(InferRequest(model="flowers", inputs=(tensor,)))
    async with grpc.aio.insecure_channel(node.grpc) as channel:
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(data)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)


async def test_both_forms_say_the_same(node: Node) -> None:
    request = InferRequest(model="flowers", version="v2", id="7", inputs=(FLOWERS,))
    async with aiohttp.ClientSession(f"http://{node.http}") as session:
        body = bodies.encode_request(request, binary=False).body
        async with session.post(
            "/v2/models/flowers/versions/v2/infer", data=body, headers={"content-type": "application/json"}
        ) as answer:
            over_rest = bodies.decode_response(await answer.read(), None)
        async with session.get("/v2/models/flowers") as answer:
            described = decode_model_metadata(await answer.read())
    async with grpc.aio.insecure_channel(node.grpc) as channel:
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")
        over_grpc = messages.decode_response(await rpc(messages.encode_request(request)))
    for response in (over_rest, over_grpc):
        assert (response.model, response.version, response.id) == ("flowers", "v2", "7")
        assert [(each.name, each.shape, each.data) for each in response.outputs] == [("predict", (2, 1), (0, 2))]
    assert [(each.name, each.datatype, each.shape) for each in described.inputs] == [("flowers", "FP64", (-1, 4))]


TENSORS: list[dict[str, Any]] = [
    {"name": "bool", "datatype": "BOOL", "shape": [2], "data": [True, False]},
    {"name": "uint64", "datatype": "UINT64", "shape": [1], "data": [2**64 - 1]},
    {"name": "int8", "datatype": "INT8", "shape": [2], "data": [-128, 127]},
    {"name": "int64", "datatype": "INT64", "shape": [1], "data": [-(2**63)]},
    {"name": "fp16", "datatype": "FP16", "shape": [2], "data": [0.5, -65504.0]},
    {"name": "fp32", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -0.25]},
    {"name": "fp64", "datatype": "FP64", "shape": [2], "data": [0.1, 1e300]},
    {"name": "bytes", "datatype": "BYTES", "shape": [2], "data": ["zwölf".encode().hex(), b"abc".hex()]},
]


async def test_binary_data_of_the_real_client_over_either_protocol(tmp_path: Path) -> None:
    """To servers that read all that Triton reads."""
    async with started(RestBackend()) as (rest,), started(GrpcBackend()) as (messages_,), AsyncExitStack() as stack:
        for backend, kind in ((rest, "HTTP1"), (messages_, "GRPC")):
            node = await node_before(stack, tmp_path, backend.address, kind)
            for protocol, address in (("http", node.http), ("grpc", node.grpc)):
                answer = await triton("infer", protocol, address, "m", "--id", "7", inputs=TENSORS)
                assert answer["outputs"] == TENSORS, (kind, protocol)
