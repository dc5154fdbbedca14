"""Whether a model is ready, and what it takes and gives: questions and answers of either form."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from gateway.operations.open_inference_answer import check_object, inexpressible, rest_answer, with_body
from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest_metadata as bodies
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.schemas.open_inference.paths import ModelAction
from gateway.schemas.open_inference.rest import RestBody
from gateway.schemas.readiness import decode_number, encode_truth
from gateway.upstream.answer import UnaryAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class _RestQuestion:
    """A question over REST: all of it stands in the path."""

    model: str
    version: str

    def rest_body(self) -> None:
        """None is needed."""

    def message(self, model: str) -> bytes:
        """The names, as both questions have them."""
        return messages.encode_model_query(model, self.version)

    def find_fault(self) -> None:
        """There is nothing in it that could be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _GrpcQuestion:
    """A `ModelReadyRequest` or a `ModelMetadataRequest`, with its head."""

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

    def rest_body(self) -> None:
        """None is needed."""

    def message(self, model: str) -> bytes:
        """The message as it came, but for the model's name."""
        return self.data if model == self.model else messages.with_model(self.data, model)

    def find_fault(self) -> None:
        """There is nothing in it that could be wrong."""


class RestReady(_RestQuestion):
    """Whether a model is ready, asked over REST."""

    __slots__ = ()
    action: ClassVar[ModelAction] = ModelAction.READY

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> UnaryAnswer:
        """The answer as it came, but for the model's name, if it has one: many servers answer with the status alone."""
        if rename_to is None:
            return answer
        try:
            return with_body(answer, RestBody(body=bodies.with_name(answer.body, rename_to)))
        except MalformedTensorError:
            return answer

    def from_grpc(self, message: bytes, rename_to: str | None) -> UnaryAnswer:
        """The status says it, and the body too."""
        try:
            is_ready = bool(decode_number(message))
        except ValueError as error:
            raise MalformedTensorError(str(error)) from None
        body = RestBody(body=bodies.encode_ready(self.model, ready=is_ready))
        return rest_answer(body, status=200 if is_ready else bodies.NOT_READY_STATUS)


class GrpcReady(_GrpcQuestion):
    """Whether a model is ready, asked over gRPC."""

    __slots__ = ()
    action: ClassVar[ModelAction] = ModelAction.READY

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> bytes:
        """What the status says."""
        return encode_truth(answer.status != bodies.NOT_READY_STATUS and bodies.decode_ready(answer.body))

    def from_grpc(self, message: bytes, rename_to: str | None) -> bytes:
        """The message as it came."""
        messages.check_answer(message)
        return message


class RestMetadata(_RestQuestion):
    """What a model takes and gives, asked over REST."""

    __slots__ = ()
    action: ClassVar[ModelAction] = ModelAction.METADATA

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> UnaryAnswer:
        """The answer as it came, but for the model's name."""
        check_object(answer)
        if rename_to is None:
            return answer
        return with_body(answer, RestBody(body=bodies.with_name(answer.body, rename_to)))

    def from_grpc(self, message: bytes, rename_to: str | None) -> UnaryAnswer:
        """The same as JSON."""
        metadata = replace(messages.decode_model_metadata(message), name=self.model)
        return rest_answer(RestBody(body=bodies.encode_model_metadata(metadata)))


class GrpcMetadata(_GrpcQuestion):
    """What a model takes and gives, asked over gRPC."""

    __slots__ = ()
    action: ClassVar[ModelAction] = ModelAction.METADATA

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> bytes:
        """The same as a message."""
        metadata = replace(bodies.decode_model_metadata(answer.body), name=self.model)
        with inexpressible():
            return messages.encode_model_metadata(metadata)

    def from_grpc(self, message: bytes, rename_to: str | None) -> bytes:
        """The message as it came, but for the model's name."""
        messages.check_answer(message)
        return message if rename_to is None else messages.with_model(message, rename_to)
