"""Requests of clients of OpenAI's chat completions, recorded and made up: read, with the places of what is wrong."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.openai.chat_request import NAME, decode_request
from gateway.schemas.openai.chat_request_encoder import encode_request
from gateway.types import (
    AudioPart,
    CacheTtl,
    ChatRequest,
    ContentPart,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    JsonValue,
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
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.chat_request_strategies import CHOICES, merged, requests

HI = {"role": "user", "content": "hi"}
CANONICAL_HI = Message(role=Role.USER, content=(TextPart(text="hi"),))
CACHED = {"cache_control": {"type": "ephemeral"}}


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({"model": "m", "messages": [HI], **fields}).encode(), "asked")


def message(**fields: Any) -> Message:
    return decode(messages=[fields]).messages[0]


def part(**fields: Any) -> ContentPart:
    (found,) = message(role="user", content=[fields]).content
    return found


def again(request: ChatRequest, model: str = "sent") -> ChatRequest:
    return decode_request(encode_request(request, model, stream=False), request.model)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("*/chat-completions/*"))
def test_recorded_request_keeps_its_meaning(name: str) -> None:
    canonical = decode_request(recorded.load(name).body, "asked")
    read = again(canonical)
    assert merged(uncached(read)) == merged(uncached(canonical))
    assert replace(read, messages=()) == replace(canonical, messages=())


def uncached(request: ChatRequest) -> list[Message]:
    """The messages without cache marks, which OpenAI does not take, and names that results need not have."""
    return [
        replace(
            each,
            content=tuple(
                replace(part, name=None)
                if isinstance(part, ToolResult)
                else replace(part, cache=None)
                if isinstance(part, TextPart | ImagePart | FilePart)
                else part
                for part in each.content
            ),
        )
        for each in request.messages
    ]


@pytest.mark.parametrize(
    ("given_fields", "fields"),
    [
        ({"max_tokens": 7}, {"max_output_tokens": 7}),
        ({"max_completion_tokens": 8, "max_tokens": 7}, {"max_output_tokens": 8}),
        ({"max_completion_tokens": 0}, {"max_output_tokens": 0}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 4}, {"temperature": 0, "top_p": 0.5, "top_k": 4}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"stop": None}, {}),
        ({"n": 2, "seed": 0}, {"n": 2, "seed": 0}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1, "frequency_penalty": -1}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"logprobs": True, "top_logprobs": 3}, {"top_logprobs": 3}),
        ({"logprobs": True}, {"top_logprobs": 0}),
        ({"logprobs": False, "top_logprobs": 3}, {}),
        ({"reasoning_effort": "xhigh"}, {"reasoning": Reasoning(effort=ReasoningEffort.XHIGH)}),
        ({"user": "u", "metadata": {"a": "b"}}, {"user": "u", "metadata": {"a": "b"}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {}),
        ({"logit_bias": {"1": 2}, "service_tier": "flex"}, {"extra": {"logit_bias": {"1": 2}, "service_tier": "flex"}}),
        ({"response_format": {"type": "text"}}, {"response_format": PlainFormat.TEXT}),
        ({"response_format": {"type": "json_object"}}, {"response_format": PlainFormat.JSON_OBJECT}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"a": 1}, "strict": True},
                }
            },
            {"response_format": JsonSchemaFormat(name="s", schema={"a": 1}, strict=True)},
        ),
        ({"tool_choice": "any"}, {"tool_choice": ToolMode.REQUIRED}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tool_choice": NamedTool(name="f")}),
        ({"function_call": {"name": "f"}}, {"tool_choice": NamedTool(name="f")}),
        ({"function_call": "none"}, {"tool_choice": ToolMode.NONE}),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
            {"extra": {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": True}, **CACHED}]},
            {"tools": (Tool(name="f", description="d", strict=True, cache=CacheTtl.DEFAULT),)},
        ),
        ({"functions": [{"name": "f", "parameters": {"a": 1}}]}, {"tools": (Tool(name="f", parameters={"a": 1}),)}),
        (
            {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
            {"tools": (OpaqueTool(dialect=NAME, value={"type": "custom", "custom": {"name": "f"}}),)},
        ),
    ],
)
def test_field_is_read(given_fields: dict[str, Any], fields: dict[str, Any]) -> None:
    assert decode(**given_fields) == replace(decode(), **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "text", "text": "a"}, TextPart(text="a")),
        ({"type": "text", "text": "a", **CACHED}, TextPart(text="a", cache=CacheTtl.DEFAULT)),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            TextPart(text="a", cache=CacheTtl.ONE_HOUR),
        ),
        ({"type": "refusal", "refusal": "no"}, RefusalPart(text="no")),
        (
            {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},
            ImagePart(url="https://x", detail="low"),
        ),
        ({"type": "image_url", "image_url": "https://x"}, ImagePart(url="https://x")),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            AudioPart(data="AA==", format="wav"),
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "n"}},
            FilePart(url="data:application/pdf;base64,AA==", name="n"),
        ),
        ({"type": "file", "file": {"file_id": "f"}}, FilePart(file_id="f")),
        (
            {"type": "document_url", "document_url": "https://x"},
            FilePart(url="https://x", extra={"document_url": "https://x"}),
        ),
    ],
)
def test_part(fields: dict[str, Any], expected: ContentPart) -> None:
    assert part(**fields) == expected


@pytest.mark.parametrize(
    "given_part",
    [
        {"type": "document_url", "document_url": "https://x/y.pdf", "document_name": "y"},
        {"type": "file", "file": {"file_data": "https://x/y.pdf", "filename": "y"}},
    ],
)
def test_address_of_a_file_goes_on_in_the_words_of_the_caller(given_part: dict[str, Any]) -> None:
    request = decode(messages=[{"role": "user", "content": [given_part]}])
    assert json.loads(encode_request(request, "m", stream=False))["messages"][0]["content"] == [given_part]


def test_address_of_a_file_that_others_send_is_refused_or_left_out() -> None:
    parts = (TextPart(text="a"), TextPart(text="b"), FilePart(url="https://x/y.pdf"))
    request = replace(decode(), messages=(Message(role=Role.USER, content=parts),))
    with pytest.raises(InvalidRequestError, match="a file by its address") as caught:
        encode_request(request, "m", stream=False)
    assert (caught.value.param, caught.value.reason) == ("messages", "UNSUPPORTED_FIELD")
    sent = json.loads(encode_request(request, "m", stream=False, drop_unsupported=True))
    assert [each["text"] for each in sent["messages"][0]["content"]] == ["a", "b"]


CUSTOM: dict[str, Any] = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"role": "developer", "content": "a"}, Message(role=Role.DEVELOPER, content=(TextPart(text="a"),))),
        ({"role": "user", "content": "", "name": "ann"}, Message(role=Role.USER, name="ann")),
        (
            {
                "role": "assistant",
                "content": None,
                "refusal": "no",
                "reasoning_content": "hm",
                "tool_calls": [
                    {
                        "id": "c",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "g"}},
                    },
                    CUSTOM,
                ],
            },
            Message(
                role=Role.ASSISTANT,
                content=(
                    ReasoningPart(text="hm"),
                    RefusalPart(text="no"),
                    ToolCall(id="c", name="f", arguments="{}", signature="g"),
                    OpaquePart(dialect=NAME, value=CUSTOM),
                ),
            ),
        ),
        (
            {
                "role": "assistant",
                "content": "a",
                "reasoning": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}],
            },
            Message(role=Role.ASSISTANT, content=(ReasoningPart(text="hm", signature="s"), TextPart(text="a"))),
        ),
        (
            {"role": "assistant", "function_call": {"name": "f"}},
            Message(role=Role.ASSISTANT, content=(ToolCall(id="", name="f", arguments=""),)),
        ),
        (
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "5"}]},
            Message(role=Role.TOOL, content=(ToolResult(call_id="c", content=(TextPart(text="5"),)),)),
        ),
        (
            {"role": "function", "name": "f", "content": "5"},
            Message(role=Role.TOOL, content=(ToolResult(call_id="f", name="f", content=(TextPart(text="5"),)),)),
        ),
    ],
)
def test_message(fields: dict[str, Any], expected: Message) -> None:
    assert message(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [HI, {}]}, "messages[1].role"),
        ({"messages": [{"role": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "tool", "content": "5"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "tool", "tool_call_id": "c", "content": [{"type": "refusal", "refusal": "x"}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function.name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}, "extra_content": 5}]}]},
            "messages[0].tool_calls[0].extra_content",
        ),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 1.5}, "n"),
        ({"seed": True}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "x"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {"function": {}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"metadata": {"a": 5}}, "metadata.a"),
    ],
)
def test_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"messages":['])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        decode_request(body, "m")


_NAMES = [
    *("role", "content", "type", "text", "image_url", "tool_calls", "function", "name", "arguments", "tools"),
    *("reasoning_details", "extra_content", "google", "cache_control", "json_schema", "schema", "refusal"),
]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from(["user", "assistant", "tool", "text", "json_schema"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(value: JsonValue) -> None:
    for fields in ({"messages": value}, {"tools": value, "tool_choice": value}, {"response_format": value}):
        with contextlib.suppress(InvalidRequestError):
            encode_request(decode(**fields), "m", stream=False, drop_unsupported=True)


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("llama3", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5.1", "max_completion_tokens"),
        ("openai/gpt-5", "max_completion_tokens"),
        ("gpt-oss:20b", "max_tokens"),
    ],
)
def test_limit_is_named_as_the_model_knows_it(model: str, field: str) -> None:
    sent = json.loads(encode_request(decode(max_tokens=7), model, stream=False))
    assert {name: value for name, value in sent.items() if name.startswith("max_")} == {field: 7}


def test_what_only_openai_knows_goes_back_only_there() -> None:
    request = decode(
        messages=[HI, {"role": "assistant", "tool_calls": [CUSTOM]}],
        tools=[{"type": "custom", "custom": {"name": "f"}}],
        tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    )
    assert again(request) == request
    for fields in (
        {"dialect": "other"},
        {"messages": (replace(request.messages[1], content=(foreign,)),), "extra": None},
    ):
        with pytest.raises(InvalidRequestError) as caught:
            again(replace(request, tools=(), **fields))
        assert caught.value.reason == "UNSUPPORTED_FIELD"


foreign = OpaquePart(dialect="other", value={})


@given(requests(), CHOICES, st.none() | st.integers(1, 3))
def test_request_written_and_read_again_means_the_same(request: ChatRequest, choice: Any, n: int | None) -> None:
    request = replace(request, tool_choice=choice, n=n)
    read = again(request)
    assert merged(uncached(read)) == merged(uncached(request))
    assert replace(read, messages=(), dialect="") == replace(request, messages=())
