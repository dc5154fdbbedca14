"""Every recorded exchange, through every dialect: what a provider really said must reach every client, what a client
really asked every backend that has a place for it. A recording that no dialect understands must be entered in the
ledger as one that is only relayed; `tests/conformance/test_relayed_recordings.py` relays those."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache
from unittest.mock import ANY

import pytest
from msgspec.structs import replace

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    COHERE_EMBEDDINGS,
    GEMINI,
    GEMINI_BATCH_EMBEDDINGS,
    OLLAMA_CHAT,
    OLLAMA_EMBEDDINGS,
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
    OPENAI_RESPONSES,
)
from gateway.schemas.whole_dialect import EmbeddingsDialect
from gateway.types import ChatRequest, FinishReason, NamedTool, Tool, ToolCall, Usage
from tests.gateway.schemas.carried_meaning import Asked, Said, answered, asked
from tests.gateway.schemas.dialect_streams import through_stream, through_whole
from tests.gateway.schemas.recording_ledger import (
    CHAT,
    EMBEDDINGS,
    INVOKE,
    RELAYED,
    chat_dialect,
    embeddings_dialect,
    groups_of,
    stream_events,
)
from tests.support import recordings
from tests.support.pieces import cut, single_bytes
from tests.support.recordings import Recording

pytestmark = pytest.mark.component("recordings")

NAMES = recordings.everything()

DIALECTS: Sequence[ChatDialect] = (
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    OPENAI_COMPLETIONS,
    ANTHROPIC_MESSAGES,
    GEMINI,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    OLLAMA_CHAT,
)
VECTORS: Sequence[EmbeddingsDialect] = (
    OPENAI_EMBEDDINGS,
    GEMINI_BATCH_EMBEDDINGS,
    COHERE_EMBEDDINGS,
    OLLAMA_EMBEDDINGS,
)

MODELS = {BEDROCK_CONVERSE.name: "anthropic.claude-3-haiku"}
"""What a backend is asked for, where not every model takes all there is."""

HAVE_CHOICES = (OPENAI_CHAT, OPENAI_COMPLETIONS, GEMINI)
"""Whose answers have alternatives."""
REFUSE_IN_WORDS = (OPENAI_COMPLETIONS, GEMINI, COHERE_CHAT, OLLAMA_CHAT)
"""Whose answers have no refusals: the words are there, and the answer ends like any other."""
FAILED_MIDWAY = {"groq/chat-completions/stream-mid-stream-error-tools-reasoning"}
NEED_THEIR_PROVIDER = {
    "openai/completions/n-choices-finish-length-stop": "prompt",
    "openai/embeddings/base64-token-input-batch": "input",
    "openai/embeddings/error-400-dimensions-token-input": "input",
    "openai/responses/previous-response-tool-result-tool-call": "previous_response_id",
}
"""Requests that mean something to the provider alone, by the field that is refused."""


@cache
def load(name: str) -> Recording:
    return recordings.load(name)


def dialect_of(name: str) -> ChatDialect | EmbeddingsDialect | None:
    recording = load(name)
    return chat_dialect(recording) or embeddings_dialect(recording)


def names(dialects: Iterable[object], *, with_errors: bool) -> list[str]:
    """The recordings of these dialects; never empty, see `recordings.names`."""
    if NAMES == ["absent"]:
        return NAMES
    known = list(dialects)
    return [name for name in NAMES if dialect_of(name) in known and (with_errors or load(name).status < 400)]


ANSWERS = names(DIALECTS, with_errors=False)
REQUESTS = names(DIALECTS, with_errors=True)
STREAMS = [name for name in ANSWERS if name == "absent" or load(name).is_streaming]
VECTOR_ANSWERS = names(VECTORS, with_errors=False)
VECTOR_REQUESTS = names(VECTORS, with_errors=True)


def chat_of(recording: Recording) -> ChatDialect:
    dialect = chat_dialect(recording)
    assert dialect is not None
    return dialect


def vectors_of(recording: Recording) -> EmbeddingsDialect:
    dialect = embeddings_dialect(recording)
    assert dialect is not None
    return dialect


# The ledger.


@pytest.mark.parametrize("name", NAMES)
def test_every_recording_is_entered(name: str) -> None:
    recording = load(name)
    assert recording.api in CHAT.keys() | EMBEDDINGS.keys() | RELAYED, (
        "no dialect reads it, nor is it said to be relayed"
    )


def test_every_recording_is_read_by_a_test() -> None:
    relayed = [name for name in NAMES if dialect_of(name) is None]
    assert {*REQUESTS, *VECTOR_REQUESTS, *relayed} == set(NAMES)
    assert {load(name).api for name in relayed} == RELAYED


def test_dialects_of_the_ledger_are_all_that_there_are() -> None:
    assert {dialect.name for dialect in CHAT.values()} == {dialect.name for dialect in DIALECTS}


# Answers.


def as_told_by(target: ChatDialect, before: Sequence[Said]) -> list[Said]:
    """What of an answer the target has a place for."""
    told = list(before) if target in HAVE_CHOICES else list(before[:1])
    return [_as_told_by(target, each) for each in told]


def _as_told_by(target: ChatDialect, told: Said) -> Said:
    finish = told.finish
    if finish is FinishReason.CONTENT_FILTER and (
        target is OLLAMA_CHAT or (target in REFUSE_IN_WORDS and told.refuses)
    ):
        finish = FinishReason.STOP
    if target is OPENAI_COMPLETIONS and told.calls:  # who completes a text has named no functions
        return Said(text=told.text, calls=(), finish=FinishReason.STOP)
    return Said(text=told.text, calls=told.calls, finish=finish)


@pytest.mark.parametrize("target", DIALECTS, ids=lambda dialect: f"to-{dialect.name}")
@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in FAILED_MIDWAY])
def test_answer_reaches_a_client_of_every_dialect(name: str, target: ChatDialect) -> None:
    """Field failure: stop reasons, `n > 1` and refusals dropped."""
    recording = load(name)
    groups = groups_of(recording, chat_of(recording))
    events = [event for group in groups for event in group]
    before, usage = answered(events)
    whole, whole_usage = answered(through_whole(target, events))
    streamed, streamed_usage = answered(through_stream(target, groups))
    assert whole == streamed == as_told_by(target, before)
    if usage is not None:
        assert whole_usage == streamed_usage == usage


@pytest.mark.parametrize("name", sorted(FAILED_MIDWAY))
def test_stream_that_fails_midway_is_an_error_after_what_it_said(name: str) -> None:
    recording = load(name)
    decoder = chat_of(recording).event_decoder()
    *before, last = stream_events(recording, chat_of(recording))
    assert [each for event in before for each in decoder.decode(event)]
    with pytest.raises(BadGatewayError, match="the upstream failed: Tool call validation failed"):
        decoder.decode(last)


@pytest.mark.parametrize("name", STREAMS)
def test_stream_gives_the_same_events_however_it_is_cut(name: str) -> None:
    recording = load(name)
    framing = chat_of(recording).framing if recording.api not in INVOKE else BEDROCK_CONVERSE.framing
    whole = list(framing.parser().feed(recording.answer))
    for pieces in (
        single_bytes(recording.answer),
        cut(recording.answer, range(0, len(recording.answer), 7)),
        cut(recording.answer, range(0, len(recording.answer), 64)),
    ):
        parser = framing.parser()
        assert [event for piece in pieces for event in parser.feed(piece)] == whole


# Requests.


def as_asked_of(target: ChatDialect, request: ChatRequest) -> Asked:
    """What of a request the target is told, where it has a place for all of it."""
    before = asked(request)
    limit, tools, results = before.max_output_tokens, before.tools, before.results
    if target is ANTHROPIC_MESSAGES and limit is None:
        limit = ANY  # it must be told one
    if target is OLLAMA_CHAT and limit == -1:
        limit = None  # that there is none needs no words
    if target is COHERE_CHAT and isinstance(choice := request.tool_choice, NamedTool):
        tools = tuple(each for each in tools if each[0] == choice.name)  # the only way to name it
    if target is BEDROCK_CONVERSE and request.dialect != target.name:
        results = tuple(text or "(empty)" for text in results)
        calls = [part for message in request.messages for part in message.content if isinstance(part, ToolCall)]
        tools = tools or tuple({call.name: (call.name, {"type": "object"}) for call in calls}.values())
    return dataclasses.replace(before, max_output_tokens=limit, tools=tools, results=results)


def read(name: str) -> ChatRequest:
    recording = load(name)
    return chat_of(recording).decode_request(recording.body, "m")


@pytest.mark.parametrize("target", DIALECTS, ids=lambda dialect: f"to-{dialect.name}")
@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in NEED_THEIR_PROVIDER])
def test_request_reaches_a_backend_of_every_dialect_or_the_field_is_named(name: str, target: ChatDialect) -> None:
    request = read(name)
    model = MODELS.get(target.name, "m")
    try:
        body = target.encode_request(request, model, stream=False, drop_unsupported=False)
    except InvalidRequestError as error:
        check_named(error)
        check_what_is_left(request, target, model)
    else:
        assert as_asked_of(target, request) == asked(target.decode_request(body, "m"))


def check_named(error: InvalidRequestError, *params: str) -> None:
    """A refusal names the field, and says what is wrong."""
    assert error.param in (params or (error.param,))
    assert error.param
    assert error.message


def check_what_is_left(request: ChatRequest, target: ChatDialect, model: str) -> None:
    """With what has no place left out, all that was said still is; what then says nothing is refused."""
    try:
        body = target.encode_request(request, model, stream=False, drop_unsupported=True)
    except InvalidRequestError as error:
        assert target is OPENAI_COMPLETIONS or not asked(request).user
        check_named(error, "messages")
        return
    before, after = as_asked_of(target, request), asked(target.decode_request(body, "m"))
    assert (after.system, after.user, after.assistant) == (before.system, before.user, before.assistant)
    assert (after.calls, after.results) == (before.calls, before.results)


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in NEED_THEIR_PROVIDER])
def test_request_written_in_its_own_dialect_means_the_same(name: str) -> None:
    request = read(name)
    dialect = chat_of(load(name))
    body = dialect.encode_request(request, "m", stream=False, drop_unsupported=False)
    again = dialect.decode_request(body, "m")
    assert asked(again) == asked(request)
    assert again.extra == request.extra
    assert [tool for tool in again.tools if not isinstance(tool, Tool)] == [
        tool for tool in request.tools if not isinstance(tool, Tool)
    ]


@pytest.mark.parametrize(("name", "param"), NEED_THEIR_PROVIDER.items())
def test_request_that_only_its_provider_can_answer_is_refused_by_its_field(name: str, param: str) -> None:
    recording = load(name)
    with pytest.raises(InvalidRequestError) as caught:
        (chat_dialect(recording) or vectors_of(recording)).decode_request(recording.body, "m")
    assert caught.value.param == param


# Vectors.


@pytest.mark.parametrize("target", VECTORS, ids=lambda dialect: f"to-{dialect.name}")
@pytest.mark.parametrize("name", VECTOR_ANSWERS)
def test_vectors_reach_a_client_of_every_dialect(name: str, target: EmbeddingsDialect) -> None:
    recording = load(name)
    before = vectors_of(recording).decode_answer(recording.answer)
    assert before.vectors
    assert all(before.vectors)
    request = target.decode_request(target_request(target, len(before.vectors)), "m")
    after = target.decode_answer(target.encode_answer(before, request, "m"))
    # In base64 numbers have 32 bits.
    assert [list(vector) for vector in after.vectors] == [pytest.approx(vector, rel=1e-6) for vector in before.vectors]
    assert after.usage == Usage(input_tokens=before.usage.input_tokens)


def target_request(target: EmbeddingsDialect, count: int) -> bytes:
    """A request for so many vectors."""
    openai = OPENAI_EMBEDDINGS.decode_request(b'{"input":["a"]}', "m")
    return target.encode_request(replace(openai, input=("a",) * count), "m", drop_unsupported=True)


@pytest.mark.parametrize("target", VECTORS, ids=lambda dialect: f"to-{dialect.name}")
@pytest.mark.parametrize("name", [name for name in VECTOR_REQUESTS if name not in NEED_THEIR_PROVIDER])
def test_texts_reach_a_backend_of_every_dialect_or_the_field_is_named(name: str, target: EmbeddingsDialect) -> None:
    recording = load(name)
    request = vectors_of(recording).decode_request(recording.body, "m")
    try:
        body = target.encode_request(request, "m", drop_unsupported=False)
    except InvalidRequestError as error:
        check_named(error)
        body = target.encode_request(request, "m", drop_unsupported=True)
    assert target.decode_request(body, "m").input == request.input
