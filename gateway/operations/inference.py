"""Chat, embeddings, ranking and counting of tokens: in a dialect of HTTP, passed through or translated, and typed, as
the gRPC API has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Self, TypeVar

from gateway.context import RequestContext
from gateway.edits import JsonEdit, edited_mapping
from gateway.errors import InvalidRequestError
from gateway.operations.features import check_operation, to_leave_out
from gateway.plan import BackendPlan
from gateway.response_cache.question import Question, question_of
from gateway.response_cache.request_key import canonical_json, effective_request
from gateway.schemas.chat_dialect import ChatDialect, UsageOnDemand
from gateway.schemas.dialect import Dialect
from gateway.schemas.features.canonical import asked_by, without
from gateway.schemas.features.table import asked_of, stream_place
from gateway.schemas.json_edit import edited_json
from gateway.schemas.max_output import max_output_tokens
from gateway.schemas.openai.fields import prompt_of
from gateway.schemas.prompt_size import estimated_tokens
from gateway.schemas.signatures import MARK, unsealed, with_conversation
from gateway.schemas.table import OPENAI_CHAT, OPENAI_EMBEDDINGS, SCHEMAS, Family
from gateway.schemas.unsupported import UnsupportedByBackendError, name_as_asked
from gateway.schemas.whole_dialect import (
    A,
    CountTokensTarget,
    EmbeddingsTarget,
    Q,
    RerankDialect,
    WholeDialect,
    WholeTarget,
)
from gateway.types import (
    ChatRequest,
    Demand,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    Feature,
    Operation,
    RerankAnswer,
    RerankRequest,
    Schema,
    TokenCount,
)
from gateway.upstream.answer import Exchange, StreamAnswer
from gateway.upstream.cluster import Cluster
from gateway.upstream.http_inference import HttpInference

D = TypeVar("D", bound=Dialect)

_WHOLE = 2**62

_NAMES = {Operation.COUNT_TOKENS: "counting of tokens"}

# Of a caller's headers, those that mean the same in every dialect.
_COMMON_HEADERS = (b"traceparent", b"tracestate", b"baggage")


@dataclass(slots=True)
class ChatBody:
    """A conversation in a dialect of HTTP.

    To a backend that speaks the same it is passed through byte for byte as long as nothing must be changed; for others
    it is translated, decoded once for all of them. `asked` is the body as it came, where `body` is not; with `is_read`
    it is what was decoded, and perhaps changed, that goes to backends.
    """

    dialect: ChatDialect
    body: bytes
    model: str
    asked: bytes | None = field(default=None, repr=False)
    is_read: bool = False
    _decoded: ChatRequest | None = field(default=None, init=False, repr=False)

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference[ChatDialect]:
        """The conversation as the backend wants it, with its name for the model."""
        model = backend.upstream_model(self.model)
        dialects = backend.family.chat
        own = self.dialect
        target = own if own in dialects else _first(dialects, context, backend)
        # Some backends have their own way to write the dialect of the caller.
        writer = dialects[0] if dialects and dialects[0].name == target.name else target
        lacks = backend.lacks(self.model)
        reduced = self._reduced(context, backend, lacks) if lacks else None
        if target is not own or reduced is not None or self.is_read:
            said = unsealed(reduced or self.canonical(), target.name)
            try:
                body = writer.encode_request(
                    said, model, stream=context.is_streaming, drop_unsupported=backend.service.drops_unsupported
                )
            except InvalidRequestError as error:
                name_as_asked(error, own.name)
                raise
        else:
            body = self._without_signatures_of_others() if MARK in self.body else self.body
            body = writer.with_request_model(body, self.model, model)
        hides_usage = False
        is_asked = backend.needs_usage or context.needs_usage or reduced is not None or self.is_read
        is_asked = is_asked and context.is_streaming and not backend.family.tells_usage
        if is_asked and target is own and isinstance(own, UsageOnDemand):
            asked = self.body if self.asked is None else self.asked
            hides_usage = own.with_usage_asked(asked) is not asked
            body = own.with_usage_asked(body)
        return _http_inference(
            context,
            backend,
            cluster,
            deadline,
            target,
            body,
            model,
            is_translated=target is not own,
            hides_usage=hides_usage,
        )

    def _reduced(self, context: RequestContext, backend: BackendPlan, lacks: frozenset[Feature]) -> ChatRequest | None:
        """The conversation without what the backend cannot do; None if it can do all of it."""
        name = self.dialect.name
        missing = to_leave_out(context, backend, lacks, asked_of(name, self.body), stream_place(name))
        return without(self.canonical(), missing) if missing else None

    def _without_signatures_of_others(self) -> bytes:
        own = unsealed(self.canonical(), self.dialect.name)
        encoded = self.dialect.encode_request(own, self.model, stream=False, drop_unsupported=True)
        return with_conversation(self.body, encoded)

    def demand(self) -> Demand:
        """By the size of the body, and the most that it asks for."""
        if self.is_read:
            return TypedChat(self.canonical(), is_streaming=False).demand()
        return Demand(
            input_tokens=estimated_tokens(self.body), output_tokens=max_output_tokens(self.dialect.name, self.body)
        )

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the messages as they stand in the body."""
        return prompt_of(self.body)[:size]

    async def discard(self, answer: Exchange[ChatDialect]) -> None:
        """Reads an answer to its end."""
        await _discard(answer)

    def canonical(self) -> ChatRequest:
        """The conversation, decoded. Raises `InvalidRequestError` that names the field."""
        if self._decoded is None:
            self._decoded = self.dialect.decode_request(self.body, self.model)
        return self._decoded

    def with_canonical(self, request: ChatRequest) -> "ChatBody":
        """See `Editable`."""
        changed = replace(self, is_read=True)
        changed._decoded = request
        return changed

    def with_json(self, edit: JsonEdit, *, stream: bool) -> "ChatBody":
        """See `Editable`. The JSON is that of the caller's dialect."""
        body = self.body
        if self.is_read:
            request = self.canonical()
            body = self.dialect.encode_request(request, self.model, stream=stream, drop_unsupported=False)
        asked = self.body if self.asked is None else self.asked
        return ChatBody(self.dialect, edited_json(body, edit), self.model, asked)

    def effective(self) -> bytes | None:
        """See `KeptInbound`."""
        return effective_request(self.canonical()) if self.is_read else canonical_json(self.body)

    def question(self) -> Question | None:
        """What is asked, as far as it may be asked in other words. Raises `InvalidRequestError`."""
        return question_of(self.canonical(), None if self.is_read else self.body)


