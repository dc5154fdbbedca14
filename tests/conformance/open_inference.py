"""The Open Inference Protocol in front of a node, over REST and over gRPC: one way to ask, and what to put behind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import aiohttp
import grpc

from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference import rest_metadata as metadata_bodies
from gateway.schemas.open_inference.dialect import Datatype, InferRequest, InferResponse, ModelMetadata, Tensor
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from gateway.schemas.readiness import decode_number
from tests.conformance.calls import CallFailedError, Failure, Wire
from tests.conformance.configuration import Configuration, first_then
from tests.conformance.grpc_caller import failure_of
from tests.support.open_inference_backends import Backend, GrpcBackend, RestBackend

FLOATS = Tensor(name="x", datatype=Datatype.FP32, shape=(2, 2), data=(0.5, -0.25, 1.0, 2.0))
ASKED = InferRequest(model="m", id="7", inputs=(FLOATS,))

QUICK = {"retry_back_off": {"base_interval": "1ms"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """What came of a request: the answer, or how it failed. Header names are in lower case."""

    wire: Wire
    headers: Mapping[str, str]
    response: InferResponse | None = None
    failure: Failure | None = None

    @property
    def answer(self) -> InferResponse:
        assert self.failure is None, self.failure
        assert self.response is not None
        return self.response


class InferCaller(Protocol):
    """A client of the protocol."""

    @property
    def wire(self) -> Wire: ...

    async def infer(
        self, request: InferRequest, *, headers: Mapping[str, str] | None = None, deadline_s: float | None = None
    ) -> Inferred:
        """One inference. A raw tensor is sent as binary data, or in raw contents."""

    async def ready(self, model: str, version: str = "") -> bool:
        """Whether a model is ready. Raises `CallFailedError`."""

    async def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """What a model takes and gives. Raises `CallFailedError`."""


class RestInferCaller:
    """Over REST."""

    wire = Wire.HTTP

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self._url = f"http://{address}"
        self._session = session

    async def infer(
        self, request: InferRequest, *, headers: Mapping[str, str] | None = None, deadline_s: float | None = None
    ) -> Inferred:
        """One inference."""
        body = bodies.encode_request(request, binary=request.is_raw)
        own = {"content-type": body.content_type, **(headers or {})}
        if body.header_length is not None:
            own[bodies.HEADER_LENGTH] = str(body.header_length)
        if deadline_s is not None:
            own["x-janua-timeout-ms"] = str(round(deadline_s * 1000))
        path = _path(request.model, request.version) + "/infer"
        async with self._session.post(self._url + path, data=body.body, headers=own) as answer:
            data = await answer.read()
        told = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status != 200:
            return Inferred(wire=self.wire, headers=told, failure=rest_failure(answer.status, data))
        length = told.get(bodies.HEADER_LENGTH)
        response = bodies.decode_response(data, int(length) if length else None)
        return Inferred(wire=self.wire, headers=told, response=response)

    async def ready(self, model: str, version: str = "") -> bool:
        """Whether a model is ready."""
        status, data = await self._get(_path(model, version) + "/ready")
        if status not in (200, 400):
            raise CallFailedError(rest_failure(status, data), {})
        return status == 200

    async def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """What a model takes and gives."""
        status, data = await self._get(_path(model, version))
        if status != 200:
            raise CallFailedError(rest_failure(status, data), {})
        return metadata_bodies.decode_model_metadata(data)

    async def _get(self, path: str) -> tuple[int, bytes]:
        async with self._session.get(self._url + path) as answer:
            return answer.status, await answer.read()


def _path(model: str, version: str) -> str:
    return f"/v2/models/{model}" + (f"/versions/{version}" if version else "")


def rest_failure(status: int, body: bytes) -> Failure:
    """An error as this protocol writes it, and nothing else."""
    error = json.loads(body)
    assert error.keys() == {"error"}
    return Failure(status=str(status), message=error["error"])


class GrpcInferCaller:
    """Over gRPC."""

    wire = Wire.GRPC

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def infer(
        self, request: InferRequest, *, headers: Mapping[str, str] | None = None, deadline_s: float | None = None
    ) -> Inferred:
        """One inference."""
        call = self.call("ModelInfer", messages.encode_request(request), headers=headers, deadline_s=deadline_s)
        try:
            data = await call
        except grpc.aio.AioRpcError as error:
            told = {**_headers(error.initial_metadata()), **_headers(error.trailing_metadata())}
            return Inferred(wire=self.wire, headers=told, failure=failure_of(error))
        return Inferred(
            wire=self.wire, headers=_headers(await call.initial_metadata()), response=messages.decode_response(data)
        )

    def call(
        self,
        method: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]":
        """A call of bytes."""
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"/{GRPC_SERVICE}/{method}")
        return rpc(data, metadata=tuple((headers or {}).items()), timeout=deadline_s)

    async def ready(self, model: str, version: str = "") -> bool:
        """Whether a model is ready."""
        return bool(decode_number(await self._ask("ModelReady", model, version)))

    async def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """What a model takes and gives."""
        return messages.decode_model_metadata(await self._ask("ModelMetadata", model, version))

    async def _ask(self, method: str, model: str, version: str) -> bytes:
        try:
            return await self.call(method, messages.encode_model_query(model, version))
        except grpc.aio.AioRpcError as error:
            raise CallFailedError(failure_of(error), {}) from error

    def stream(self, *, deadline_s: float | None = None) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
        """An open stream."""
        rpc: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(
            f"/{GRPC_SERVICE}/ModelStreamInfer"
        )
        return rpc(timeout=deadline_s)


def _headers(metadata: grpc.aio.Metadata) -> Mapping[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}


def models_at(
    *backends: Backend,
    service: Mapping[str, Any] | None = None,
    upstream: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Configuration:
    """All models from these servers of one kind, the later for what fails on those before."""
    protocol = {"protocol": "GRPC"} if isinstance(backends[0], GrpcBackend) else {}
    addresses = [backend.address for backend in backends]
    target = {"upstream_service": {"upstream": "pool", "schema": "OPEN_INFERENCE"}}
    return first_then(
        *addresses,
        service={**target, "retry_policy": QUICK, **(service or {})},
        upstream={**protocol, **(upstream or {})},
        **fields,
    )


def make_backend(wire: Wire) -> Backend:
    """A server of that kind."""
    return RestBackend() if wire is Wire.HTTP else GrpcBackend()


def asking(model: str, **fields: Any) -> InferRequest:
    """The usual request, for another model."""
    return replace(ASKED, model=model, **fields)
