"""Inference: as it came for backends of the caller's own form, decoded and encoded for those of the other."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

from gateway.operations.open_inference_answer import (
    check_object,
    header_length,
    inexpressible,
    rest_answer,
    with_body,
)
from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference.dialect import InferRequest, MalformedTensorError
from gateway.schemas.open_inference.paths import ModelAction
from gateway.schemas.open_inference.rest import RestBody
from gateway.upstream.answer import UnaryAnswer


@dataclass(frozen=True, kw_only=True)
class RestInfer:
    """An inference request over REST. `header_length` is that of the JSON, where binary data stand behind it."""

    action: ClassVar[ModelAction] = ModelAction.INFER

    model: str
    version: str
    body: bytes = field(repr=False)
    header_length: int | None

    @cached_property
    def _request(self) -> InferRequest:
        return bodies.decode_request(self.body, self.header_length, model=self.model, version=self.version)

    def rest_body(self) -> RestBody:
        """The body as it came."""
        return RestBody(body=self.body, header_length=self.header_length)

    def message(self, model: str) -> bytes:
        """A message with the same tensors: raw if binary data came."""
        return messages.encode_request(replace(self._request, model=model))

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> UnaryAnswer:
        """The answer as it came, but for the model's name."""
        check_object(answer)
        if rename_to is None:
            return answer
        return with_body(answer, bodies.with_model(answer.body, header_length(answer), rename_to))

    def from_grpc(self, message: bytes, rename_to: str | None) -> UnaryAnswer:
        """The same outputs, as binary data where the caller wants them so."""
        response = replace(messages.decode_response(message), model=self.model)
        with inexpressible():
            return rest_answer(bodies.encode_response(response, self._request))

    def find_fault(self) -> MalformedTensorError | None:
        """What is wrong with the tensors. Those without any JSON, only a server that knows the model can judge."""
        if self.header_length == 0:
            return None
        try:
            _ = self._request
        except MalformedTensorError as error:
            return error
        return None


@dataclass(frozen=True, kw_only=True)
class GrpcInfer:
    """A `ModelInferRequest`, with its head."""

    action: ClassVar[ModelAction] = ModelAction.INFER

    head: messages.RequestHead
    data: bytes = field(repr=False)

    @property
    def model(self) -> str:
        """The caller's name for the model."""
        return self.head.model

    @property
    def version(self) -> str:
        """Empty: the backend chooses."""
        return self.head.version

    @cached_property
    def _request(self) -> InferRequest:
        return messages.decode_request(self.data)

    def rest_body(self) -> RestBody:
        """A body with the same tensors as JSON, which all servers read."""
        return bodies.encode_request(self._request, binary=False)

    def message(self, model: str) -> bytes:
        """The message as it came, but for the model's name."""
        return self.data if model == self.model else messages.with_model(self.data, model)

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> bytes:
        """The same outputs, in raw contents if the inputs came so."""
        response = replace(bodies.decode_response(answer.body, header_length(answer)), model=self.model)
        with inexpressible():
            return messages.encode_response(response, raw=self._request.is_raw)

    def from_grpc(self, message: bytes, rename_to: str | None) -> bytes:
        """The message as it came, but for the model's name."""
        messages.check_answer(message)
        return message if rename_to is None else messages.with_model(message, rename_to)

    def find_fault(self) -> MalformedTensorError | None:
        """What is wrong with the tensors."""
        try:
            _ = self._request
        except MalformedTensorError as error:
            return error
        return None


class StreamedInfer(GrpcInfer):
    """A `ModelInferRequest` on a stream, which is answered as streams are, also where it is a call of its own."""

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> bytes:
        """The answer as a `ModelStreamInferResponse`."""
        return messages.relay_stream_answer(super().from_rest(answer, rename_to), self.model)

    def from_grpc(self, message: bytes, rename_to: str | None) -> bytes:
        """The answer as a `ModelStreamInferResponse`."""
        return messages.relay_stream_answer(message, self.model)
