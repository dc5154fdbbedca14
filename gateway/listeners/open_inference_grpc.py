"""The Open Inference Protocol over gRPC, `inference.GRPCInferenceService`: what is asked of a model goes to a backend,
what is asked of a server is answered by the node itself. Messages are bytes."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import grpc

from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.listeners.cached import CachedCall
from gateway.listeners.cached_grpc import cached_message
from gateway.listeners.grpc_call import Accounting, Call, accounted_answer, answer_metadata, call_context, sent_metadata
from gateway.listeners.open_inference_stream import relay_stream
from gateway.listeners.server_metadata import server_metadata
from gateway.listeners.service import GatewayService
from gateway.operations.open_inference import OpenInferenceInbound, Translation, read_head
from gateway.operations.open_inference_infer import GrpcInfer
from gateway.operations.open_inference_model import GrpcMetadata, GrpcReady
from gateway.response_cache.request_key import headers_to_show, seen_headers
from gateway.schemas.open_inference.grpc import RequestHead, encode_server_metadata
from gateway.schemas.open_inference.paths import GRPC_SERVICE, ModelAction
from gateway.schemas.readiness import encode_truth
from gateway.types import Operation

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
MakeTranslation: TypeAlias = Callable[[RequestHead, bytes], Translation[bytes]]


class OpenInferenceServicer:
    """Serves the protocol's methods."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self._metadata = encode_server_metadata(server_metadata())

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        """The methods, for a server. Without serializers they get and give bytes."""
        handlers: dict[str, Handler] = {
            "ServerLive": self._about_server("ServerLive", lambda: encode_truth(True)),
            "ServerReady": self._about_server("ServerReady", lambda: encode_truth(self._service.is_ready)),
            "ServerMetadata": self._about_server("ServerMetadata", lambda: self._metadata),
            "ModelReady": self._about_model("ModelReady", lambda head, data: GrpcReady(head=head, data=data)),
            "ModelMetadata": self._about_model("ModelMetadata", lambda head, data: GrpcMetadata(head=head, data=data)),
            "ModelInfer": self._about_model("ModelInfer", lambda head, data: GrpcInfer(head=head, data=data)),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        return grpc.method_handlers_generic_handler(GRPC_SERVICE, handlers)

    def _about_server(self, method: str, say: Callable[[], bytes]) -> Handler:
        async def handle(_: bytes, call: Call) -> bytes:
            async def answer(context: RequestContext) -> bytes:
                await call.send_initial_metadata(answer_metadata(context))
                return say()

            return await self._unary(method, call, answer)

        return grpc.unary_unary_rpc_method_handler(handle)

    def _about_model(self, method: str, make: MakeTranslation) -> Handler:
        async def handle(data: bytes, call: Call) -> bytes:
            async def answer(context: RequestContext) -> bytes:
                context.body_size = data.__len__
                return await self._ask(context, call, make(read_head(data), data), data)

            return await self._unary(method, call, answer)

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _ask(self, context: RequestContext, call: Call, translation: Translation[bytes], data: bytes) -> bytes:
        context.model = translation.model
        pipeline = self._service.pin()
        plan = await pipeline.route(context)
        inbound: OpenInferenceInbound[bytes]
        if plan.cache is not None and translation.action is not ModelAction.READY:
            shown = headers_to_show(seen_headers(context.headers), context.headers)
            inbound = OpenInferenceInbound(translation, tuple(shown.items()), data)
            kept = CachedCall(self._service, pipeline, plan, inbound, form=context.path)
            return await cached_message(call, context, kept, _as_it_is)
        inbound = OpenInferenceInbound(translation, tuple(sent_metadata(call)))
        answer = await pipeline.call(context, plan, inbound)
        context.first_content_at = time.perf_counter()
        await call.send_initial_metadata(answer_metadata(context))
        return answer

    async def _unary(self, method: str, call: Call, answer: Callable[[RequestContext], Awaitable[bytes]]) -> bytes:
        context = call_context(call, f"/{GRPC_SERVICE}/{method}", Operation.OPEN_INFERENCE, is_streaming=False)
        return await accounted_answer(self._service, context, call, answer(context))

    async def _stream(self, _: object, call: Call) -> None:
        path = f"/{GRPC_SERVICE}/ModelStreamInfer"
        context = call_context(call, path, Operation.OPEN_INFERENCE, is_streaming=True)
        with Accounting(self._service, context, call) as accounting:
            try:
                await relay_stream(self._service, context, call)
            except GatewayError as error:
                accounting.error = error
        await accounting.abort_if_failed()


async def _as_it_is(_: RequestContext, answer: bytes) -> bytes:
    return answer
