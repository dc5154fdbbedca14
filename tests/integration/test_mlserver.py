"""The codecs of the Open Inference Protocol against a real server and a real client: MLServer and tritonclient."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest

from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference.dialect import Datatype, InferRequest, InferResponse, Tensor
from gateway.schemas.open_inference.rest_metadata import decode_model_metadata, decode_server_metadata, read_error
from tests.support.mlserver.server import MLServer
from tests.support.mlserver.triton import triton

pytestmark = pytest.mark.component("mlserver")

FLOWERS = Tensor(name="flowers", datatype=Datatype.FP64, shape=(2, 4), data=(5.1, 3.5, 1.4, 0.2, 6.7, 3.1, 5.6, 2.4))
SERVICE = "/inference.GRPCInferenceService"


@pytest.fixture
async def rest(mlserver: MLServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{mlserver.http}") as session:
        yield session


@pytest.fixture
async def channel(mlserver: MLServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mlserver.grpc) as channel:
        yield channel


async def infer_over_rest(session: aiohttp.ClientSession, request: InferRequest) -> InferResponse:
    version = f"/versions/{request.version}" if request.version else ""
    body = bodies.encode_request(request, binary=False)
    headers = {"content-type": body.content_type}
    async with session.post(f"/v2/models/{request.model}{version}/infer", data=body.body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return bodies.decode_response(await answer.read(), None)


async def call(channel: grpc.aio.Channel, method: str, message: bytes) -> bytes:
    rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/{method}")
    return await rpc(message)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_iris_over_rest(rest: aiohttp.ClientSession, version: str) -> None:
    request = InferRequest(model="iris", version=version, id="7", inputs=(FLOWERS,))
    answer = await infer_over_rest(rest, request)
    assert (answer.model, answer.version, answer.id) == ("iris", version, "7")
    assert [(each.name, each.shape, each.data) for each in answer.outputs] == [("predict", (2, 1), (0, 2))]


@pytest.mark.parametrize("raw", [True, False])
async def test_iris_over_grpc(channel: grpc.aio.Channel, raw: bool) -> None:
    request = InferRequest(model="iris", version="v1", id="7", inputs=(FLOWERS,))
    answer = messages.decode_response(await call(channel, "ModelInfer", messages.encode_request(request, raw=raw)))
    assert (answer.model, answer.version, answer.id) == ("iris", "v1", "7")
    (output,) = answer.outputs
    assert output.is_raw == raw  # MLServer answers in the form it was asked in
    assert bodies.decode_response(bodies.encode_response(answer).body, None).outputs[0].data == (0, 2)


async def test_metadata(rest: aiohttp.ClientSession, channel: grpc.aio.Channel) -> None:
    async with rest.get("/v2/models/iris/versions/v1") as answer:
        over_rest = decode_model_metadata(await answer.read())
    over_grpc = messages.decode_model_metadata(
        await call(channel, "ModelMetadata", messages.with_model(b"\x12\x02v1", "iris"))
    )
    assert (over_grpc.name, over_grpc.versions, over_grpc.platform) == ("iris", ("v1", "v2"), "sklearn")
    assert [(each.name, each.datatype, each.shape) for each in over_rest.inputs] == [("flowers", "FP64", (-1, 4))]
    assert [(each.name, each.datatype, each.shape) for each in over_rest.outputs] == [("predict", "INT64", (-1, 1))]
    for field in ("name", "versions", "platform"):
        assert getattr(over_rest, field) == getattr(over_grpc, field)
    async with rest.get("/v2") as answer:
        server = decode_server_metadata(await answer.read())
    assert server.name == "mlserver"
    assert messages.decode_server_metadata(await call(channel, "ServerMetadata", b"")) == server


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("absent/infer", b'{"inputs":[]}', 404, "Model absent not found"),
        ("iris/versions/v9/infer", b'{"inputs":[]}', 404, "Model iris with version v9 not found"),
        ("iris/infer", b"{", 422, "JSON decode error"),
        ("iris/infer", b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1]}]}', 500, None),
    ],
)
async def test_errors(rest: aiohttp.ClientSession, path: str, body: bytes, status: int, message: str | None) -> None:
    headers = {"content-type": "application/json"}
    async with rest.post(f"/v2/models/{path}", data=body, headers=headers) as answer:
        assert (answer.status, read_error(await answer.read())) == (status, message)


ALL_DATATYPES = [
    Tensor(name="x", datatype=Datatype.BOOL, shape=(2,), data=(True, False)),
    Tensor(name="x", datatype=Datatype.UINT8, shape=(2,), data=(0, 255)),
    Tensor(name="x", datatype=Datatype.UINT16, shape=(2,), data=(0, 65535)),
    Tensor(name="x", datatype=Datatype.UINT32, shape=(1,), data=(2**32 - 1,)),
    Tensor(name="x", datatype=Datatype.UINT64, shape=(1,), data=(2**64 - 1,)),
    Tensor(name="x", datatype=Datatype.INT8, shape=(2,), data=(-128, 127)),
    Tensor(name="x", datatype=Datatype.INT16, shape=(1,), data=(-(2**15),)),
    Tensor(name="x", datatype=Datatype.INT32, shape=(1,), data=(-(2**31),)),
    Tensor(name="x", datatype=Datatype.INT64, shape=(1,), data=(-(2**63),)),
    Tensor(name="x", datatype=Datatype.FP32, shape=(2, 1), data=(0.5, -0.25)),
    Tensor(name="x", datatype=Datatype.FP64, shape=(1, 2), data=(0.1, 1e300)),
    Tensor(name="x", datatype=Datatype.BYTES, shape=(3,), data=("zwölf".encode(), b"a", b"bc")),
]


def datatype_name(tensor: Tensor) -> str:
    return tensor.datatype.value


@pytest.mark.parametrize("tensor", ALL_DATATYPES, ids=datatype_name)
async def test_each_datatype_comes_back(rest: aiohttp.ClientSession, channel: grpc.aio.Channel, tensor: Tensor) -> None:
    request = InferRequest(model="echo", id="1", inputs=(tensor,))
    assert (await infer_over_rest(rest, request)).outputs == (tensor,)
    for raw in (True, False):
        sent = messages.encode_request(request, raw=raw)
        answer = messages.decode_response(await call(channel, "ModelInfer", sent))
        assert messages.decode_response(messages.encode_response(answer, raw=False)).outputs == (tensor,)


async def test_bare_answers_on_a_stream(channel: grpc.aio.Channel) -> None:
    requests = [InferRequest(model="echo", id=str(number), inputs=(FLOWERS,)) for number in range(3)]

    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            yield messages.encode_request(request)

    rpc: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
    answers = [messages.decode_stream_answer(data) async for data in rpc(sent())]
    # MLServer gives every answer on a stream the id of the first request.
    assert answers == [InferResponse(model="echo", id="0", outputs=(FLOWERS,))] * len(requests)


@pytest.mark.component("tritonclient")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_real_client_against_real_server(mlserver: MLServer, protocol: str) -> None:
    address = mlserver.http if protocol == "http" else mlserver.grpc
    flowers: dict[str, Any] = {"name": "flowers", "datatype": "FP64", "shape": [2, 4], "data": FLOWERS.data}
    options = ("--version", "v1", "--id", "7", "--json", "--outputs", "predict")
    answer = await triton("infer", protocol, address, "iris", *options, inputs=[flowers])
    assert (answer["model"], answer["version"], answer["id"]) == ("iris", "v1", "7")
    assert answer["outputs"] == [{"name": "predict", "datatype": "INT64", "shape": [2, 1], "data": [0, 2]}]
    assert await triton("ready", protocol, address, "iris") == {"live": True, "server": True, "model": True}
