"""Scripted servers of the Open Inference Protocol, one over REST and one over gRPC, that behave alike: they echo,
refuse, hang and talk nonsense as a test tells them, and remember what they were asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

import grpc
from aiohttp import web

from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference import rest_metadata as metadata_bodies
from gateway.schemas.open_inference.dialect import (
    InferRequest,
    InferResponse,
    MalformedTensorError,
    ModelMetadata,
    TensorMetadata,
)
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from gateway.schemas.readiness import encode_truth

MODELS = frozenset({"m", "other", "upstream-m"})
"""The models that a server has, if a test does not say otherwise."""

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
StreamBehaviour: TypeAlias = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]


class Refusal(Exception):  # noqa: N818  # what a server says, whether or not it is its own fault
    """A call that a server fails, as the two protocols tell it."""

    def __init__(self, status: int, code: str, message: str = "out of order") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that a server got. `body` is what was sent, `time_s` what it was told it may take."""

    action: str
    model: str
    version: str
    headers: Mapping[str, str | bytes] = field(repr=False)
    body: bytes = b""
    time_s: float | None = None


Behaviour: TypeAlias = Callable[[InferRequest], Awaitable[InferResponse | bytes]]
"""What a model makes of a request; bytes are sent as they are."""


async def echo(request: InferRequest) -> InferResponse:
    """The inputs as outputs."""
    return InferResponse(
        model=request.model,
        version=request.version,
        id=request.id,
        outputs=request.inputs,
        parameters=request.parameters,
    )


def refuse(status: int, code: str, message: str = "out of order") -> Behaviour:
    """Always the same refusal."""

    async def behave(request: InferRequest) -> InferResponse:
        raise Refusal(status, code, message)

    return behave


def say(nonsense: bytes) -> Behaviour:
    """Always the same bytes."""

    async def behave(request: InferRequest) -> bytes:
        return nonsense

    return behave


async def hang(request: InferRequest) -> InferResponse:
    """Nothing, until the caller leaves."""
    await asyncio.Event().wait()
    return InferResponse()


class Backend(Protocol):
    """What both servers have."""

    behave: Behaviour
    models: frozenset[str]
    is_ready: bool
    asked: list[Asked]
    left: int

    address: str

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


B = TypeVar("B", bound=Backend)


@asynccontextmanager
async def started(*backends: B) -> AsyncIterator[tuple[B, ...]]:
    """The same, while they listen."""
    async with AsyncExitStack() as stack:
        for backend in backends:
            await backend.start()
            stack.push_async_callback(backend.stop)
        yield backends


class _Memory:
    """What a server remembers. `left` counts calls whose caller went away."""

    def __init__(self) -> None:
        self.behave: Behaviour = echo
        self.models = MODELS
        self.is_ready = True
        self.asked: list[Asked] = []
        self.left = 0
        self.address = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self.left += 1
            raise

    def check(self, model: str) -> None:
        if model not in self.models:
            raise Refusal(404, "NOT_FOUND", f"Model {model} not found")


def describe(model: str, version: str) -> ModelMetadata:
    """What the servers say of a model."""
    return ModelMetadata(
        name=model,
        versions=(version,) if version else ("1", "2"),
        platform="scripted",
        inputs=(TensorMetadata(name="x", datatype="FP32", shape=(-1, 4)),),
        outputs=(TensorMetadata(name="y", datatype="INT64", shape=(-1, 1)),),
    )


