"""Chat and embeddings: as OpenAI's JSON, passed through as it is, and typed, as the gRPC API has them."""

from dataclasses import dataclass

import msgspec

from gateway.context import RequestContext
from gateway.errors import InvalidRequestError
from gateway.plan import BackendPlan
from gateway.schemas import openai_chat, openai_embeddings
from gateway.schemas.openai_fields import RequestHead, prompt_of, set_request_model, without_duplicate_model
from gateway.schemas.table import SCHEMAS
from gateway.types import ChatRequest, EmbeddingsRequest
from gateway.upstream.answer import Exchange, StreamAnswer
from gateway.upstream.cluster import Cluster
from gateway.upstream.http_inference import HttpInference


class OpenAIInbound(msgspec.Struct, frozen=True):
    """A request in OpenAI's format, passed through byte for byte as long as nothing must be changed."""

    body: bytes
    head: RequestHead

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference:
        """The request with the backend's name for the model."""
        model = backend.upstream_model(self.head.model)
        body = (
            without_duplicate_model(self.body, model)
            if model == self.head.model
            else set_request_model(self.body, model)
        )
        return _http_inference(context, backend, cluster, deadline, body)

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the messages, or of the input, as they stand in the body."""
        return prompt_of(self.body)[:size]

    async def discard(self, answer: Exchange) -> None:
        """Reads an answer to its end."""
        await _discard(answer)


@dataclass(frozen=True, slots=True)
class ChatInbound:
    """A typed conversation."""

    request: ChatRequest
    is_streaming: bool

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference:
        """The conversation in the backend's format."""
        model = backend.upstream_model(self.request.model)
        body = openai_chat.encode_request(self.request, model, stream=self.is_streaming)
        return _http_inference(context, backend, cluster, deadline, body)

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the messages as OpenAI's format has them."""
        return prompt_of(openai_chat.encode_request(self.request, self.request.model, stream=False))[:size]

    async def discard(self, answer: Exchange) -> None:
        """Reads an answer to its end."""
        await _discard(answer)


@dataclass(frozen=True, slots=True)
class EmbeddingsInbound:
    """Typed texts."""

    request: EmbeddingsRequest

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference:
        """The texts in the backend's format."""
        body = openai_embeddings.encode_request(self.request, backend.upstream_model(self.request.model))
        return _http_inference(context, backend, cluster, deadline, body)

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the texts as OpenAI's format has them."""
        return prompt_of(openai_embeddings.encode_request(self.request, self.request.model))[:size]

    async def discard(self, answer: Exchange) -> None:
        """Nothing is left to read: vectors come whole."""
        await _discard(answer)


def _http_inference(
    context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float, body: bytes
) -> HttpInference:
    schema = backend.service.schema
    dialect = SCHEMAS.get(schema, {}).get(context.operation)
    if dialect is None:
        name, wanted = backend.service.name, context.operation.name.lower()
        raise InvalidRequestError(
            f"service {name} speaks {schema.name}, which has no {wanted}; ask for a model of another service",
            reason="UNSUPPORTED_BY_SERVICE",
            param="model",
        )
    upstream_model = backend.upstream_model(context.model)
    return HttpInference(
        dialect=dialect,
        path=backend.path_prefix + dialect.path,
        headers=backend.headers.build(context.headers, context.request_id, is_streaming=context.is_streaming),
        body=body,
        is_streaming=context.is_streaming,
        connect_timeout_s=backend.connect_timeout_s or cluster.config.connect_timeout_s,
        first_content_timeout_s=backend.first_content_timeout_s(is_streaming=context.is_streaming),
        stream_idle_timeout_s=backend.stream_idle_timeout_s,
        deadline=deadline,
        rename_model_to=None if upstream_model == context.model else context.model,
    )


async def _discard(exchange: Exchange) -> None:
    if isinstance(exchange.answer, StreamAnswer):
        try:
            while await exchange.answer.rest.read():
                pass
        finally:
            exchange.answer.rest.close()
