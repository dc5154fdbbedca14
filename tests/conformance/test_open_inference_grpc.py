"""What is gRPC's own in the Open Inference Protocol: bytes that pass through, metadata, and the node itself."""

from importlib.metadata import version

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from janua.open_inference.v2 import open_inference_pb2 as pb

from gateway.schemas.open_inference.dialect import ServerMetadata
from gateway.schemas.open_inference.grpc import decode_server_metadata, encode_request, with_model
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from tests.conformance.gateway import Gateway
from tests.conformance.grpc_caller import failure_of
from tests.conformance.grpc_tools import SERVING, HealthClient, reflect
from tests.conformance.open_inference import ASKED, FLOATS, GrpcInferCaller, models_at
from tests.support.open_inference_backends import Backend, GrpcBackend, RestBackend, refuse, say

DATA = encode_request(ASKED)


# The node itself.


async def test_node_lives_and_is_ready(grpc_infer: GrpcInferCaller) -> None:
    assert pb.ServerLiveResponse.FromString(await grpc_infer.call("ServerLive", b"")).live
    assert pb.ServerReadyResponse.FromString(await grpc_infer.call("ServerReady", b"")).ready


async def test_node_says_what_it_is(grpc_infer: GrpcInferCaller) -> None:
    call = grpc_infer.call("ServerMetadata", b"", headers={"x-request-id": "mine"})
    assert decode_server_metadata(await call) == ServerMetadata(name="janua", version=version("janua"))
    assert dict(await call.initial_metadata())["x-request-id"] == "mine"


async def test_service_is_healthy_and_described(channel: grpc.aio.Channel) -> None:
    assert await HealthClient(channel).check(GRPC_SERVICE) == SERVING
    answer = await reflect(channel, ServerReflectionRequest(file_containing_symbol=GRPC_SERVICE))
    files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
    (methods,) = [{method.name for method in service.method} for file in files for service in file.service]
    assert methods >= {"ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"}


# Bytes.


async def test_bytes_pass_through_to_a_grpc_backend(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    unknown_field = b"\xf2\x7f\x03abc"
    answered = b"\x0a\x01m" + unknown_field
    grpc_backends[0].behave = say(answered)
    assert await grpc_infer.call("ModelInfer", DATA + unknown_field) == answered
    assert [asked.body for asked in grpc_backends[0].asked] == [DATA + unknown_field]


async def test_another_model_name_is_all_that_changes(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], grpc_infer: GrpcInferCaller
) -> None:
    names = {"models": [{"name": "m", "upstream_name": "other"}]}
    await gateway.apply(models_at(grpc_backends[0], service=names))
    grpc_backends[0].behave = say(b"\x0a\x05other")
    assert await grpc_infer.call("ModelInfer", DATA) == with_model(b"\x0a\x05other", "m")
    assert grpc_backends[0].asked[0].body == with_model(DATA, "other")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x0a", b"\x0f", b"\x0a\x01\xff", b"\x00\x00", b""])
async def test_truncated_messages_are_refused(
    gateway: Gateway, backends: tuple[Backend, ...], grpc_infer: GrpcInferCaller, method: str, data: bytes
) -> None:
    await gateway.apply(models_at(backends[0]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await grpc_infer.call(method, data)
    assert failure_of(caught.value).status == "INVALID_ARGUMENT"
    assert backends[0].asked == []


async def test_message_of_tensors_that_are_none(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await grpc_infer.call("ModelInfer", b"\x0a\x01m\x2a\x02\x0a\x09")
    failure = failure_of(caught.value)
    assert (failure.status, rest_backends[0].asked) == ("INVALID_ARGUMENT", [])


async def test_place_of_a_fault_stands_in_the_details(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    message = pb.ModelInferRequest.FromString(DATA)
    message.inputs[0].datatype = "FLOAT"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await grpc_infer.call("ModelInfer", message.SerializeToString())
    failure = failure_of(caught.value)
    assert (failure.status, failure.param) == ("INVALID_ARGUMENT", "inputs[0].datatype")


# Metadata and statuses.


async def test_binary_metadata_reach_a_grpc_backend(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], channel: grpc.aio.Channel
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{GRPC_SERVICE}/ModelInfer")
    await rpc(DATA, metadata=(("x-trace-bin", b"\0\xff"), ("x-tag", "blue")))
    headers = grpc_backends[0].asked[0].headers
    assert (headers["x-trace-bin"], headers["x-tag"]) == (b"\0\xff", "blue")


async def test_status_of_a_grpc_backend_comes_as_it_is(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].behave = refuse(409, "ABORTED", "another was first")
    inferred = await grpc_infer.infer(ASKED)
    assert inferred.failure is not None
    assert (inferred.failure.status, inferred.failure.message) == ("ABORTED", "another was first")
    assert inferred.headers["x-janua-endpoint"] == grpc_backends[0].address


async def test_route_by_path_takes_the_calls_of_the_service(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], grpc_infer: GrpcInferCaller
) -> None:
    route = {"match": {"path": {"prefix": f"/{GRPC_SERVICE}"}}}
    await gateway.apply(models_at(grpc_backends[0], route=route))
    assert (await grpc_infer.infer(ASKED)).answer.outputs == (FLOATS,)
