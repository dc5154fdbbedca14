"""A config server and a gateway whose answers a test writes down: real gRPC on a real socket, nothing behind it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from grpc_status import rpc_status
from janua.config.v1 import config_service_pb2
from janua.config.v1.config_service_pb2 import (
    GetRolloutRequest,
    GetRolloutResponse,
    NodeRollout,
    WatchRolloutRequest,
    WatchRolloutResponse,
)
from janua.inference.v1 import inference_service_pb2

Handler = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message] | AsyncIterator[Message]]

_SERVICES = (
    config_service_pb2.DESCRIPTOR.services_by_name["ConfigService"],
    inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"],
)


@asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[str]:
    """Serves the named methods and yields the address; the other methods are UNIMPLEMENTED."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(tuple(_generic_handler(service, handlers) for service in _SERVICES))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _generic_handler(service: Any, handlers: dict[str, Handler]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {method.name: _method(method, handlers[method.name]) for method in service.methods if method.name in handlers},
    )


def _method(method: Any, handler: Handler) -> "grpc.RpcMethodHandler[Any, Any]":
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return make(
        handler,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


def rollouts(*answers: Sequence[NodeRollout]) -> dict[str, Handler]:
    """How far the nodes have come, one answer after the other; a stream ends with the last one and stays open."""
    remaining = iter(answers)
    last: list[NodeRollout] = []

    async def get_rollout(request: GetRolloutRequest, context: Any) -> Message:
        last[:] = next(remaining, last)
        return GetRolloutResponse(revision=request.revision, nodes=last)

    async def watch_rollout(request: WatchRolloutRequest, context: Any) -> AsyncIterator[Message]:
        yield WatchRolloutResponse(revision=request.revision, nodes=last, complete=True)
        for answer in remaining:
            yield WatchRolloutResponse(revision=request.revision, nodes=answer, complete=True)
        await asyncio.Event().wait()

    return {"GetRollout": get_rollout, "WatchRollout": watch_rollout}


async def fail(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, message: str, details: Sequence[Message] = ()
) -> None:
    """Ends the call with a `google.rpc.Status` as Janua's servers do."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))
