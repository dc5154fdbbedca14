"""Requests of Ollama's chat, recorded and made up: read with the places of what is wrong, and written."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.ollama.request import NAME, decode_request, encode_request
from gateway.types import (
    AudioPart,
    ChatRequest,
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
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.chat_request_strategies import merged, requests

HI = {"role": "user", "content": "hi"}
CANONICAL_HI = Message(role=Role.USER, content=(TextPart(text="hi"),))
PNG = "iVBORw0KGgo="


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({"model": "m", "messages": [HI], **fields}).encode(), "asked")


def encode(model: str = "sent", *, stream: bool = False, drop: bool = False, **fields: Any) -> Any:
    request = ChatRequest(**{"model": "asked", "messages": (CANONICAL_HI,), **fields})
    return json.loads(encode_request(request, model, stream=stream, drop_unsupported=drop))


def message(**fields: Any) -> Message:
    return decode(messages=[fields]).messages[0]


def written(*parts: ContentPart, role: Role = Role.ASSISTANT) -> Any:
    (found,) = encode(messages=(Message(role=role, content=parts),))["messages"]
    return found


def nameless(request: ChatRequest) -> ChatRequest:
    """The request without the names of functions at their results, which are added where the call is known."""
    messages = [
        replace(
            each,
            content=tuple(replace(part, name=None) if isinstance(part, ToolResult) else part for part in each.content),
        )
        for each in request.messages
    ]
    return replace(request, messages=tuple(messages))


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("ollama/api-chat/*"))
def test_recorded_request_keeps_its_meaning(name: str) -> None:
    exchange = recorded.load(name)
    canonical = decode_request(exchange.body, exchange.request["model"])
    stream = exchange.request["stream"]
    sent = encode_request(canonical, exchange.request["model"], stream=stream, drop_unsupported=False)
    assert nameless(decode_request(sent, exchange.request["model"])) == nameless(canonical)
    assert json.loads(sent)["stream"] is stream
    assert [each["content"] for each in json.loads(sent)["messages"]] == [
        each["content"] for each in exchange.request["messages"]
    ]


@pytest.mark.component("recordings")
def test_recorded_result_is_that_of_the_recorded_call() -> None:
    exchange = recorded.load("ollama/api-chat/tool-result-multi-turn")
    called, answered = decode_request(exchange.body, "m").messages
    (call,), (result,) = called.content, answered.content
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.id == result.call_id
    assert json.loads(call.arguments) == {"location": "San Francisco"}


@pytest.mark.parametrize(
    ("given_fields", "fields"),
    [
        ({"options": {"num_predict": 7}}, {"max_output_tokens": 7}),
        ({"options": {"num_predict": -1}}, {}),
        ({"options": {"temperature": 0, "top_p": 0.5, "top_k": 4}}, {"temperature": 0, "top_p": 0.5, "top_k": 4}),
        ({"options": {"stop": "a", "seed": 3}}, {"stop": ("a",), "seed": 3}),
        ({"options": {"stop": ["a", "b"]}}, {"stop": ("a", "b")}),
        (
            {"options": {"presence_penalty": 1, "frequency_penalty": -1}},
            {"presence_penalty": 1, "frequency_penalty": -1},
        ),
        (
            {"options": {"num_ctx": 9}, "keep_alive": "5m", "stream": True},
            {"extra": {"options.num_ctx": 9, "keep_alive": "5m"}},
        ),
        ({"format": "json"}, {"response_format": PlainFormat.JSON_OBJECT}),
        ({"format": ""}, {}),
        (
            {"format": {"type": "object"}},
            {"response_format": JsonSchemaFormat(name="answer", schema={"type": "object"})},
        ),
        ({"think": True}, {"reasoning": Reasoning(effort=ReasoningEffort.MEDIUM, is_shown=True)}),
        ({"think": False}, {"reasoning": Reasoning(effort=ReasoningEffort.NONE)}),
        ({"think": "high"}, {"reasoning": Reasoning(effort=ReasoningEffort.HIGH, is_shown=True)}),
        ({"logprobs": True, "top_logprobs": 2}, {"top_logprobs": 2}),
        ({"logprobs": True}, {"top_logprobs": 0}),
        ({"tools": []}, {}),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": 1}}}]},
            {"tools": (Tool(name="f", description="d", parameters={"a": 1}),)},
        ),
        ({"tools": [{"type": "web", "x": 1}]}, {"tools": (OpaqueTool(dialect=NAME, value={"type": "web", "x": 1}),)}),
    ],
)
def test_field_is_read(given_fields: dict[str, Any], fields: dict[str, Any]) -> None:
    assert decode(**given_fields) == replace(decode(), **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"role": "system", "content": "a"}, Message(role=Role.SYSTEM, content=(TextPart(text="a"),))),
        (
            {"role": "user", "content": "a", "images": [PNG, "R0lGODlh", "UklGRg==", "/9j/"]},
            Message(
                role=Role.USER,
                content=(
                    TextPart(text="a"),
                    ImagePart(url=f"data:image/png;base64,{PNG}"),
                    ImagePart(url="data:image/gif;base64,R0lGODlh"),
                    ImagePart(url="data:image/webp;base64,UklGRg=="),
                    ImagePart(url="data:image/jpeg;base64,/9j/"),
                ),
            ),
        ),
        (
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": {"a": 1}}},
                    {"id": "c", "function": {"name": "g"}},
                    {"function": {"name": "h", "arguments": '{"b": 2}'}},
                ],
            },
            Message(
                role=Role.ASSISTANT,
                content=(
                    ReasoningPart(text="hm"),
                    ToolCall(id="call_0", name="f", arguments='{"a":1}'),
                    ToolCall(id="c", name="g", arguments="{}"),
                    ToolCall(id="call_1", name="h", arguments='{"b": 2}'),
                ),
            ),
        ),
        (
            {"role": "tool", "content": "5", "tool_name": "f", "tool_call_id": "c", "images": [PNG]},
            Message(
                role=Role.TOOL,
                content=(
                    ToolResult(
                        call_id="c",
                        name="f",
                        content=(TextPart(text="5"), ImagePart(url=f"data:image/png;base64,{PNG}")),
                    ),
                ),
            ),
        ),
    ],
)
def test_message(fields: dict[str, Any], expected: Message) -> None:
    assert message(**fields) == expected


def test_results_answer_the_calls_by_name_or_in_order() -> None:
    calls: list[Any] = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g", "f", "h")]
    results = [{"role": "tool", "content": "r", **more} for more in ({"tool_name": "g"}, {}, {"name": "h"}, {})]
    called, *answered = decode(messages=[{"role": "assistant", "tool_calls": calls}, *results]).messages
    f, g, other_f, h = (part.id for part in called.content if isinstance(part, ToolCall))
    found = [part.call_id for each in answered for part in each.content if isinstance(part, ToolResult)]
    assert found == [g, f, h, other_f]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [HI, {"role": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": [5]}]}, "messages[0].images[0]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"options": []}, "options"),
        ({"options": {"temperature": "0"}}, "options.temperature"),
        ({"options": {"stop": 5}}, "options.stop"),
        ({"format": 5}, "format"),
        ({"think": "much"}, "think"),
        ({"tools": [{"function": {"description": "d"}}]}, "tools[0].function.name"),
    ],
)
def test_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param


@given(st.binary(max_size=30))
def test_garbage_is_refused(data: bytes) -> None:
    for body in (data, b'{"messages":[%b]}' % data, b'{"messages":[{"role":"user"}],"options":%b}' % data):
        with contextlib.suppress(InvalidRequestError):
            decode_request(body, "m")


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_output_tokens": 7, "top_k": 4}, {"options": {"num_predict": 7, "top_k": 4}}),
        ({"stop": ("a",), "seed": 0}, {"options": {"stop": ["a"], "seed": 0}}),
        ({"response_format": PlainFormat.JSON_OBJECT}, {"format": "json"}),
        ({"response_format": PlainFormat.TEXT}, {}),
        ({"response_format": JsonSchemaFormat(name="s", schema={"a": 1})}, {"format": {"a": 1}}),
        ({"top_logprobs": 0}, {"logprobs": True}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"n": 1, "parallel_tool_calls": True, "tool_choice": ToolMode.AUTO}, {}),
        ({"tools": (Tool(name="f"),)}, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ({"tools": (Tool(name="f"),), "tool_choice": ToolMode.NONE}, {}),
        (
            {"dialect": NAME, "extra": {"keep_alive": 0, "options.num_ctx": 9}, "seed": 1},
            {"keep_alive": 0, "options": {"seed": 1, "num_ctx": 9}},
        ),
    ],
)
def test_field_is_sent(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert encode(**fields) == {"model": "sent", "messages": [HI], "stream": False, **sent}


@pytest.mark.parametrize(
    ("reasoning", "of_most", "of_levels"),
    [
        (None, None, None),
        (Reasoning(), None, None),
        (Reasoning(budget_tokens=-1), None, None),
        (Reasoning(effort=ReasoningEffort.NONE), False, False),
        (Reasoning(budget_tokens=0), False, False),
        (Reasoning(effort=ReasoningEffort.MINIMAL), True, "low"),
        (Reasoning(budget_tokens=2048), True, "low"),
        (Reasoning(effort=ReasoningEffort.MEDIUM), True, "medium"),
        (Reasoning(budget_tokens=8192), True, "medium"),
        (Reasoning(effort=ReasoningEffort.XHIGH), True, "high"),
        (Reasoning(budget_tokens=8193), True, "high"),
    ],
)
def test_thinking_is_asked_for_as_the_model_knows_it(reasoning: Any, of_most: object, of_levels: object) -> None:
    assert encode("qwen3", reasoning=reasoning).get("think") == of_most
    assert encode("gpt-oss:20b", reasoning=reasoning).get("think") == of_levels


def test_message_is_sent() -> None:
    assert written(
        ReasoningPart(text="hm", signature="s"),
        ReasoningPart(redacted="x"),
        TextPart(text="a"),
        RefusalPart(text="no"),
        ImagePart(url=f"data:image/png;base64,{PNG}"),
        ToolCall(id="c", name="f", arguments='{"a":1}'),
        ToolCall(id="", name="g", arguments="[1]"),
    ) == {
        "role": "assistant",
        "content": "ano",
        "thinking": "hm",
        "images": [PNG],
        "tool_calls": [
            {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}},
            {"function": {"name": "g", "arguments": {"arguments": [1]}}},
        ],
    }
    assert written(TextPart(text="s"), role=Role.DEVELOPER) == {"role": "system", "content": "s"}
    assert written() == {"role": "assistant", "content": ""}


def test_results_are_messages_of_their_own_with_the_name_of_their_call() -> None:
    turns = [
        Message(role=Role.ASSISTANT, content=(ToolCall(id="c", name="f", arguments="{}"),)),
        Message(
            role=Role.USER, content=(TextPart(text="and?"), ToolResult(call_id="c", content=(TextPart(text="5"),)))
        ),
        Message(role=Role.ASSISTANT, content=(ToolCall(id="c", name="g", arguments="{}"),)),
        Message(role=Role.TOOL, content=(ToolResult(call_id="c"), ToolResult(call_id="", name="h"))),
    ]
    sent = [each for each in encode(messages=turns)["messages"] if each["role"] != "assistant"]
    assert sent == [
        {"role": "tool", "content": "5", "tool_name": "f", "tool_call_id": "c"},
        {"role": "user", "content": "and?"},
        {"role": "tool", "content": "", "tool_name": "g", "tool_call_id": "c"},
        {"role": "tool", "content": "", "tool_name": "h"},
    ]


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("n", {"n": 2}),
        ("user", {"user": "u"}),
        ("metadata", {"metadata": {}}),
        ("parallel_tool_calls", {"parallel_tool_calls": False}),
        ("tool_choice", {"tool_choice": ToolMode.REQUIRED}),
        ("tool_choice", {"tool_choice": NamedTool(name="f")}),
        ("logit_bias", {"dialect": "openai_chat", "extra": {"logit_bias": {"50256": -100}}}),
        ("tools", {"tools": (OpaqueTool(dialect="other", value={}),)}),
    ],
)
def test_what_ollama_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(**fields)
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert encode(drop=True, **fields) == encode()


@pytest.mark.parametrize(
    "part",
    [
        AudioPart(data="AA==", format="wav"),
        FilePart(file_id="f"),
        ImagePart(url="https://x/y"),
        OpaquePart(dialect="other", value={}),
        ToolResult(call_id="c", content=(FilePart(file_id="f"),)),
    ],
)
def test_content_that_ollama_has_no_place_for(part: ContentPart) -> None:
    messages = (Message(role=Role.USER, content=(TextPart(text="hi"), part)),)
    with pytest.raises(InvalidRequestError) as caught:
        encode(messages=messages)
    assert caught.value.param == "messages"
    assert HI in encode(messages=messages, drop=True)["messages"]


@given(requests())
def test_request_written_and_read_again_means_the_same(request: ChatRequest) -> None:
    again = decode_request(encode_request(request, "m", stream=False, drop_unsupported=False), "asked")
    assert merged(again.messages) == merged(request.messages)
    assert replace(again, messages=(), dialect="") == replace(request, messages=())