@dataclass(frozen=True, slots=True)
class TypedChat:
    """A typed conversation."""

    request: ChatRequest
    is_streaming: bool

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference[ChatDialect]:
        """The conversation in the backend's dialect."""
        model = backend.upstream_model(self.request.model)
        dialect = _first(backend.family.chat, context, backend)
        request = self.request
        if lacks := backend.lacks(request.model):
            request = without(request, to_leave_out(context, backend, lacks, asked_by(request), None))
        body = dialect.encode_request(
            unsealed(request, dialect.name),
            model,
            stream=self.is_streaming,
            drop_unsupported=backend.service.drops_unsupported,
        )
        return _http_inference(context, backend, cluster, deadline, dialect, body, model)

    def demand(self) -> Demand:
        """By the size that OpenAI's format has, and the most that it asks for."""
        bound = self.request.max_output_tokens
        return Demand(
            input_tokens=estimated_tokens(self.prompt_prefix(_WHOLE)),
            output_tokens=bound and bound * max(1, self.request.n or 1),
        )

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the messages as OpenAI's format has them."""
        model = self.request.model
        return prompt_of(OPENAI_CHAT.encode_request(self.request, model, stream=False, drop_unsupported=True))[:size]

    async def discard(self, answer: Exchange[ChatDialect]) -> None:
        """Reads an answer to its end."""
        await _discard(answer)

    def canonical(self) -> ChatRequest:
        """The conversation."""
        return self.request

    def with_canonical(self, request: ChatRequest) -> "TypedChat":
        """See `Editable`."""
        return replace(self, request=request)

    def with_json(self, edit: JsonEdit, *, stream: bool) -> "TypedChat":
        """See `Editable`. The JSON is that of OpenAI's chat completions."""
        model = self.request.model
        body = OPENAI_CHAT.encode_request(self.request, model, stream=stream, drop_unsupported=False)
        return replace(self, request=OPENAI_CHAT.decode_request(edited_json(body, edit), model))

    def effective(self) -> bytes | None:
        """See `KeptInbound`."""
        return effective_request(self.request)

    def question(self) -> Question | None:
        """What is asked, as far as it may be asked in other words."""
        return question_of(self.request, None)


