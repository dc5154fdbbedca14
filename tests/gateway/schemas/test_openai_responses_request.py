"""Requests for OpenAI's responses: each field read, written, refused by name, or left out as it changes nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.openai.responses_reasoning import call_fields, reasoning_item
from gateway.schemas.openai.responses_request import decode_request, encode_request
from gateway.schemas.openai.responses_wire import NAME
from gateway.schemas.table import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT
from gateway.types import (
    AudioPart,
    CacheTtl,
    ChatRequest,
    Citation,
    ContentPart,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    Message,
    NamedTool,
    OpaquePart,
    OpaqueTool,
    PlainFormat,
    Reasoning,
    ReasoningEffort,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)

HI = Message(role=Role.USER, content=(TextPart(text="hi"),))


def decoded(body: object) -> ChatRequest:
    return decode_request(json.dumps(body).encode(), "m")


def fields_of(**body: object) -> ChatRequest:
    return decoded({"model": "m", "input": "hi", **body})


def parts_of(*items: object) -> list[ContentPart]:
    return [part for message in decoded({"input": list(items)}).messages for part in message.content]


def encoded(request: ChatRequest, *, stream: bool = False, drop: bool = False) -> Any:
    return json.loads(encode_request(request, "m", stream=stream, drop_unsupported=drop))


def asked(*messages: Message, dialect: str = NAME, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (HI,), dialect=dialect, **fields)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {}),
        ({"max_output_tokens": 5}, {"max_output_tokens": 5}),
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"user": "ann"}, {"user": "ann"}),
        ({"top_logprobs": 3}, {"top_logprobs": 3}),
        ({"include": ["message.output_text.logprobs"]}, {"top_logprobs": 0}),
        ({"top_logprobs": 0}, {}),
        ({"tool_choice": "required"}, {"tool_choice": ToolMode.REQUIRED}),
        ({"tool_choice": {"type": "function", "name": "f"}}, {"tool_choice": NamedTool(name="f")}),
        (
            {"tool_choice": {"type": "web_search"}},
            {"extra": {"tool_choice": {"type": "web_search"}}},
        ),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": {"a": 1}, "strict": True, "description": "d"}]},
            {"tools": (Tool(name="f", description="d", parameters={"a": 1}, strict=True),)},
        ),
        (
            {"tools": [{"type": "web_search", "x": 1}], "include": ["web_search_call.action.sources"]},
            {
                "tools": (OpaqueTool(dialect=NAME, value={"type": "web_search", "x": 1}),),
                "extra": {"include": ["web_search_call.action.sources"]},
            },
        ),
        ({"text": {"format": {"type": "text"}}}, {"response_format": PlainFormat.TEXT}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": PlainFormat.JSON_OBJECT}),
        (
            {"text": {"format": {"type": "json_schema", "name": "s", "schema": {"a": 1}, "strict": True}}},
            {"response_format": JsonSchemaFormat(name="s", schema={"a": 1}, strict=True)},
        ),
        ({"text": {"verbosity": "low"}}, {"extra": {"text": {"verbosity": "low"}}}),
        ({"reasoning": {"effort": "low"}}, {"reasoning": Reasoning(effort=ReasoningEffort.LOW)}),
        ({"reasoning": {"summary": "detailed"}}, {"reasoning": Reasoning(is_shown=True)}),
        ({"reasoning": {"effort": None, "summary": None}}, {}),
        ({"reasoning": {"mode": "pro"}}, {"extra": {"reasoning": {"mode": "pro"}}}),
        ({"service_tier": "flex", "new": [1]}, {"extra": {"service_tier": "flex", "new": [1]}}),
        ({"store": True}, {"extra": {"store": True}}),
        ({"truncation": "auto"}, {"extra": {"truncation": "auto"}}),
    ],
)
def test_field_is_read_and_comes_back(body: dict[str, Any], fields: dict[str, Any]) -> None:
    request = fields_of(**body)
    assert request == asked(**fields)
    assert decoded(encoded(request)) == request


@pytest.mark.parametrize(
    "body",
    [
        {"store": False},
        {"background": False},
        {"truncation": "disabled"},
        {"service_tier": "auto"},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"include": ["reasoning.encrypted_content", "web_search_call.action.sources"]},
        {"stream_options": {"include_obfuscation": False}, "stream": True},
        {"previous_response_id": None, "conversation": None, "prompt": None},
    ],
)
def test_what_changes_nothing_in_the_answer_is_left_out(body: dict[str, Any]) -> None:
    assert fields_of(**body) == asked()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "a"}, {"id": "i"}]}, "input[1]"),
    ],
)
def test_what_only_openai_has_stored_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        fields_of(**body)
    assert caught.value.param == param
    assert caught.value.reason == "UNSUPPORTED_FIELD"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a"]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "image_url"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"temperature": "hot"}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"instructions": [1]}, "instructions"),
    ],
)
def test_wrong_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        fields_of(**body)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"input":"\xff"}', b"[" * 10_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        decode_request(body, "m")


def test_instructions_are_what_the_system_says_first() -> None:
    request = fields_of(instructions="be brief")
    assert request.messages == (Message(role=Role.SYSTEM, content=(TextPart(text="be brief"),)), HI)
    assert encoded(request)["instructions"] == "be brief"


def test_a_conversation_of_instructions_alone_still_has_input() -> None:
    body = encoded(asked(Message(role=Role.SYSTEM, content=(TextPart(text="be brief"),))))
    assert body["input"] == [{"type": "message", "role": "system", "content": "be brief"}]
    assert "instructions" not in body


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"type": "input_text", "text": "a"}, TextPart(text="a")),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            TextPart(text="a", cache=CacheTtl.DEFAULT),
        ),
        ({"type": "input_image", "image_url": "https://x/y"}, ImagePart(url="https://x/y")),
        ({"type": "input_image", "image_url": "data:", "detail": "low"}, ImagePart(url="data:", detail="low")),
        ({"type": "input_image", "image_url": "data:", "detail": "auto"}, ImagePart(url="data:")),
        ({"type": "input_image", "file_id": "file-1"}, FilePart(file_id="file-1", media_type="image/*")),
        (
            {"type": "input_file", "file_data": "data:text/csv;base64,YQ==", "filename": "a.csv"},
            FilePart(url="data:text/csv;base64,YQ==", name="a.csv"),
        ),
        (
            {"type": "input_file", "file_data": "YQ==", "filename": "a.csv"},
            FilePart(url="data:text/csv;base64,YQ==", name="a.csv"),
        ),
        ({"type": "input_file", "file_url": "https://x/y.pdf"}, FilePart(url="https://x/y.pdf")),
        ({"type": "input_file", "file_id": "file-1"}, FilePart(file_id="file-1")),
        (
            {"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}},
            AudioPart(data="YQ==", format="wav"),
        ),
    ],
)
def test_content_of_the_user(content: dict[str, Any], part: ContentPart) -> None:
    assert parts_of({"role": "user", "content": [content]}) == [part]
    unmarked = replace(part, cache=None) if isinstance(part, TextPart) else part
    assert decoded(encoded(asked(Message(role=Role.USER, content=(part,))))).messages[0].content == (unmarked,)


def test_assistant_items_that_follow_each_other_are_one_message() -> None:
    opaque: dict[str, Any] = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"query": "q"}}
    request = decoded(
        {
            "input": [
                {"role": "user", "content": "hi"},
                {"type": "reasoning", "id": "rs", "encrypted_content": "x", "summary": [{"type": "s", "text": "hm"}]},
                opaque,
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "a", "annotations": [{"type": "url_citation", "url": "u"}]},
                        {"type": "refusal", "refusal": "no"},
                    ],
                },
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
                {"type": "function_call_output", "call_id": "c1", "output": "5"},
                {
                    "type": "function_call_output",
                    "call_id": "c2",
                    "output": [{"type": "input_text", "text": "b"}, {"type": "input_image", "image_url": "data:"}],
                },
                {"role": "user", "content": "thanks"},
            ]
        }
    )
    user, assistant, results, thanks = request.messages
    assert user == HI
    thought, *rest = assistant.content
    assert isinstance(thought, ReasoningPart)
    assert thought.text == "hm"
    assert rest == [
        OpaquePart(dialect=NAME, value=opaque),
        TextPart(text="a", citations=(Citation(url="u"),)),
        RefusalPart(text="no"),
        ToolCall(id="c1", name="f", arguments="{}"),
        ToolCall(id="c2", name="g", arguments=""),
    ]
    assert results == Message(
        role=Role.TOOL,
        content=(
            ToolResult(call_id="c1", content=(TextPart(text="5"),)),
            ToolResult(call_id="c2", content=(TextPart(text="b"), ImagePart(url="data:"))),
        ),
    )
    assert thanks == Message(role=Role.USER, content=(TextPart(text="thanks"),))
    again = decoded(encoded(request))
    assert again.messages[1].content[1] == rest[0]
    assert [message.role for message in again.messages] == [message.role for message in request.messages]


def test_thought_of_openai_goes_back_with_its_id() -> None:
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA_-==", "summary": []}
    request = decoded({"input": [{"role": "user", "content": "hi"}, item]})
    body = encoded(request)
    assert body["input"][1] == item
    assert body["include"] == ["reasoning.encrypted_content"]


def test_thought_of_openai_survives_clients_of_other_dialects() -> None:
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA_-==", "summary": []}
    request = decoded({"input": [{"role": "user", "content": "hi"}, item, {"role": "assistant", "content": "yes"}]})
    for dialect in (OPENAI_CHAT, ANTHROPIC_MESSAGES):
        through = dialect.decode_request(
            dialect.encode_request(request, "m", stream=False, drop_unsupported=False), "m"
        )
        assert encoded(through, drop=True)["input"][1] == item


def test_thought_of_openai_survives_clients_that_hold_signatures_as_bytes() -> None:
    item = {"type": "reasoning", "id": "rs_??>>", "encrypted_content": "gAAA??>>~~", "summary": []}
    (thought,) = parts_of(item)
    assert isinstance(thought, ReasoningPart)
    assert thought.signature is not None
    other = thought.signature.replace("+", "-").replace("/", "_")
    assert other != thought.signature
    message = Message(role=Role.ASSISTANT, content=(ReasoningPart(signature=other),))
    assert encoded(asked(HI, message))["input"][1] == item


@pytest.mark.parametrize(
    ("part", "items"),
    [
        (
            ReasoningPart(text="hm", signature="other=="),
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}],
        ),
        (ReasoningPart(text="hm"), [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]),
        (ReasoningPart(signature="other=="), []),
        (
            ToolCall(id="c", name="f", arguments="{}", signature="s"),
            [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
        ),
    ],
)
def test_signatures_of_other_backends_are_nothing_to_openai(part: ContentPart, items: list[Any]) -> None:
    body = encoded(asked(HI, Message(role=Role.ASSISTANT, content=(part,)), dialect="other"))
    assert body["input"][1:] == items
    assert "include" not in body


def test_tool_of_another_dialect_is_not_strict_unless_it_says_so() -> None:
    (tool,) = encoded(asked(tools=(Tool(name="f"),), dialect="openai_chat"))["tools"]
    assert tool == {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }


def test_nothing_is_to_be_stored_and_thoughts_are_asked_for() -> None:
    body = encoded(asked(reasoning=Reasoning(budget_tokens=5000, is_shown=True), top_logprobs=2), stream=True)
    assert body["store"] is False
    assert body["stream"] is True
    assert body["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    assert body["reasoning"] == {"effort": "medium", "summary": "auto"}
    assert body["top_logprobs"] == 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_k": 1}, "top_k"),
        ({"stop": ("a",)}, "stop"),
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"extra": {"logit_bias": {"50256": -100}}}, "logit_bias"),
        ({"tools": (OpaqueTool(dialect="other", value={"type": "t"}),)}, "tools"),
    ],
)
def test_what_has_no_place_is_refused_by_name_or_dropped(fields: dict[str, Any], param: str) -> None:
    request = asked(dialect="other", **fields)
    with pytest.raises(InvalidRequestError) as caught:
        encoded(request)
    assert caught.value.param == param
    assert encoded(request, drop=True) == encoded(asked(dialect="other"))


@pytest.mark.parametrize(
    "message",
    [
        Message(role=Role.USER, content=(TextPart(text="hi"),), name="ann"),
        Message(role=Role.ASSISTANT, content=(TextPart(text="hi"), ImagePart(url="data:"))),
        Message(role=Role.ASSISTANT, content=(TextPart(text="hi"), ReasoningPart(redacted="x"))),
        Message(role=Role.ASSISTANT, content=(TextPart(text="hi"), OpaquePart(dialect="other", value={}))),
    ],
)
def test_content_that_has_no_place_is_refused_or_dropped(message: Message) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encoded(asked(message))
    assert caught.value.param == "messages"
    (item,) = encoded(asked(message), drop=True)["input"]
    assert item["role"] == message.role


def test_sound_of_clients_of_other_dialects_is_refused_or_dropped() -> None:
    said = Message(role=Role.USER, content=(TextPart(text="hi"), AudioPart(data="YQ==", format="wav")))
    with pytest.raises(InvalidRequestError, match="sound"):
        encoded(asked(said, dialect="other"))
    assert encoded(asked(said, dialect="other"), drop=True) == encoded(asked(dialect="other"))
    alone = replace(said, content=said.content[1:])
    with pytest.raises(InvalidRequestError, match="at least one message"):
        encoded(asked(alone, dialect="other"), drop=True)


def test_fields_that_chat_completions_have_too_are_carried() -> None:
    shared = {
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "service_tier": "flex",
    }
    chat: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **shared, "verbosity": "low"}
    chat["response_format"] = {"type": "json_object"}
    body = encoded(OPENAI_CHAT.decode_request(json.dumps(chat).encode(), "m"))
    assert shared.items() <= body.items()
    assert body["text"] == {"verbosity": "low", "format": {"type": "json_object"}}


def test_fields_of_its_own_from_the_typed_api() -> None:
    assert encoded(asked(dialect="", extra={"max_tool_calls": 3}))["max_tool_calls"] == 3
    for name in ("text", "input", "max_output_tokens"):
        with pytest.raises(InvalidRequestError) as caught:
            encoded(asked(dialect="", extra={name: {}}), drop=True)
        assert caught.value.param == f"extra.{name}"


def test_n_of_one_is_nothing_special() -> None:
    assert encoded(asked(n=1)) == encoded(asked())


def test_signature_of_a_call_comes_back_from_an_item_of_its_own() -> None:
    call = {"type": "function_call", "call_id": "a:b", "name": "f", "arguments": "{}"}
    carrier = reasoning_item("", {"id": "rs", **call_fields("a:b", "sig:n")})
    wanted = [ToolCall(id="a:b", name="f", arguments="{}", signature="sig:n")]
    assert parts_of(carrier, call) == wanted
    assert parts_of(call, carrier) == wanted


TEXTS = st.text(max_size=8)
WORDS = st.text(min_size=1, max_size=8)
SCHEMAS = st.dictionaries(WORDS, st.integers() | st.booleans() | WORDS, max_size=2)
SPOKEN = st.builds(TextPart, text=WORDS)
PICTURES = st.builds(ImagePart, url=WORDS.map("https://{}".format), detail=st.none() | st.sampled_from(["low", "high"]))
FILES = st.builds(FilePart, url=WORDS.map("https://{}".format), name=st.none() | WORDS) | st.builds(
    FilePart, file_id=WORDS, name=st.none() | WORDS
)
SOUND = st.builds(AudioPart, data=st.text("abc+/=", max_size=8), format=st.sampled_from(["wav", "mp3"]))
RESULTS = st.builds(ToolResult, call_id=WORDS, content=st.lists(SPOKEN | PICTURES | FILES, max_size=3).map(tuple))
SYSTEM = st.builds(Message, role=st.just(Role.SYSTEM), content=st.tuples(SPOKEN))
USERS = st.builds(
    Message, role=st.just(Role.USER), content=st.lists(SPOKEN | PICTURES | FILES | SOUND, max_size=3).map(tuple)
)
ASSISTANTS = st.builds(
    Message,
    role=st.just(Role.ASSISTANT),
    content=st.lists(
        SPOKEN
        | st.builds(RefusalPart, text=WORDS)
        | st.builds(ReasoningPart, text=WORDS)
        | st.builds(ToolCall, id=WORDS, name=WORDS, arguments=TEXTS)
        | st.builds(OpaquePart, dialect=st.just(NAME), value=st.builds(dict, type=st.just("a_call"), x=TEXTS)),
        min_size=1,
        max_size=4,
    ).map(tuple),
)
ANSWERED = st.tuples(
    ASSISTANTS, st.builds(Message, role=st.just(Role.TOOL), content=st.lists(RESULTS, min_size=1).map(tuple))
)
REQUESTS = st.builds(
    lambda system, first, turns, **fields: ChatRequest(
        model="m",
        messages=(*system, first, *(message for turn in turns for message in turn)),
        dialect=NAME,
        **fields,
    ),
    system=st.lists(SYSTEM, max_size=2),
    first=USERS,
    turns=st.lists(ANSWERED | st.tuples(USERS), max_size=3),
    max_output_tokens=st.none() | st.integers(1, 10**6),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    tools=st.lists(
        st.builds(
            Tool,
            name=WORDS,
            description=st.none() | WORDS,
            parameters=st.none() | SCHEMAS,
            strict=st.none() | st.booleans(),
        )
        | st.builds(OpaqueTool, dialect=st.just(NAME), value=st.just({"type": "web_search"})),
        max_size=2,
    ).map(tuple),
    tool_choice=st.none() | st.sampled_from(ToolMode) | st.builds(NamedTool, name=WORDS),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none()
    | st.sampled_from(PlainFormat)
    | st.builds(
        JsonSchemaFormat, name=WORDS, schema=SCHEMAS, description=st.none() | WORDS, strict=st.none() | st.booleans()
    ),
    top_logprobs=st.none() | st.integers(0, 20),
    reasoning=st.none()
    | st.builds(Reasoning, effort=st.sampled_from(ReasoningEffort), is_shown=st.none() | st.just(True)),
    user=st.none() | WORDS,
    metadata=st.none() | st.dictionaries(WORDS, TEXTS, max_size=2),
    extra=st.none() | st.just({"service_tier": "flex"}),
)


@given(REQUESTS)
def test_a_request_means_the_same_after_writing_and_reading(request: ChatRequest) -> None:
    assert decoded(encoded(request)) == request


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "input",
                    "type",
                    "role",
                    "content",
                    "text",
                    "output",
                    "call_id",
                    "name",
                    "summary",
                    "tools",
                    "reasoning",
                    "id",
                    "include",
                    "format",
                    "metadata",
                    "tool_choice",
                    "encrypted_content",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    JSON
    | st.fixed_dictionaries(
        {
            "input": st.lists(
                st.fixed_dictionaries(
                    {
                        "type": st.sampled_from(
                            ["message", "function_call", "function_call_output", "reasoning", "x", ""]
                        ),
                    },
                    optional={
                        "role": JSON,
                        "content": JSON,
                        "call_id": JSON,
                        "name": JSON,
                        "output": JSON,
                        "summary": JSON,
                        "id": JSON,
                    },
                )
            )
        }
    )
)
def test_garbage_raises_only_what_is_named(body: object) -> None:
    try:
        request = decoded(body)
    except InvalidRequestError:
        return
    for dialect in (OPENAI_CHAT, GEMINI):
        dialect.encode_request(request, "m", stream=False, drop_unsupported=True)
