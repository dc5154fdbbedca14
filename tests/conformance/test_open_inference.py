"""The Open Inference Protocol, over REST and gRPC in front, with servers of REST and gRPC behind: four ways to the same
answers."""

import math
import struct
from dataclasses import replace

import pytest

from gateway.schemas.open_inference.dialect import Datatype, InferRequest, InferResponse, RequestedOutput, Tensor
from gateway.schemas.open_inference.tensor import raw_of
from tests.conformance.calls import CallFailedError, Kind, Wire
from tests.conformance.configuration import one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.open_inference import ASKED, FLOATS, InferCaller, asking, models_at
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.open_inference_backends import Backend, GrpcBackend, describe, refuse

Backends = tuple[Backend, ...]

TENSORS = [
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
    Tensor(name="x", datatype=Datatype.BYTES, shape=(3,), data=("zwölf".encode(), b"", b"bc")),
    Tensor(name="x", datatype=Datatype.FP32, shape=(0, 3), data=()),
    Tensor(name="x", datatype=Datatype.INT32, shape=(), data=(7,)),
]


def tensor_name(tensor: Tensor) -> str:
    return f"{tensor.datatype.value}{list(tensor.shape)}"


@pytest.mark.parametrize("is_raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("tensor", TENSORS, ids=tensor_name)
async def test_each_datatype_comes_back(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller, tensor: Tensor, is_raw: bool
) -> None:
    await gateway.apply(models_at(backends[0]))
    if is_raw:
        tensor = replace(tensor, data=raw_of(tensor, "tensor"))
    request = replace(ASKED, inputs=(tensor,), binary_outputs=is_raw)
    (output,) = (await infer_caller.infer(request)).answer.outputs
    assert (output.name, output.datatype, output.shape) == (tensor.name, tensor.datatype, tensor.shape)
    assert raw_of(output, "output") == raw_of(tensor, "tensor")
    if infer_caller.wire is Wire.HTTP or tensor.shape != (0, 3):  # of a raw tensor without elements nothing is left
        assert output.is_raw == is_raw


async def test_fp16_comes_back(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    await gateway.apply(models_at(backends[0]))
    tensor = Tensor(name="x", datatype=Datatype.FP16, shape=(2,), data=struct.pack("<2e", 0.5, -65504.0))
    answer = (await infer_caller.infer(replace(ASKED, inputs=(tensor,), binary_outputs=True))).answer
    assert raw_of(answer.outputs[0], "output") == tensor.data


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(name="x", datatype=Datatype.FP32, shape=(1,), data=struct.pack("<f", math.nan)),
        Tensor(name="x", datatype=Datatype.BYTES, shape=(1,), data=b"\1\0\0\0\xff"),
        Tensor(name="x", datatype=Datatype.BF16, shape=(1,), data=b"\0\x3f"),
    ],
    ids=["NaN", "no UTF-8", "BF16"],
)
async def test_what_json_cannot_say_goes_where_no_json_is_needed(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller, tensor: Tensor
) -> None:
    await gateway.apply(models_at(backends[0]))
    inferred = await infer_caller.infer(replace(ASKED, inputs=(tensor,), binary_outputs=True))
    if infer_caller.wire is Wire.GRPC and not isinstance(backends[0], GrpcBackend):
        assert inferred.failure is not None
        assert inferred.failure.status == "INVALID_ARGUMENT"
        assert inferred.failure.message.startswith("inputs[0].data")
        assert backends[0].asked == []
    else:
        assert inferred.answer.outputs == (tensor,)


async def test_id_version_parameters_and_several_tensors_come_back(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0]))
    second = replace(FLOATS, name="y", parameters={"unit": "cm"})
    parameters = {"temperature": 0.5, "limit": 2**63, "fast": True, "style": "plain", "offset": -1}
    request = replace(ASKED, version="3", inputs=(FLOATS, second), parameters=parameters)
    answer = (await infer_caller.infer(request)).answer
    assert (answer.model, answer.version, answer.id) == ("m", "3", "7")
    assert answer.outputs == (FLOATS, second)
    assert answer.parameters == parameters
    assert [(asked.model, asked.version) for asked in backends[0].asked] == [("m", "3")]


async def test_outputs_that_are_wanted_are_told(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0]))
    wanted: list[str] = []
    echo = backends[0].behave

    async def behave(request: InferRequest) -> InferResponse | bytes:
        wanted.extend(output.name for output in request.outputs)
        return await echo(request)

    backends[0].behave = behave
    await infer_caller.infer(replace(ASKED, outputs=(RequestedOutput(name="a"), RequestedOutput(name="b"))))
    assert wanted == ["a", "b"]