class RestBackend(_Memory):
    """Over REST. Tensors that do not agree with their shapes are a fault of its own, as they are to real servers."""

    def __init__(self) -> None:
        super().__init__()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens."""
        application = web.Application(client_max_size=0)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            application.router.add_post(f"{path}/infer", self._infer)
            application.router.add_get(f"{path}/ready", self._ready)
            application.router.add_get(path, self._metadata)
        application.router.add_get("/v2/health/ready", self._server_ready)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        """Breaks all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, http: web.Request, action: str) -> Asked:
        info = http.match_info
        headers = {name.lower(): value for name, value in http.headers.items()}
        asked = Asked(
            action=action,
            model=info["model"],
            version=info.get("version", ""),
            headers=headers,
            body=await http.read(),
        )
        self.asked.append(asked)
        return asked

    async def _infer(self, http: web.Request) -> web.Response:
        asked = await self._take(http, "infer")
        length = http.headers.get(bodies.HEADER_LENGTH)
        try:
            self.check(asked.model)
            with self.watching():
                request = bodies.decode_request(
                    asked.body, int(length) if length else None, model=asked.model, version=asked.version
                )
                answer = await self.behave(request)
            if isinstance(answer, bytes):
                return web.Response(body=answer, content_type="application/json")
            body = bodies.encode_response(answer, request)
        except MalformedTensorError as error:
            return _failed(500, str(error))
        except Refusal as refusal:
            return _failed(refusal.status, refusal.message)
        headers = {} if body.header_length is None else {bodies.HEADER_LENGTH: str(body.header_length)}
        return web.Response(body=body.body, content_type=body.content_type, headers=headers)

    async def _server_ready(self, http: web.Request) -> web.Response:
        return web.Response(status=200 if self.is_ready else 400)

    async def _ready(self, http: web.Request) -> web.Response:
        asked = await self._take(http, "ready")
        if asked.model not in self.models:
            return _failed(404, f"Model {asked.model} not found")
        return web.Response(status=200 if self.is_ready else 400)

    async def _metadata(self, http: web.Request) -> web.Response:
        asked = await self._take(http, "metadata")
        if asked.model not in self.models:
            return _failed(404, f"Model {asked.model} not found")
        body = metadata_bodies.encode_model_metadata(describe(asked.model, asked.version))
        return web.Response(body=body, content_type="application/json")


def _failed(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=metadata_bodies.error_body(message), content_type="application/json")


async def echo_each(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """A stream of Triton's: an answer to each request."""
    async for data in requests:
        yield messages.encode_stream_answer(await echo(messages.decode_request(data)))


async def echo_each_bare(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """The same as MLServer has it."""
    async for data in requests:
        yield messages.encode_response(await echo(messages.decode_request(data)))


class GrpcBackend(_Memory, grpc.GenericRpcHandler):
    """Over gRPC. `stream` None: there are no streams."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: StreamBehaviour | None = echo_each
        self.ended_streams = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listens."""
        self._server = grpc.aio.server(handlers=[self], options=[("grpc.max_receive_message_length", -1)])
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.address = f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Breaks all connections."""
        if self._server is not None:
            await self._server.stop(0)

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """The handler of a call."""
        match details.method.removeprefix(f"/{GRPC_SERVICE}/"):
            case "ModelInfer":
                return grpc.unary_unary_rpc_method_handler(self._infer)
            case "ServerReady":
                return grpc.unary_unary_rpc_method_handler(self._server_ready)
            case "ModelReady":
                return grpc.unary_unary_rpc_method_handler(self._ready)
            case "ModelMetadata":
                return grpc.unary_unary_rpc_method_handler(self._metadata)
            case "ModelStreamInfer" if self.stream is not None:
                return grpc.stream_stream_rpc_method_handler(self._stream)
        return None

    def _take(self, data: bytes, context: Context, action: str) -> Asked:
        head = messages.read_request_head(data)
        asked = Asked(
            action=action,
            model=head.model,
            version=head.version,
            headers=dict(context.invocation_metadata() or ()),
            body=data,
            time_s=context.time_remaining(),
        )
        self.asked.append(asked)
        return asked

    async def _infer(self, data: bytes, context: Context) -> bytes:
        asked = self._take(data, context, "infer")
        try:
            self.check(asked.model)
            with self.watching():
                request = messages.decode_request(data)
                answer = await self.behave(request)
            return answer if isinstance(answer, bytes) else messages.encode_response(answer, raw=request.is_raw)
        except MalformedTensorError as error:
            fault = Refusal(500, "INTERNAL", str(error))
        except Refusal as refusal:
            fault = refusal
        await context.abort(grpc.StatusCode[fault.code], fault.message)
        raise AssertionError("an aborted call goes no further")

    async def _server_ready(self, data: bytes, context: Context) -> bytes:
        return encode_truth(self.is_ready)

    async def _ready(self, data: bytes, context: Context) -> bytes:
        asked = self._take(data, context, "ready")
        if asked.model not in self.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Model {asked.model} not found")
        return encode_truth(self.is_ready)

    async def _metadata(self, data: bytes, context: Context) -> bytes:
        asked = self._take(data, context, "metadata")
        if asked.model not in self.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Model {asked.model} not found")
        return messages.encode_model_metadata(describe(asked.model, asked.version))

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        assert self.stream is not None
        try:
            async for answer in self.stream(self._noted(requests, context), context):
                yield answer
        finally:
            self.ended_streams += 1

    async def _noted(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for data in requests:
            self._take(data, context, "stream")
            yield data
