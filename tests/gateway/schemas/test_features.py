"""What a request asks for is found in its JSON as well as in its canonical form, at the fields that ask for it."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.listeners.surfaces import GEMINI_SURFACES, SURFACES, ChatSurface
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.features.canonical import asked_by, without
from gateway.schemas.features.places import Asked, Place, asked_at
from gateway.schemas.features.table import asked_of, stream_place
from gateway.schemas.table import ANTHROPIC_MESSAGES, COHERE_CHAT, GEMINI, OLLAMA_CHAT, OPENAI_CHAT, OPENAI_RESPONSES
from gateway.types import (
    AudioPart,
    ChatRequest,
    Feature,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    Message,
    PlainFormat,
    Reasoning,
    ReasoningEffort,
    Role,
    TextPart,
    Tool,
    ToolMode,
    ToolResult,
)
from tests.gateway.schemas.chat_request_strategies import requests
from tests.support import recordings

DIALECTS = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, COHERE_CHAT, OLLAMA_CHAT)
CLIENT_DIALECTS = {
    surface.dialect.name: surface.dialect
    for surface in (*SURFACES.values(), *GEMINI_SURFACES.values())
    if isinstance(surface, ChatSurface)
}
RECORDED_AT: Mapping[str, ChatDialect] = {
    "chat-completions": OPENAI_CHAT,
    "responses": OPENAI_RESPONSES,
    "messages": ANTHROPIC_MESSAGES,
    "generateContent": GEMINI,
    "streamGenerateContent": GEMINI,
    "v2-chat": COHERE_CHAT,
    "api-chat": OLLAMA_CHAT,
}
# Not written the same in every dialect, or not at all: thinking is the default of some.
_DEFAULTS = {Feature.REASONING, Feature.LOGPROBS}

TEXT, IMAGE = TextPart(text="?"), ImagePart(url="data:image/png;base64,iVBORw==")
PICTURE_FILE = FilePart(file_id="f", media_type="image/*")
SOUND, FILE = AudioPart(data="UklGRg==", format="wav"), FilePart(url="data:application/pdf;base64,JVBERi0=")
SCHEMA = JsonSchemaFormat(name="a", schema={"type": "object"})


def request(*parts: Any, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role=Role.USER, content=parts or (TEXT,)),), **fields)


def features(asked: Any) -> set[Feature]:
    return {each.feature for each in asked}


@pytest.mark.parametrize("name", CLIENT_DIALECTS)
def test_every_dialect_of_clients_has_its_places(name: str) -> None:
    assert asked_of(name, b"{}") == ()
    assert stream_place(name) in ("stream", None)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(asked=requests())
def test_json_and_canonical_form_ask_for_the_same(dialect: ChatDialect, asked: ChatRequest) -> None:
    try:
        body = dialect.encode_request(asked, "m", stream=False, drop_unsupported=True)
        canonical = dialect.decode_request(body, "m")
    except InvalidRequestError:
        reject()  # some dialects write no text of blanks alone, and then nothing is left
    assert features(asked_of(dialect.name, body)) - _DEFAULTS == features(asked_by(canonical)) - _DEFAULTS


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(asked=requests(), lacking=st.sets(st.sampled_from(Feature)).map(frozenset))
def test_what_is_left_out_is_not_asked_for_in_any_dialect(
    dialect: ChatDialect, asked: ChatRequest, lacking: frozenset[Feature]
) -> None:
    reduced = without(asked, lacking)
    assert features(asked_by(reduced)) == features(asked_by(asked)) - lacking
    try:
        body = dialect.encode_request(reduced, "m", stream=False, drop_unsupported=True)
    except InvalidRequestError:
        reject()
    assert not features(asked_of(dialect.name, body)) & (lacking - _DEFAULTS)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recordings.names(RECORDED_AT))
def test_recorded_requests_ask_for_the_same_in_both_forms(name: str) -> None:
    dialect = RECORDED_AT[name.split("/")[1]]
    body = msgspec.json.encode(recordings.load(name).request)
    try:
        canonical = dialect.decode_request(body, "m")
    except InvalidRequestError:
        pytest.skip("a request that was refused")
    found = features(asked_of(dialect.name, body))
    missed = features(asked_by(canonical)) - found - _DEFAULTS
    assert not missed


# What each feature looks like where the property above does not reach.

PART = {
    "image": {"inlineData": {"mimeType": "image/png", "data": ""}},
    "file": {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://a"}},
}


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        ("openai_chat", {"functions": [{"name": "f"}]}, [(Feature.TOOLS, "functions")]),
        ("openai_chat", {"tools": [], "logprobs": False, "n": 1, "response_format": {"type": "text"}}, []),
        ("openai_chat", {"tools": None, "messages": None}, []),
        ("openai_chat", {"messages": ["hi", {"content": "hi"}, {"content": ["hi"]}]}, []),
        (
            "openai_chat",
            {"messages": [{}, {"content": [{}, {"file": {"file_id": "f"}}, {"document_url": "u"}]}]},
            [(Feature.FILES, "messages[1].content[1].file"), (Feature.FILES, "messages[1].content[2].document_url")],
        ),
        ("openai_completions", {"logprobs": 0}, [(Feature.LOGPROBS, "logprobs")]),
        (
            "openai_responses",
            {
                "input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}],
                "text": {"format": {"type": "json_object"}},
            },
            [(Feature.IMAGES, "input[0].output[0]"), (Feature.JSON_OBJECT, "text.format")],
        ),
        ("openai_responses", {"input": "hi", "text": {"verbosity": "low"}}, []),
        (
            "anthropic_messages",
            {"messages": [{"content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
            [(Feature.IMAGES, "messages[0].content[0].content[0]")],
        ),
        ("anthropic_messages", {"thinking": {"type": "disabled"}}, []),
        ("anthropic_messages", {"thinking": {"type": "enabled"}}, [(Feature.REASONING, "thinking")]),
        (
            "gemini_generate_content",
            {"contents": [{"parts": [PART["file"], PART["image"]]}], "generation_config": {"candidate_count": 2}},
            [
                (Feature.IMAGES, "contents[0].parts[1].inlineData"),
                (Feature.FILES, "contents[0].parts[0].fileData"),
                (Feature.MULTIPLE_CHOICES, "generationConfig.candidateCount"),
            ],
        ),
        (
            "gemini_generate_content",
            {"generationConfig": {"responseMimeType": "application/json"}},
            [(Feature.JSON_OBJECT, "generationConfig")],
        ),
        ("gemini_generate_content", {"generationConfig": {"responseMimeType": "text/plain"}}, []),
        ("cohere_chat", {"response_format": {"type": "json_object"}}, [(Feature.JSON_OBJECT, "response_format")]),
        ("ollama_chat", {"format": "json", "think": False}, [(Feature.JSON_OBJECT, "format")]),
    ],
)
def test_places(dialect: str, body: Any, expected: list[tuple[Feature, str]]) -> None:
    assert [(each.feature, each.place) for each in asked_of(dialect, json.dumps(body).encode())] == expected


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"null", b'"text"', b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("dialect", CLIENT_DIALECTS)
def test_nothing_is_told_of_what_is_no_request(dialect: str, body: bytes) -> None:
    assert asked_of(dialect, body) == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner),
    )
)
def test_no_json_is_beyond_reading(value: Any) -> None:
    for asked in asked_at(
        [Place("a", Feature.TOOLS), Place("a[].b[]", Feature.IMAGES), Place("b.a", Feature.AUDIO)], value
    ):
        assert asked.place[0] in "ab"


# The canonical form.


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(), []),
        (request(tools=(Tool(name="f"),)), [Asked(Feature.TOOLS, "tools")]),
        (
            request(TEXT, IMAGE, SOUND, FILE),
            [
                Asked(Feature.IMAGES, "messages[0].content[1].image"),
                Asked(Feature.AUDIO, "messages[0].content[2].audio"),
                Asked(Feature.FILES, "messages[0].content[3].file"),
            ],
        ),
        (
            request(ToolResult(call_id="c", content=(TEXT, IMAGE))),
            [Asked(Feature.IMAGES, "messages[0].content[0].content[1].image")],
        ),
        (request(PICTURE_FILE), [Asked(Feature.IMAGES, "messages[0].content[0].file")]),
        (request(response_format=SCHEMA), [Asked(Feature.JSON_SCHEMA, "response_format")]),
        (request(response_format=PlainFormat.JSON_OBJECT), [Asked(Feature.JSON_OBJECT, "response_format")]),
        (request(response_format=PlainFormat.TEXT), []),
        (request(reasoning=Reasoning(effort=ReasoningEffort.LOW)), [Asked(Feature.REASONING, "reasoning_effort")]),
        (request(top_logprobs=0), [Asked(Feature.LOGPROBS, "top_logprobs")]),
        (request(n=1), []),
        (request(n=2), [Asked(Feature.MULTIPLE_CHOICES, "n")]),
    ],
)
def test_canonical(asked: ChatRequest, expected: list[Asked]) -> None:
    assert list(asked_by(asked)) == expected
    assert without(asked, frozenset()) == asked
    assert list(asked_by(without(asked, frozenset(Feature)))) == []


def test_only_what_is_lacking_is_left_out() -> None:
    result = ToolResult(call_id="c", content=(TEXT, IMAGE, FILE))
    asked = request(
        TEXT, IMAGE, SOUND, result, tools=(Tool(name="f"),), tool_choice=ToolMode.AUTO, n=2, response_format=SCHEMA
    )
    blind = without(asked, frozenset({Feature.IMAGES, Feature.JSON_OBJECT}))
    assert blind.messages[0].content == (TEXT, SOUND, ToolResult(call_id="c", content=(TEXT, FILE)))
    assert (blind.tools, blind.tool_choice, blind.n, blind.response_format) == (
        asked.tools,
        asked.tool_choice,
        2,
        SCHEMA,
    )
    bare = without(asked, frozenset({Feature.TOOLS}))
    assert (bare.tools, bare.tool_choice, bare.messages) == ((), None, asked.messages)
