"""The real tritonclient against servers made of nothing but our codecs: what they read and write is what it means."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference.dialect import (
    InferRequest,
    InferResponse,
    MalformedTensorError,
    ModelMetadata,
    ServerMetadata,
    StreamError,
    TensorMetadata,
)
from gateway.schemas.open_inference.rest_metadata import (
    encode_model_metadata,
    encode_server_metadata,
    error_body,
)
from tests.support.mlserver.triton import triton

pytestmark = pytest.mark.component("tritonclient")

SERVICE = "inference.GRPCInferenceService"
MODEL = ModelMetadata(
    name="echo", versions=("1",), platform="p", inputs=(TensorMetadata(name="x", datatype="FP32", shape=(-1, 4)),)
)
SERVER = ServerMetadata(name="s", version="2", extensions=("binary_tensor_data",))


def echo(request: InferRequest) -> InferResponse:
    return InferResponse(model=request.model, version=request.version, id=request.id, outputs=request.inputs)


async def infer_over_http(http: web.Request) -> web.Response:
    length = http.headers.get(bodies.HEADER_LENGTH)
    try:
        request = bodies.decode_request(
            await http.read(), int(length) if length else None, model=http.match_info["model"], version="1"
        )
        body = bodies.encode_response(echo(request), request)
    except MalformedTensorError as error:
        return web.Response(status=400, body=error_body(str(error)), content_type="application/json")
    headers = {} if body.header_length is None else {bodies.HEADER_LENGTH: str(body.header_length)}
    return web.Response(body=body.body, content_type=body.content_type, headers=headers)


async def model_over_http(http: web.Request) -> web.Response:
    return web.Response(body=encode_model_metadata(MODEL), content_type="application/json")


async def server_over_http(http: web.Request) -> web.Response:
    return web.Response(body=encode_server_metadata(SERVER), content_type="application/json")


@pytest.fixture
async def http_address() -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post("/v2/models/{model}/infer", infer_over_http)
    application.router.add_get("/v2/models/{model}", model_over_http)
    application.router.add_get("/v2", server_over_http)
    async with TestServer(application) as server:
        yield f"{server.host}:{server.port}"


async def infer_over_grpc(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    try:
        request = messages.decode_request(data)
    except MalformedTensorError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    return messages.encode_response(echo(request), raw=request.is_raw)


async def stream_over_grpc(
    received: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
) -> AsyncIterator[bytes]:
    async for data in received:
        request = messages.decode_request(data)
        if request.model == "broken":
            yield messages.encode_stream_answer(StreamError(message="broken", id=request.id))
        else:
            # As MLServer writes it, to be turned into what this client reads.
            yield messages.relay_stream_answer(messages.encode_response(echo(request)), "echo")


async def model_over_grpc(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return messages.encode_model_metadata(MODEL)


async def server_over_grpc(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return messages.encode_server_metadata(SERVER)


@pytest.fixture
async def grpc_address() -> AsyncIterator[str]:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(infer_over_grpc),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(stream_over_grpc),
        "ModelMetadata": grpc.unary_unary_rpc_method_handler(model_over_grpc),
        "ServerMetadata": grpc.unary_unary_rpc_method_handler(server_over_grpc),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


TENSORS: list[dict[str, Any]] = [
    {"name": "bool", "datatype": "BOOL", "shape": [2], "data": [True, False]},
    {"name": "uint8", "datatype": "UINT8", "shape": [2], "data": [0, 255]},
    {"name": "uint16", "datatype": "UINT16", "shape": [1], "data": [2**16 - 1]},
    {"name": "uint32", "datatype": "UINT32", "shape": [1], "data": [2**32 - 1]},
    {"name": "uint64", "datatype": "UINT64", "shape": [1], "data": [2**64 - 1]},
    {"name": "int8", "datatype": "INT8", "shape": [2], "data": [-128, 127]},
    {"name": "int16", "datatype": "INT16", "shape": [1], "data": [-(2**15)]},
    {"name": "int32", "datatype": "INT32", "shape": [2, 1], "data": [-(2**31), 7]},
    {"name": "int64", "datatype": "INT64", "shape": [1], "data": [-(2**63)]},
    {"name": "fp16", "datatype": "FP16", "shape": [2], "data": [0.5, -65504.0]},
    {"name": "fp32", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -0.25]},
    {"name": "fp64", "datatype": "FP64", "shape": [2], "data": [0.1, 1e300]},
    {"name": "bytes", "datatype": "BYTES", "shape": [3], "data": [b"\xff\0".hex(), "", b"abc".hex()]},
]
IN_JSON = [
    # What the client itself cannot write as JSON is left out: FP16, and bytes that are no text.
    *(tensor for tensor in TENSORS if tensor["datatype"] not in ("FP16", "BYTES")),
    {"name": "bytes", "datatype": "BYTES", "shape": [2], "data": ["zwölf".encode().hex(), b"abc".hex()]},
]


async def test_binary_data_over_http(http_address: str) -> None:
    answer = await triton("infer", "http", http_address, "echo", "--id", "7", inputs=TENSORS)
    assert answer == {"model": "echo", "version": "1", "id": "7", "outputs": TENSORS}


async def test_json_over_http(http_address: str) -> None:
    outputs = ("--outputs", *(tensor["name"] for tensor in IN_JSON))
    answer = await triton("infer", "http", http_address, "echo", "--json", *outputs, inputs=IN_JSON)
    assert answer["outputs"] == IN_JSON


async def test_bf16_travels_as_binary_data(http_address: str, grpc_address: str) -> None:
    tensor = {"name": "bf16", "datatype": "BF16", "shape": [2], "data": [0.5, -2.0]}
    for protocol, address in (("http", http_address), ("grpc", grpc_address)):
        assert (await triton("infer", protocol, address, "echo", inputs=[tensor]))["outputs"] == [tensor]


async def test_raw_contents_over_grpc(grpc_address: str) -> None:
    answer = await triton("infer", "grpc", grpc_address, "echo", "--id", "7", "--version", "1", inputs=TENSORS)
    assert answer == {"model": "echo", "version": "1", "id": "7", "outputs": TENSORS}


async def test_stream_over_grpc(grpc_address: str) -> None:
    answers = await triton("stream", "grpc", grpc_address, "m", "--id", "7", "--times", "3", inputs=TENSORS)
    assert answers == [{"model": "echo", "version": "", "id": "7", "outputs": TENSORS}] * 3


async def test_error_on_a_stream(grpc_address: str) -> None:
    (answer,) = await triton("stream", "grpc", grpc_address, "broken", inputs=TENSORS)
    assert "broken" in answer["error"]


async def test_error_over_http(http_address: str) -> None:
    tensor = {"name": "bytes", "datatype": "BYTES", "shape": [1], "data": ["ff"]}
    outputs = ("--outputs", "absent")
    answer = await triton("infer", "http", http_address, "echo", *outputs, inputs=[tensor])
    assert answer["status"] == "400"
    assert answer["error"].startswith("outputs[0].data[0]: JSON has only UTF-8")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_metadata(http_address: str, grpc_address: str, protocol: str) -> None:
    address = http_address if protocol == "http" else grpc_address
    model = await triton("metadata", protocol, address, "echo")
    assert (model["name"], model["versions"], model["platform"]) == ("echo", ["1"], "p")
    (tensor,) = model["inputs"]
    assert (tensor["name"], tensor["datatype"], [int(length) for length in tensor["shape"]]) == ("x", "FP32", [-1, 4])
    server = await triton("server", protocol, address, "echo")
    assert server == {"name": "s", "version": "2", "extensions": ["binary_tensor_data"]}
