"""Conversations and texts as a backend wants them: passed through where it speaks the caller's dialect, else
translated, and then without anything that only the caller's dialect knows."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config.snapshot import RetryConfig, ServiceConfig, UpstreamTarget
from gateway.context import RequestContext
from gateway.errors import InvalidRequestError
from gateway.operations.inference import ChatBody, EmbeddingsBody, TypedChat, TypedEmbeddings
from gateway.plan import BackendPlan
from gateway.providers.outbound import OutboundHeaders
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    GEMINI,
    OLLAMA_EMBEDDINGS,
    OPENAI_CHAT,
    OPENAI_EMBEDDINGS,
    SCHEMAS,
    Family,
)
from gateway.types import ChatRequest, EmbeddingsRequest, Message, Operation, Role, Schema, TextPart
from gateway.upstream.cluster import Cluster
from gateway.upstream.http_inference import HttpInference
from tests.gateway.upstream.calls import FAR_AWAY_S, cluster_of

OPENAI_BODY = b'{ "model":"m", "messages":[{"role":"user","content":"hello"}], "vendor":{"a":1} }'
PLAIN_BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
TYPED = ChatRequest(model="m", messages=(Message(role=Role.USER, content=(TextPart(text="hello"),)),), seed=7)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = cluster_of("127.0.0.1:1")
    yield cluster
    await cluster.connections.close_when_idle()


def plan(schema: Schema, *, renamed: bool = False, drop: bool = False, prefix: str = "") -> BackendPlan:
    names: Mapping[str, str] = {"m": "theirs"} if renamed else {}
    target = UpstreamTarget(upstream="pool")
    return BackendPlan(
        service=ServiceConfig(name="s", target=target, schema=schema, model_names=names, drops_unsupported=drop),
        family=SCHEMAS[schema],
        cluster="pool",
        headers=OutboundHeaders(own=(("x-api-key", "operator's"),), stripped=frozenset({b"authorization"})),
        path_prefix=prefix,
        model_override=None,
        retry=RetryConfig(),
        connect_timeout_s=None,
        request_timeout_s=FAR_AWAY_S,
        first_token_timeout_s=FAR_AWAY_S,
        stream_idle_timeout_s=FAR_AWAY_S,
    )


def context(
    operation: Operation = Operation.CHAT, *, stream: bool = False, headers: Mapping[bytes, bytes] | None = None
) -> RequestContext:
    return RequestContext(
        request_id="r",
        protocol="http",
        operation=operation,
        method="POST",
        path="/",
        host="",
        query_string=b"",
        headers=headers or {},
        model="m",
        is_streaming=stream,
        client_address="",
        started=0.0,
    )


def values(request: HttpInference[Any], name: str) -> list[str]:
    return [value for key, value in request.headers if key == name]


# In a dialect of HTTP.


def test_same_dialect_passes_byte_for_byte(cluster: Cluster) -> None:
    sent = ChatBody(OPENAI_CHAT, OPENAI_BODY, "m").for_backend(context(), plan(Schema.OPENAI), cluster, 1.0)
    assert sent.body == OPENAI_BODY
    assert (sent.dialect, sent.path, sent.rename_model_to) == (OPENAI_CHAT, "/v1/chat/completions", None)


def test_other_name_of_the_model_is_all_that_changes(cluster: Cluster) -> None:
    backend = plan(Schema.OPENAI, renamed=True)
    sent = ChatBody(OPENAI_CHAT, OPENAI_BODY, "m").for_backend(context(), backend, cluster, 1.0)
    assert json.loads(sent.body) == {**json.loads(OPENAI_BODY), "model": "theirs"}
    assert sent.rename_model_to == "m"


@pytest.mark.parametrize("stream", [False, True])
def test_other_dialect_is_translated(cluster: Cluster, stream: bool) -> None:
    backend = plan(Schema.GEMINI, renamed=True, prefix="/base")
    sent = ChatBody(OPENAI_CHAT, PLAIN_BODY, "m").for_backend(context(stream=stream), backend, cluster, 1.0)
    assert sent.dialect is GEMINI
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    assert sent.path == f"/base/v1beta/models/theirs:{method}"
    assert json.loads(sent.body) == {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    assert (sent.is_streaming, sent.rename_model_to) == (stream, "m")


def test_field_of_the_callers_dialect_alone_is_refused_by_name_or_left_out(cluster: Cluster) -> None:
    body = ChatBody(OPENAI_CHAT, OPENAI_BODY, "m")
    with pytest.raises(InvalidRequestError, match="vendor") as error:
        body.for_backend(context(), plan(Schema.ANTHROPIC), cluster, 1.0)
    assert (error.value.param, error.value.reason) == ("vendor", "UNSUPPORTED_FIELD")
    sent = body.for_backend(context(), plan(Schema.ANTHROPIC, drop=True), cluster, 1.0)
    assert "vendor" not in json.loads(sent.body)


def test_request_is_decoded_once_for_all_backends(cluster: Cluster) -> None:
    body = ChatBody(OPENAI_CHAT, PLAIN_BODY, "m")
    body.for_backend(context(), plan(Schema.ANTHROPIC), cluster, 1.0)
    decoded = body.canonical()
    body.for_backend(context(), plan(Schema.GEMINI), cluster, 1.0)
    assert body.canonical() is decoded


def test_body_that_no_dialect_understands_still_passes_through(cluster: Cluster) -> None:
    body = ChatBody(OPENAI_CHAT, b'{"model":"m","messages":7}', "m")
    assert body.for_backend(context(), plan(Schema.OPENAI), cluster, 1.0).body == b'{"model":"m","messages":7}'
    with pytest.raises(InvalidRequestError) as error:
        body.for_backend(context(), plan(Schema.ANTHROPIC), cluster, 1.0)
    assert error.value.param == "messages"


HEADERS = {
    b"authorization": b"Bearer caller's",
    b"traceparent": b"00-1-2-01",
    b"anthropic-version": b"2099-01-01",
    b"x-own": b"1",
}


@pytest.mark.parametrize(
    ("dialect", "version", "own"), [(ANTHROPIC_MESSAGES, "2099-01-01", ["1"]), (OPENAI_CHAT, "2023-06-01", [])]
)
def test_headers_of_the_caller_go_to_its_own_dialect_only(
    cluster: Cluster, dialect: ChatDialect, version: str, own: list[str]
) -> None:
    asked = context(headers=HEADERS)
    sent = ChatBody(dialect, PLAIN_BODY, "m").for_backend(asked, plan(Schema.ANTHROPIC), cluster, 1.0)
    assert values(sent, "traceparent") == ["00-1-2-01"]
    assert values(sent, "authorization") == []
    assert values(sent, "x-api-key") == ["operator's"]
    assert values(sent, "anthropic-version") == [version]
    assert values(sent, "x-own") == own


def test_family_without_conversations_is_told_apart_from_an_unknown_model(cluster: Cluster) -> None:
    with pytest.raises(InvalidRequestError, match="OPEN_INFERENCE, which has no chat") as error:
        ChatBody(OPENAI_CHAT, PLAIN_BODY, "m").for_backend(context(), plan(Schema.OPEN_INFERENCE), cluster, 1.0)
    assert (error.value.reason, error.value.param) == ("UNSUPPORTED_BY_SERVICE", "model")


def test_prompt_is_what_stands_in_the_body() -> None:
    prefix = ChatBody(OPENAI_CHAT, PLAIN_BODY, "m").prompt_prefix(1000)
    assert b"hello" in prefix
    assert ChatBody(OPENAI_CHAT, PLAIN_BODY, "m").prompt_prefix(5) == prefix[:5]


# Typed.


@pytest.mark.parametrize("schema", [schema for schema, family in SCHEMAS.items() if family.chat])
def test_typed_conversation_is_written_in_the_first_dialect_of_the_backend(cluster: Cluster, schema: Schema) -> None:
    backend = plan(schema, renamed=True, drop=True)
    sent = TypedChat(TYPED, is_streaming=False).for_backend(context(), backend, cluster, 1.0)
    first: Family = SCHEMAS[schema]
    assert sent.dialect is first.chat[0]
    assert "hello" in str(first.chat[0].decode_request(sent.body, "theirs").messages)
    assert sent.rename_model_to == "m"


def test_typed_field_that_the_backend_lacks_is_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(InvalidRequestError, match="seed"):
        TypedChat(TYPED, is_streaming=False).for_backend(context(), plan(Schema.ANTHROPIC), cluster, 1.0)


def test_typed_prompt_begins_as_the_same_one_in_a_body() -> None:
    assert TypedChat(TYPED, is_streaming=False).prompt_prefix(30) == ChatBody(
        OPENAI_CHAT, PLAIN_BODY, "m"
    ).prompt_prefix(30)


# Embeddings.

TEXTS = b'{"model":"m","input":["one","two"]}'


def test_texts_in_the_same_dialect_pass_byte_for_byte(cluster: Cluster) -> None:
    asked = context(Operation.EMBEDDINGS)
    sent = EmbeddingsBody(OPENAI_EMBEDDINGS, TEXTS, "m").for_backend(asked, plan(Schema.OPENAI), cluster, 1.0)
    assert (sent.body, sent.path) == (TEXTS, "/v1/embeddings")


def test_texts_in_another_dialect_are_translated(cluster: Cluster) -> None:
    asked = context(Operation.EMBEDDINGS)
    backend = plan(Schema.OLLAMA, renamed=True)
    sent = EmbeddingsBody(OPENAI_EMBEDDINGS, TEXTS, "m").for_backend(asked, backend, cluster, 1.0)
    assert (sent.dialect, sent.path) == (OLLAMA_EMBEDDINGS, "/api/embed")
    assert json.loads(sent.body) == {"model": "theirs", "input": ["one", "two"]}


def test_family_without_embeddings(cluster: Cluster) -> None:
    asked = context(Operation.EMBEDDINGS)
    with pytest.raises(InvalidRequestError, match="ANTHROPIC, which has no embeddings"):
        EmbeddingsBody(OPENAI_EMBEDDINGS, TEXTS, "m").for_backend(asked, plan(Schema.ANTHROPIC), cluster, 1.0)


def test_typed_texts(cluster: Cluster) -> None:
    asked = context(Operation.EMBEDDINGS)
    texts = TypedEmbeddings(EmbeddingsRequest(model="m", input=("one",)))
    assert json.loads(texts.for_backend(asked, plan(Schema.OLLAMA), cluster, 1.0).body)["input"] == ["one"]
    assert b"one" in texts.prompt_prefix(100)


def for_backend(inbound: Any, backend: BackendPlan, cluster: Cluster) -> HttpInference[Any]:
    """What a backend gets."""
    operation = Operation.EMBEDDINGS if isinstance(inbound, EmbeddingsBody) else Operation.CHAT
    sent: HttpInference[Any] = inbound.for_backend(context(operation), backend, cluster, FAR_AWAY_S)
    return sent


def shouting(request: ChatRequest) -> ChatRequest:
    message = Message(role=Role.USER, content=(TextPart(text="HELLO"),))
    return replace(request, messages=(message,))


def set_top_k(body: dict[str, Any]) -> None:
    body["top_k"] = 3


def test_changed_conversation_is_written_in_its_own_dialect(cluster: Cluster) -> None:
    inbound = ChatBody(OPENAI_CHAT, OPENAI_BODY, "m")
    changed = inbound.with_canonical(shouting(inbound.canonical()))
    sent = for_backend(changed, plan(Schema.OPENAI, renamed=True), cluster)
    assert json.loads(sent.body) == {
        "model": "theirs",
        "messages": [{"role": "user", "content": "HELLO"}],
        "vendor": {"a": 1},
    }
    assert for_backend(inbound, plan(Schema.OPENAI), cluster).body == OPENAI_BODY


def test_json_is_changed_after_a_conversation_was(cluster: Cluster) -> None:
    inbound = ChatBody(OPENAI_CHAT, OPENAI_BODY, "m")
    changed = inbound.with_canonical(shouting(inbound.canonical())).with_json(set_top_k, stream=False)
    body = json.loads(for_backend(changed, plan(Schema.OPENAI), cluster).body)
    assert (body["top_k"], body["messages"][0]["content"], body["vendor"]) == (3, "HELLO", {"a": 1})
    assert changed.canonical().top_k == 3


def test_changed_conversation_is_translated(cluster: Cluster) -> None:
    inbound = ChatBody(OPENAI_CHAT, PLAIN_BODY, "m")
    changed = inbound.with_canonical(shouting(inbound.canonical()))
    assert b"HELLO" in for_backend(changed, plan(Schema.ANTHROPIC, drop=True), cluster).body


def test_typed_conversation_is_changed_as_json_of_openai() -> None:
    changed = TypedChat(TYPED, is_streaming=True).with_json(set_top_k, stream=True)
    assert replace(changed.request, dialect="") == replace(TYPED, top_k=3)


def test_texts_for_vectors_are_changed(cluster: Cluster) -> None:
    inbound = EmbeddingsBody(OPENAI_EMBEDDINGS, b'{"model":"m","input":"a","later":1}', "m")
    changed = inbound.with_canonical(replace(inbound.canonical(), input=("b",))).with_json(set_top_k, stream=False)
    body = json.loads(for_backend(changed, plan(Schema.OPENAI), cluster).body)
    assert (body["input"] in ("b", ["b"]), body["later"], body["top_k"]) == (True, 1, 3)
    typed = TypedEmbeddings(EmbeddingsRequest(model="m", input=("a",)))
    assert typed.with_json(lambda each: each.update(input=["b"]), stream=False).request.input == ("b",)


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_cannot_be_changed(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        ChatBody(OPENAI_CHAT, body, "m").with_json(set_top_k, stream=False)
