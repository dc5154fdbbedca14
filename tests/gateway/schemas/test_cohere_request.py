"""Requests of Cohere's `/v2/chat`: JSON to canonical and back, and what cannot be carried."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.schemas.cohere.chat import CohereChat
from gateway.schemas.data_urls import text_url
from gateway.types import (
    AudioPart,
    ChatRequest,
    Citation,
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

CHAT = CohereChat()
HI = {"role": "user", "content": "hi"}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
NEWS = {"type": "function", "function": {"name": "news", "parameters": SCHEMA}}


def decode(**fields: Any) -> ChatRequest:
    return CHAT.decode_request(json.dumps({"model": "m", "messages": [HI], **fields}).encode(), "asked")


def encode(request: ChatRequest, *, drop: bool = False, stream: bool = False) -> Any:
    return json.loads(CHAT.encode_request(request, "sent", stream=stream, drop_unsupported=drop))


def said(*parts: Any, role: Role = Role.USER) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role=role, content=parts),))


def asking(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role=Role.USER, content=(TextPart(text="hi"),)),), **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"temperature": 0.5, "p": 0.9, "k": 40}, {"temperature": 0.5, "top_p": 0.9, "top_k": 40}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"seed": 7}, {"seed": 7}),
        (
            {"presence_penalty": 0.1, "frequency_penalty": 0.2},
            {"presence_penalty": 0.1, "frequency_penalty": 0.2},
        ),
        ({"logprobs": True}, {"top_logprobs": 0}),
        ({"tools": [WEATHER]}, {"tools": (Tool(name="weather", description="d", parameters=SCHEMA),)}),
        (
            {"tools": [NEWS], "strict_tools": True},
            {"tools": (Tool(name="news", parameters=SCHEMA, strict=True),)},
        ),
        (
            {"tools": [NEWS], "tool_choice": "REQUIRED"},
            {"tools": (Tool(name="news", parameters=SCHEMA),), "tool_choice": ToolMode.REQUIRED},
        ),
        ({"response_format": {"type": "text"}}, {"response_format": PlainFormat.TEXT}),
        ({"response_format": {"type": "json_object"}}, {"response_format": PlainFormat.JSON_OBJECT}),
        (
            {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
            {"response_format": JsonSchemaFormat(name="answer", schema=SCHEMA)},
        ),
        ({"thinking": {"type": "disabled"}}, {"reasoning": Reasoning(effort=ReasoningEffort.NONE)}),
        ({"thinking": {"type": "enabled", "token_budget": 99}}, {"reasoning": Reasoning(budget_tokens=99)}),
        ({"thinking": {"type": "enabled"}}, {"reasoning": Reasoning(budget_tokens=-1)}),
        (
            {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}, "priority": 1},
            {"extra": {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}, "priority": 1}},
        ),
    ],
)
def test_field_and_its_way_back(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    request = decode(**fields)
    assert {name: getattr(request, name) for name in expected} == expected
    assert encode(request) == {"model": "sent", "messages": [HI], **fields}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [{"role": "system", "content": "be brief"}, HI],
            (Message(role=Role.SYSTEM, content=(TextPart(text="be brief"),)),),
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what is it"},
                        {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
                    ],
                }
            ],
            (
                Message(
                    role=Role.USER,
                    content=(TextPart(text="what is it"), ImagePart(url="https://a/b.png", detail="low")),
                ),
            ),
        ),
        (
            [
                HI,
                {
                    "role": "assistant",
                    "tool_plan": "I will look.",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"x"}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": '{"t": 1}'},
            ],
            (
                Message(role=Role.USER, content=(TextPart(text="hi"),)),
                Message(
                    role=Role.ASSISTANT,
                    content=(
                        ReasoningPart(text="I will look."),
                        ToolCall(id="c1", name="weather", arguments='{"city":"x"}'),
                    ),
                ),
                Message(role=Role.TOOL, content=(ToolResult(call_id="c1", content=(TextPart(text='{"t": 1}'),)),)),
            ),
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}],
                }
            ],
            (Message(role=Role.ASSISTANT, content=(ReasoningPart(text="hm"), TextPart(text="yes"))),),
        ),
        (
            [
                {
                    "role": "tool",
                    "tool_call_id": "c1",
                    "content": [
                        {"type": "document", "document": {"id": "d", "data": {"title": "t", "snippet": "s"}}},
                        {"type": "text", "text": "more"},
                    ],
                }
            ],
            (
                Message(
                    role=Role.TOOL,
                    content=(
                        ToolResult(
                            call_id="c1",
                            content=(
                                FilePart(
                                    url=text_url('{"title":"t","snippet":"s"}', "application/json"),
                                    name="d",
                                    media_type="application/json",
                                ),
                                TextPart(text="more"),
                            ),
                        ),
                    ),
                ),
            ),
        ),
        (
            [
                {
                    "role": "tool",
                    "tool_call_id": "c1",
                    "content": [{"type": "document", "document": {"data": {"error": "no such city"}}}],
                }
            ],
            (
                Message(
                    role=Role.TOOL,
                    content=(ToolResult(call_id="c1", content=(TextPart(text="no such city"),), is_error=True),),
                ),
            ),
        ),
        (
            [{"role": "user", "content": [{"type": "something_new", "of": 1}]}],
            (
                Message(
                    role=Role.USER,
                    content=(OpaquePart(dialect="cohere_chat", value={"type": "something_new", "of": 1}),),
                ),
            ),
        ),
    ],
)
def test_messages_and_their_way_back(messages: list[dict[str, Any]], expected: tuple[Message, ...]) -> None:
    request = decode(messages=messages)
    assert request.messages[: len(expected)] == expected
    assert encode(request)["messages"] == messages


def test_documents_begin_what_the_user_said_last_and_are_put_beside_the_messages_again() -> None:
    documents = [
        {"data": {"text": "plain"}},
        {"id": "a", "data": {"text": "with a name"}},
        {"id": "b", "data": {"title": "t", "snippet": "s"}},
    ]
    request = decode(messages=[HI, {"role": "assistant", "content": "yes"}, HI], documents=["plain", *documents[1:]])
    assert [part.name for part in request.messages[2].content if isinstance(part, FilePart)] == [None, "a", "b"]
    assert request.messages[2].content[-1] == TextPart(text="hi")
    assert encode(request)["documents"] == documents


def test_a_citation_goes_back_with_all_its_sources() -> None:
    citation = {
        "start": 0,
        "end": 3,
        "text": "yes",
        "sources": [
            {"type": "document", "id": "a", "document": {"id": "a", "title": "A", "snippet": "s", "url": "https://a"}},
            {"type": "tool", "id": "t:0", "tool_output": {"x": 1}},
        ],
        "type": "TEXT_CONTENT",
    }
    message = {"role": "assistant", "content": "yes", "citations": [citation]}
    request = decode(messages=[HI, message])
    (text,) = request.messages[1].content
    assert isinstance(text, TextPart)
    assert [(each.url, each.title, each.cited_text) for each in text.citations] == [
        ("https://a", "A", "s"),
        ("", "t:0", ""),
    ]
    assert encode(request)["messages"][1] == message


def test_sources_of_another_backend_are_not_sent() -> None:
    cited = TextPart(text="a", citations=(Citation(url="https://a"),))
    assert encode(said(cited, role=Role.ASSISTANT))["messages"] == [{"role": "assistant", "content": "a"}]


def test_a_function_that_must_be_called_is_the_only_one_told_of() -> None:
    tools = (Tool(name="a"), Tool(name="b"))
    sent = encode(asking(tools=tools, tool_choice=NamedTool(name="b")))
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["b"]
    assert sent["tool_choice"] == "REQUIRED"


@pytest.mark.parametrize(
    ("reasoning", "sent"),
    [
        (Reasoning(effort=ReasoningEffort.NONE), {"type": "disabled"}),
        (Reasoning(budget_tokens=0), {"type": "disabled"}),
        (Reasoning(effort=ReasoningEffort.LOW), {"type": "enabled", "token_budget": 1024}),
        (Reasoning(effort=ReasoningEffort.XHIGH), {"type": "enabled", "token_budget": 32768}),
        (Reasoning(effort=ReasoningEffort.HIGH, budget_tokens=7), {"type": "enabled", "token_budget": 7}),
        (Reasoning(is_shown=True), None),
    ],
)
def test_thinking(reasoning: Reasoning, sent: object) -> None:
    assert encode(asking(reasoning=reasoning)).get("thinking") == sent


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (asking(n=2), "n"),
        (asking(parallel_tool_calls=False), "parallel_tool_calls"),
        (asking(top_logprobs=3), "top_logprobs"),
        (asking(user="u"), "user"),
        (asking(metadata={"a": "b"}), "metadata"),
        (asking(tools=(OpaqueTool(dialect="gemini", value={}),)), "tools"),
        (asking(dialect="gemini", extra={"labels": 1}), "labels"),
        (said(AudioPart(data="", format="wav")), "messages"),
        (said(FilePart(url="data:application/pdf;base64,AA==")), "messages"),
        (said(FilePart(file_id="f")), "messages"),
        (said(ReasoningPart(redacted="x"), role=Role.ASSISTANT), "messages"),
        (said(OpaquePart(dialect="gemini", value={})), "messages"),
        (said(ToolResult(call_id="c", content=(ImagePart(url="https://a"),)), role=Role.TOOL), "messages"),
        (ChatRequest(model="m", messages=(Message(role=Role.USER, name="bob"),)), "messages"),
    ],
)
def test_what_has_no_place_is_refused_by_name_or_left_out(request_: ChatRequest, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(request_)
    assert (refused.value.param, refused.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert encode(request_, drop=True)["messages"]


def test_extra_cannot_stand_for_a_field() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(asking(extra={"max_tokens": 3}))
    assert refused.value.param == "extra.max_tokens"


def test_refusals_are_text_and_signatures_of_others_are_not_sent() -> None:
    parts = (
        ReasoningPart(text="hm", signature="s"),
        RefusalPart(text="no"),
        ToolCall(id="c", name="f", arguments="", signature="s"),
    )
    assert encode(said(*parts, role=Role.ASSISTANT))["messages"] == [
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "no"}],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }
    ]


def test_stream_and_model() -> None:
    assert encode(asking(), stream=True) == {"model": "sent", "messages": [HI], "stream": True}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "chatbot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"documents": [5]}, "documents[0]"),
        ({"documents": [{"data": 5}]}, "documents[0].data"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "AUTO"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.type"),
        ({"thinking": {"type": "often"}}, "thinking.type"),
        ({"p": "high"}, "p"),
    ],
)
def test_error_names_the_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decode(**fields)
    assert refused.value.param == place
    assert place in refused.value.message


WORDS = st.text(min_size=1, max_size=6)
parts = {
    Role.SYSTEM: st.builds(TextPart, text=WORDS),
    Role.USER: st.builds(TextPart, text=WORDS) | st.builds(ImagePart, url=WORDS.map("https://{}".format)),
    Role.ASSISTANT: st.builds(TextPart, text=WORDS) | st.builds(ReasoningPart, text=WORDS),
    Role.TOOL: st.builds(
        ToolResult,
        call_id=WORDS,
        content=st.lists(st.builds(TextPart, text=WORDS), min_size=1, max_size=2).map(tuple),
    ),
}
messages = st.sampled_from(list(parts)).flatmap(
    lambda role: st.builds(
        Message,
        role=st.just(role),
        content=st.lists(parts[role], min_size=1, max_size=1 if role is Role.TOOL else 3).map(tuple),
    )
)
calls = st.builds(ToolCall, id=WORDS, name=WORDS, arguments=st.just('{"a":1}'))
requests = st.builds(
    ChatRequest,
    model=st.just("asked"),
    messages=st.lists(messages, min_size=1, max_size=4).map(tuple),
    max_output_tokens=st.none() | st.integers(1, 9),
    temperature=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(0, 9),
    stop=st.lists(WORDS, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 9),
    tools=st.lists(st.builds(Tool, name=WORDS, parameters=st.just(SCHEMA)), max_size=2).map(tuple),
    reasoning=st.none() | st.builds(Reasoning, budget_tokens=st.integers(1, 9) | st.just(-1)),
    dialect=st.just("cohere_chat"),
    extra=st.none() | st.just({"safety_mode": "STRICT"}),
)


@given(requests)
def test_decoding_what_was_encoded_gives_the_same(request_: ChatRequest) -> None:
    body = CHAT.encode_request(request_, "sent", stream=True, drop_unsupported=False)
    assert CHAT.decode_request(body, "asked") == request_


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["messages", "role", "content", "type", "tools", "documents", "data"]),
                inner,
                max_size=3,
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_garbage_is_refused_or_read_but_nothing_else(body: bytes) -> None:
    with contextlib.suppress(InvalidRequestError):
        CHAT.decode_request(body, "m")
