"""Calls of the Open Inference Protocol, made into requests for backends that speak it over REST or over gRPC."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from gateway.config.snapshot import Failure
from gateway.context import RequestContext
from gateway.edits import edited_mapping, edited_pairs
from gateway.errors import ErrorCode, InvalidRequestError, UpstreamRejectedError
from gateway.operations.call_metadata import call_metadata
from gateway.operations.unary_grpc import UnaryGrpc
from gateway.operations.unary_http import UnaryHttp
from gateway.operations.unread import UnreadRequest
from gateway.plan import BackendPlan
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.schemas.open_inference.grpc import RequestHead, read_request_head
from gateway.schemas.open_inference.paths import ModelAction, model_path
from gateway.schemas.open_inference.rest import HEADER_LENGTH, RestBody
from gateway.schemas.open_inference.rest_metadata import NOT_READY_STATUS, read_error
from gateway.types import Demand, Schema
from gateway.upstream.answer import UnaryAnswer
from gateway.upstream.cluster import Cluster
from gateway.upstream.status_errors import reset

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
B = TypeVar("B")

_SCHEMAS = frozenset({Schema.OPEN_INFERENCE, Schema.PASSTHROUGH})

# Told anew for every body.
_OF_BODY = frozenset({"content-type", "content-encoding", "accept", HEADER_LENGTH})


class Translation(Protocol[A_co]):
    """A call in the form that its caller speaks: how backends of either form are asked, and what the caller gets.

    All methods but `find_fault` raise `MalformedTensorError`: those that ask, for what the backend's form cannot
    carry; those that answer, for answers that are none. `rename_to` None: the answer names the model as it should.
    """

    @property
    def action(self) -> ModelAction:
        """What is asked."""

    @property
    def model(self) -> str:
        """The caller's name for the model."""

    @property
    def version(self) -> str:
        """Empty: the backend chooses."""

    def rest_body(self) -> RestBody | None:
        """The body for a backend over REST."""

    def message(self, model: str) -> bytes:
        """The message for a backend over gRPC, which knows the model by this name."""

    def from_rest(self, answer: UnaryAnswer, rename_to: str | None) -> A_co:
        """What the caller gets when a backend over REST has answered."""

    def from_grpc(self, message: bytes, rename_to: str | None) -> A_co:
        """What the caller gets when a backend over gRPC has answered."""

    def find_fault(self) -> MalformedTensorError | None:
        """What is wrong with the call, whoever is asked; None if nothing is."""