@dataclass(slots=True)
class WholeBody(Generic[Q, A]):
    """A request in a dialect of HTTP whose answer comes whole, passed through or translated like `ChatBody`."""

    operation: ClassVar[Operation]

    dialect: WholeDialect[Q, A]
    body: bytes
    model: str
    is_read: bool = False
    _decoded: Q | None = field(default=None, init=False, repr=False)

    @staticmethod
    def spoken(family: Family) -> "Sequence[WholeTarget[Q, A]]":
        """The dialects that a family has of the operation."""
        raise NotImplementedError

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference[WholeTarget[Q, A]]:
        """The request as the backend wants it."""
        model = backend.upstream_model(self.model)
        if lacks := backend.lacks(self.model):
            check_operation(context, backend, lacks)
        dialects = self.spoken(backend.family)
        if self.dialect in dialects:
            body = self.dialect.with_request_model(
                self._read_body() if self.is_read else self.passed_on(), self.model, model
            )
            return _http_inference(context, backend, cluster, deadline, self.dialect, body, model)
        target = _first(dialects, context, backend)
        body = target.encode_request(self.canonical(), model, drop_unsupported=backend.service.drops_unsupported)
        return _http_inference(context, backend, cluster, deadline, target, body, model, is_translated=True)

    def demand(self) -> Demand:
        """By the size of the body. What comes back is no tokens."""
        return Demand(input_tokens=estimated_tokens(self.body), output_tokens=0)

    def passed_on(self) -> bytes:
        """The body for a backend that speaks the same."""
        return self.body

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of what is asked as it stands in the body."""
        return prompt_of(self.body)[:size]

    async def discard(self, answer: Exchange[WholeTarget[Q, A]]) -> None:
        """Nothing is left to read: the answer has come whole."""
        await _discard(answer)

    def canonical(self) -> Q:
        """The request, decoded. Raises `InvalidRequestError` that names the field."""
        if self._decoded is None:
            self._decoded = self.dialect.decode_request(self.body, self.model)
        return self._decoded

    def with_canonical(self, request: Q) -> Self:
        """See `Editable`."""
        changed = replace(self, is_read=True)
        changed._decoded = request
        return changed

    def with_json(self, edit: JsonEdit, *, stream: bool) -> Self:
        """See `Editable`. The JSON is that of the caller's dialect."""
        return replace(self, body=edited_json(self._read_body() if self.is_read else self.body, edit), is_read=False)

    def effective(self) -> bytes | None:
        """See `KeptInbound`."""
        return effective_request(self.canonical()) if self.is_read else canonical_json(self.body)

    def _read_body(self) -> bytes:
        return self.dialect.encode_request(self.canonical(), self.model, drop_unsupported=True)


class EmbeddingsBody(WholeBody[EmbeddingsRequest, EmbeddingsAnswer]):
    """Texts to be turned into vectors."""

    operation = Operation.EMBEDDINGS

    @staticmethod
    def spoken(family: Family) -> Sequence[EmbeddingsTarget]:
        """Its embeddings."""
        return family.embeddings


class RerankBody(WholeBody[RerankRequest, RerankAnswer]):
    """Texts to be ranked."""

    operation = Operation.RERANK

    @staticmethod
    def spoken(family: Family) -> Sequence[RerankDialect]:
        """Its ranking."""
        return family.rerank


class CountTokensBody(WholeBody[ChatRequest, TokenCount]):
    """A conversation whose tokens are to be counted."""

    operation = Operation.COUNT_TOKENS

    @staticmethod
    def spoken(family: Family) -> Sequence[CountTokensTarget]:
        """Its counting."""
        return family.count_tokens

    def demand(self) -> Demand:
        """Nothing: tokens that are counted are not used."""
        return Demand(output_tokens=0)

    def passed_on(self) -> bytes:
        """The body without signatures that are of other backends."""
        if MARK not in self.body:
            return self.body
        return with_conversation(
            self.body, self.dialect.encode_request(self.canonical(), self.model, drop_unsupported=True)
        )


