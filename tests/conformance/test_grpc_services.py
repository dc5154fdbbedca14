"""What a gRPC listener serves beside inference: health, and reflection for tools that know no protos."""

from contextlib import aclosing

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from tests.conformance.grpc_tools import SERVICE_UNKNOWN, SERVING, HealthClient, reflect

SERVICE = "janua.inference.v1.InferenceService"


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_ready_node_is_healthy(channel: grpc.aio.Channel, service: str) -> None:
    assert await HealthClient(channel).check(service) == SERVING


async def test_health_of_an_unknown_service_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await HealthClient(channel).check("no.such.Service")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


# An unknown service may be watched, as the protocol asks: it may become known.
@pytest.mark.parametrize(("service", "status"), [(SERVICE, SERVING), ("no.such.Service", SERVICE_UNKNOWN)])
async def test_health_can_be_watched(channel: grpc.aio.Channel, service: str, status: int) -> None:
    async with aclosing(HealthClient(channel).watch(service)) as statuses:
        assert await anext(statuses) == status


async def test_reflection_lists_all_services(channel: grpc.aio.Channel) -> None:
    answer = await reflect(channel, ServerReflectionRequest(list_services=""))
    assert {service.name for service in answer.list_services_response.service} == {
        SERVICE,
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_reflection_describes_the_inference_service(channel: grpc.aio.Channel) -> None:
    answer = await reflect(channel, ServerReflectionRequest(file_containing_symbol=SERVICE))
    files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
    (methods,) = [{method.name for method in service.method} for file in files for service in file.service]
    assert methods == {"CreateChatCompletion", "StreamChatCompletion", "CreateEmbeddings", "ListModels"}