async def test_model_has_another_name_at_the_backend(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    service = {"models": [{"name": "m", "upstream_name": "upstream-m"}]}
    await gateway.apply(models_at(backends[0], service=service))
    answer = (await infer_caller.infer(ASKED)).answer
    assert (answer.model, answer.outputs) == ("m", (FLOATS,))
    assert (await infer_caller.metadata("m")).name == "m"
    assert await infer_caller.ready("m")
    assert {asked.model for asked in backends[0].asked} == {"upstream-m"}


async def test_metadata_of_a_model(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    await gateway.apply(models_at(backends[0]))
    assert await infer_caller.metadata("m") == describe("m", "")
    assert await infer_caller.metadata("m", "2") == describe("m", "2")
    assert [asked.version for asked in backends[0].asked] == ["", "2"]


async def test_model_is_ready_or_not(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    await gateway.apply(models_at(backends[0]))
    assert await infer_caller.ready("m")
    assert await infer_caller.ready("m", "2")
    backends[0].is_ready = False
    assert not await infer_caller.ready("m")


async def test_model_that_the_backend_does_not_have(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(*backends))
    inferred = await infer_caller.infer(asking("absent"))
    assert inferred.failure is not None
    assert inferred.failure.status == Kind.NOT_FOUND.on(infer_caller.wire)
    assert inferred.failure.message == "Model absent not found"
    for ask in (infer_caller.ready, infer_caller.metadata):
        with pytest.raises(CallFailedError) as caught:
            await ask("absent")
        assert caught.value.failure.status == Kind.NOT_FOUND.on(infer_caller.wire)
    assert backends[1].asked == []


async def test_model_that_no_route_takes(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    await gateway.apply(models_at(backends[0], route={"match": {"models": ["other"]}}))
    inferred = await infer_caller.infer(ASKED)
    assert inferred.failure is not None
    assert inferred.failure.status == Kind.NOT_FOUND.on(infer_caller.wire)
    assert "no route takes the model 'm'" in inferred.failure.message
    assert (await infer_caller.infer(asking("other"))).answer.model == "other"


async def test_service_that_speaks_another_protocol(
    gateway: Gateway, upstream: FaultyUpstream, infer_caller: InferCaller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    inferred = await infer_caller.infer(ASKED)
    assert inferred.failure is not None
    assert inferred.failure.status == Kind.INVALID_REQUEST.on(infer_caller.wire)
    assert "speaks OPENAI, not the Open Inference Protocol" in inferred.failure.message
    assert upstream.requests == []


async def test_service_that_is_passed_through_to(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    service = {"upstream_service": {"upstream": "pool", "schema": "PASSTHROUGH"}}
    await gateway.apply(models_at(backends[0], service=service))
    assert (await infer_caller.infer(ASKED)).answer.outputs == (FLOATS,)


async def test_tensor_that_does_not_agree_with_its_shape_is_the_callers_fault(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    """Real servers call it a fault of their own; an endpoint that does must not suffer for it."""
    detection = {"consecutive_5xx": 1, "interval": "60s"}
    await gateway.apply(models_at(*backends, upstream={"outlier_detection": detection}))
    wrong = replace(FLOATS, data=(0.5,))
    inferred = await infer_caller.infer(replace(ASKED, inputs=(wrong,)))
    assert inferred.failure is not None
    assert inferred.failure.status == Kind.INVALID_REQUEST.on(infer_caller.wire)
    assert inferred.failure.message == "inputs[0].data: shape [2, 2] needs 4 elements, there are 1"
    assert all(endpoint["healthy"] for endpoint in await gateway.endpoints())
    assert backends[1].asked == []
    assert (await infer_caller.infer(ASKED)).answer.outputs == (FLOATS,)


async def test_caller_is_told_who_answered(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    await gateway.apply(models_at(backends[0]))
    headers = (await infer_caller.infer(ASKED, headers={"x-request-id": "told"})).headers
    assert headers["x-request-id"] == "told"
    assert (headers["x-janua-route"], headers["x-janua-service"]) == ("chat", "llm")
    assert (headers["x-janua-endpoint"], headers["x-janua-attempts"]) == (backends[0].address, "1")


async def test_backend_is_told_of_the_request_but_not_of_the_callers_keys(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0]))
    secrets = {"authorization": "Bearer k", "x-api-key": "k", "api-key": "k", "x-goog-api-key": "k", "cookie": "a=b"}
    sent = {**secrets, "x-request-id": "r-9", "x-tenant": "blue", "x-janua-timeout-ms": "60000"}
    assert (await infer_caller.infer(ASKED, headers=sent)).failure is None
    (asked,) = backends[0].asked
    assert (asked.headers["x-request-id"], asked.headers["x-tenant"]) == ("r-9", "blue")
    assert not asked.headers.keys() & {*secrets, "x-janua-timeout-ms"}


async def test_caller_needs_a_key_where_the_route_says_so(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(with_keys(models_at(backends[0])))
    inferred = await infer_caller.infer(ASKED)
    assert inferred.failure is not None
    assert inferred.failure.status == Kind.UNAUTHENTICATED.on(infer_caller.wire)
    with pytest.raises(CallFailedError):
        await infer_caller.metadata("m")
    assert backends[0].asked == []


async def test_refused_credential_is_the_operators_problem(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0]))
    backends[0].behave = refuse(401, "UNAUTHENTICATED")
    inferred = await infer_caller.infer(ASKED)
    assert inferred.failure is not None
    assert inferred.failure.status == Kind.BAD_GATEWAY.on(infer_caller.wire)
    assert "credential" in inferred.failure.message


async def test_request_stands_in_metrics_and_access_log_once(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0]))
    status = "200" if infer_caller.wire is Wire.HTTP else "OK"
    labels = {"route": "chat", "service": "llm", "status": status}
    before = await gateway.metric("janua_requests_total", labels)
    request_id = f"logged-{infer_caller.wire.value}-{backends[0].address}"
    assert (await infer_caller.infer(ASKED, headers={"x-request-id": request_id})).failure is None
    entry = await gateway.access_log_entry(request_id)
    assert (entry["model"], entry["route"], entry["service"], entry["status"]) == ("m", "chat", "llm", status)
    assert (entry["endpoint"], entry["attempts"]) == (backends[0].address, 1)
    assert await gateway.metric("janua_requests_total", labels) == before + 1