class RestErrors:
    """How backends write errors over REST. They do not tell whether trying elsewhere may help."""

    error_family = "open_inference"

    def read_error(self, body: bytes) -> str | None:
        """Its message."""
        return read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The status tells all there is."""
        return None


@dataclass(frozen=True, slots=True)
class OpenInferenceInbound(UnreadRequest, Generic[A]):
    """One call. `sent` are the caller's headers or metadata, `asked` is what makes up the call beside its path."""

    translation: Translation[A]
    sent: Sequence[tuple[bytes, bytes]] = field(repr=False)
    asked: bytes = field(default=b"", repr=False)

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> UnaryHttp[A] | UnaryGrpc[A]:
        """The call in the backend's form, with its name for the model."""
        check_schema(backend)
        try:
            if cluster.connections.speaks_grpc:
                return self._over_grpc(context, backend, deadline)
            return self._over_rest(context, backend, cluster, deadline)
        except MalformedTensorError as error:
            raise invalid_request(error) from error

    def _over_grpc(self, context: RequestContext, backend: BackendPlan, deadline: float) -> UnaryGrpc[A]:
        call = self.translation
        rename_to = _rename_to(backend, call.model)
        return UnaryGrpc(
            path=call.action.grpc_path,
            message=call.message(backend.upstream_model(call.model)),
            metadata=call_metadata(
                edited_pairs(context.header_edits, self.sent),
                context.request_id,
                is_from_grpc=context.protocol == "grpc",
            ),
            understand=_understanding(lambda message: call.from_grpc(message, rename_to)),
            find_fault=self._unknown_model if call.action is ModelAction.READY else self._find_fault,
            per_try_timeout_s=backend.retry.per_try_timeout_s,
            deadline=deadline,
        )

    def _over_rest(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> UnaryHttp[A]:
        call = self.translation
        rename_to = _rename_to(backend, call.model)
        body = call.rest_body()
        path = model_path(call.action, backend.upstream_model(call.model), call.version)
        return UnaryHttp(
            method=call.action.http_method,
            path=backend.path_prefix + path,
            headers=_rest_headers(context, backend, body),
            body=None if body is None else body.body,
            errors=RestErrors(),
            answer_statuses=frozenset({NOT_READY_STATUS} if call.action is ModelAction.READY else ()),
            understand=_understanding(lambda answer: call.from_rest(answer, rename_to)),
            find_fault=self._find_fault,
            connect_timeout_s=backend.connect_timeout_s or cluster.config.connect_timeout_s,
            per_try_timeout_s=backend.retry.per_try_timeout_s,
            deadline=deadline,
        )

    def _find_fault(self) -> UpstreamRejectedError | None:
        """The refusal that the backend should have given: servers answer with faults of their own to tensors that do
        not agree with their shapes, which must not be held against the endpoint."""
        fault = self.translation.find_fault()
        if fault is None:
            return None
        refusal = _refusal(str(fault), ErrorCode.INVALID_REQUEST, 400)
        refusal.param = fault.param or None
        return refusal

    def _unknown_model(self) -> UpstreamRejectedError:
        """What MLServer means when it is asked whether a model is ready that it does not have, and fails."""
        return _refusal(f"the upstream does not have the model {self.translation.model!r}", ErrorCode.NOT_FOUND, 404)

    def demand(self) -> Demand:
        """No tokens that are counted here."""
        return Demand(output_tokens=0)

    def prompt_prefix(self, size: int) -> bytes:
        """Nothing: tensors are no prompt."""
        return b""

    def effective(self) -> bytes:
        """See `KeptInbound`: byte by byte, for tensors have no insignificant differences."""
        return self.asked

    async def discard(self, answer: A) -> None:
        """Nothing is left to read: answers come whole."""


def check_schema(backend: BackendPlan) -> None:
    """Raises `InvalidRequestError` for a service that does not speak this protocol."""
    schema = backend.service.schema
    if schema not in _SCHEMAS:
        raise InvalidRequestError(
            f"service {backend.service.name} speaks {schema.name}, not the Open Inference Protocol; "
            "ask for a model of another service",
            reason="UNSUPPORTED_BY_SERVICE",
            param="model",
        )


def read_head(data: bytes) -> RequestHead:
    """The head of a request over gRPC, which must name a model. Raises `InvalidRequestError`."""
    try:
        head = read_request_head(data)
    except MalformedTensorError as error:
        raise invalid_request(error) from error
    if not head.model:
        raise InvalidRequestError("the name of the model is missing", param="model_name")
    return head


def invalid_request(error: MalformedTensorError) -> InvalidRequestError:
    """What the caller is told."""
    return InvalidRequestError(str(error), param=error.param or None)


def _refusal(text: str, code: ErrorCode, status: int) -> UpstreamRejectedError:
    return UpstreamRejectedError(text, code=code, status=status, body=None, content_type="application/json")


def _rename_to(backend: BackendPlan, model: str) -> str | None:
    return None if backend.upstream_model(model) == model else model


def _understanding(translate: Callable[[B], A]) -> Callable[[B], A]:
    """The same for answers that may be no answers: another endpoint may do better."""

    def understand(answer: B) -> A:
        try:
            return translate(answer)
        except MalformedTensorError as error:
            raise reset(f"the upstream's answer cannot be understood: {error}") from error

    return understand


def _rest_headers(context: RequestContext, backend: BackendPlan, body: RestBody | None) -> list[tuple[str, str]]:
    seen = context.headers if context.seen_headers is None else context.seen_headers
    inbound = edited_mapping(context.header_edits, seen)
    built = backend.headers.build(inbound, context.request_id, accept="application/json")
    headers = [(name, value) for name, value in built if name not in _OF_BODY]
    if body is not None:
        headers.append(("content-type", body.content_type))
        if body.header_length is not None:
            headers.append((HEADER_LENGTH, str(body.header_length)))
    return headers