@dataclass(frozen=True, slots=True)
class TypedEmbeddings:
    """Typed texts."""

    request: EmbeddingsRequest

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpInference[EmbeddingsTarget]:
        """The texts in the backend's dialect."""
        model = backend.upstream_model(self.request.model)
        if lacks := backend.lacks(self.request.model):
            check_operation(context, backend, lacks)
        dialect = _first(backend.family.embeddings, context, backend)
        body = dialect.encode_request(self.request, model, drop_unsupported=backend.service.drops_unsupported)
        return _http_inference(context, backend, cluster, deadline, dialect, body, model)

    def demand(self) -> Demand:
        """By the size that OpenAI's format has. Vectors are no tokens."""
        return Demand(input_tokens=estimated_tokens(self.prompt_prefix(_WHOLE)), output_tokens=0)

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the texts as OpenAI's format has them."""
        model = self.request.model
        return prompt_of(OPENAI_EMBEDDINGS.encode_request(self.request, model, drop_unsupported=True))[:size]

    async def discard(self, answer: Exchange[EmbeddingsTarget]) -> None:
        """Nothing is left to read: vectors come whole."""
        await _discard(answer)

    def canonical(self) -> EmbeddingsRequest:
        """The texts."""
        return self.request

    def with_canonical(self, request: EmbeddingsRequest) -> "TypedEmbeddings":
        """See `Editable`."""
        return TypedEmbeddings(request)

    def with_json(self, edit: JsonEdit, *, stream: bool) -> "TypedEmbeddings":
        """See `Editable`. The JSON is that of OpenAI's embeddings."""
        model = self.request.model
        body = OPENAI_EMBEDDINGS.encode_request(self.request, model, drop_unsupported=False)
        return TypedEmbeddings(OPENAI_EMBEDDINGS.decode_request(edited_json(body, edit), model))

    def effective(self) -> bytes | None:
        """See `KeptInbound`."""
        return effective_request(self.request)


def _first(dialects: Sequence[D], context: RequestContext, backend: BackendPlan) -> D:
    """The dialect that requests of others are translated to. Raises `UnsupportedByBackendError` where there is none."""
    if dialects:
        return dialects[0]
    raise unsupported_by_service(context, backend)


def unsupported_by_service(context: RequestContext, backend: BackendPlan) -> UnsupportedByBackendError:
    """The error for a service that has nothing like what is asked for."""
    service, wanted = backend.service, _NAMES.get(context.operation, context.operation.name.lower())
    text = f"service {service.name} speaks {service.schema.name}, which has no {wanted}"
    able = ""
    if context.operation is Operation.COUNT_TOKENS:
        names = [
            name.name for name, family in SCHEMAS.items() if family.count_tokens and name is not Schema.PASSTHROUGH
        ]
        able = f": those that speak {', '.join(names)} have it"
    return UnsupportedByBackendError(
        f"{text}; ask for a model of another service{able}",
        reason="UNSUPPORTED_BY_SERVICE",
        param="model",
    )


def _http_inference(
    context: RequestContext,
    backend: BackendPlan,
    cluster: Cluster,
    deadline: float,
    dialect: D,
    body: bytes,
    model: str,
    *,
    is_translated: bool = False,
    hides_usage: bool = False,
) -> HttpInference[D]:
    inbound: Mapping[bytes, bytes] = context.headers if context.seen_headers is None else context.seen_headers
    if is_translated:
        inbound = {name: inbound[name] for name in _COMMON_HEADERS if name in inbound}
    inbound = edited_mapping(context.header_edits, inbound)
    accept = dialect.framing.content_type if context.is_streaming else "application/json"
    headers = backend.headers.build(inbound, context.request_id, accept=accept)
    for name, value in dialect.headers:
        if all(name != other for other, _ in headers):
            headers.append((name, value))
    return HttpInference(
        dialect=dialect,
        path=backend.inference_path(dialect.path(model, stream=context.is_streaming), model),
        headers=headers,
        body=body,
        is_streaming=context.is_streaming,
        connect_timeout_s=backend.connect_timeout_s or cluster.config.connect_timeout_s,
        first_content_timeout_s=backend.first_content_timeout_s(is_streaming=context.is_streaming),
        stream_idle_timeout_s=backend.stream_idle_timeout_s,
        deadline=deadline,
        rename_model_to=None if model == context.model else context.model,
        hides_usage=hides_usage,
    )


async def _discard(exchange: Exchange[D]) -> None:
    if isinstance(exchange.answer, StreamAnswer):
        try:
            while await exchange.answer.rest.read():
                pass
        finally:
            exchange.answer.rest.close()
