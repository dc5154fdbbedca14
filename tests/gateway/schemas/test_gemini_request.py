"""Requests of Gemini's generateContent, recorded and made up: read with the places of what is wrong, and written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.gemini.request import NAME, decode_request
from gateway.schemas.gemini.request_encoder import encode_request
from gateway.types import (
    AudioPart,
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

HI = {"role": "user", "parts": [{"text": "hi"}]}
CANONICAL_HI = Message(role=Role.USER, content=(TextPart(text="hi"),))


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({"contents": [HI], **fields}).encode(), "asked")


def encode(model: str = "gemini-2.5-flash", *, drop: bool = False, **fields: Any) -> Any:
    request = ChatRequest(**{"model": "asked", "messages": (CANONICAL_HI,), **fields})
    return json.loads(encode_request(request, model, drop_unsupported=drop))


def parts_of(*parts: Any, role: str = "user") -> tuple[ContentPart, ...]:
    """What the parts of one content say."""
    return decode(contents=[{"role": role, "parts": list(parts)}]).messages[0].content


def written(*parts: ContentPart, role: Role = Role.ASSISTANT) -> Any:
    """The parts that canonical ones are written as."""
    (content,) = encode(messages=(Message(role=role, content=parts),))["contents"]
    return content["parts"]


# Recordings.

RECORDED = recorded.names("gemini/*enerateContent/*", "vertex/*enerateContent/*")


def model_in(url: str) -> str:
    return url.rpartition("/models/")[2].partition(":")[0]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_request_keeps_its_meaning(name: str) -> None:
    exchange = recorded.load(name)
    model = model_in(exchange.url)
    canonical = decode_request(exchange.body, model)
    again = decode_request(encode_request(canonical, model, drop_unsupported=False), model)
    assert merged(again.messages) == merged(canonical.messages)
    assert replace(again, messages=()) == replace(canonical, messages=())


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", RECORDED)
def test_calls_and_results_of_a_recorded_request_belong_together(name: str) -> None:
    messages = decode_request(recorded.load(name).body, "m").messages
    calls = {part.id: part.name for message in messages for part in message.content if isinstance(part, ToolCall)}
    results = [part for message in messages for part in message.content if isinstance(part, ToolResult)]
    assert [calls[result.call_id] for result in results] == [result.name for result in results]


# Reading.


@pytest.mark.parametrize(
    "contents",
    [[HI], HI, "hi", ["hi"], {"parts": {"text": "hi"}}, {"parts": "hi"}, [{"parts": ["hi"]}]],
)
def test_contents_may_be_written_in_short(contents: Any) -> None:
    assert decode(contents=contents).messages == (CANONICAL_HI,)


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize(
    "instruction", ["be brief", {"parts": [{"text": "be brief"}]}, {"role": "system", "parts": {"text": "be brief"}}]
)
def test_instruction_comes_first(name: str, instruction: Any) -> None:
    system = Message(role=Role.SYSTEM, content=(TextPart(text="be brief"),))
    assert decode(**{name: instruction}).messages == (system, CANONICAL_HI)


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"maxOutputTokens": 7}, {"max_output_tokens": 7}),
        ({"max_output_tokens": 7}, {"max_output_tokens": 7}),
        ({"temperature": 0, "topP": 0.5, "topK": 4.0}, {"temperature": 0, "top_p": 0.5, "top_k": 4}),
        ({"stopSequences": ["a"]}, {"stop": ("a",)}),
        ({"candidateCount": 2, "seed": -1}, {"n": 2, "seed": -1}),
        ({"presencePenalty": 0.5, "frequencyPenalty": -1}, {"presence_penalty": 0.5, "frequency_penalty": -1}),
        ({"responseLogprobs": True, "logprobs": 3}, {"top_logprobs": 3}),
        ({"responseLogprobs": True}, {"top_logprobs": 0}),
        ({"logprobs": 3}, {}),
        ({"responseMimeType": "application/json"}, {"response_format": PlainFormat.JSON_OBJECT}),
        ({"responseMimeType": "text/plain"}, {"response_format": PlainFormat.TEXT}),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "nullable": True}},
            {"response_format": JsonSchemaFormat(name="answer", schema={"type": ["object", "null"]})},
        ),
        ({"responseJsonSchema": {}}, {"response_format": JsonSchemaFormat(name="answer", schema={})}),
        ({"responseModalities": ["TEXT"]}, {}),
        ({"thinkingConfig": {"thinkingBudget": 0}}, {"reasoning": Reasoning(budget_tokens=0)}),
        (
            {"thinking_config": {"thinking_level": "low", "include_thoughts": True}},
            {"reasoning": Reasoning(effort=ReasoningEffort.LOW, is_shown=True)},
        ),
        ({"thinkingConfig": {"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}}, {}),
        (
            {"responseModalities": ["IMAGE"], "speechConfig": {"a": 1}},
            {
                "extra": {
                    "generationConfig.responseModalities": ["IMAGE"],
                    "generationConfig.speechConfig": {"a": 1},
                }
            },
        ),
        (
            {"responseMimeType": "text/x.enum", "responseSchema": {"enum": ["a"]}},
            {
                "response_format": JsonSchemaFormat(name="answer", schema={"enum": ["a"]}),
                "extra": {"generationConfig.responseMimeType": "text/x.enum"},
            },
        ),
    ],
)
def test_configuration(config: dict[str, Any], fields: dict[str, Any]) -> None:
    for name in ("generationConfig", "generation_config"):
        assert decode(**{name: config}) == replace(decode(), **fields)


@pytest.mark.parametrize(
    ("calling", "choice", "extra"),
    [
        ({}, None, None),
        ({"mode": "MODE_UNSPECIFIED"}, None, None),
        ({"mode": "AUTO"}, ToolMode.AUTO, None),
        ({"mode": "VALIDATED"}, ToolMode.AUTO, None),
        ({"mode": "NONE"}, ToolMode.NONE, None),
        ({"mode": "ANY"}, ToolMode.REQUIRED, None),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, NamedTool(name="f"), None),
        ({"mode": "ANY", "allowed_function_names": ["f", "g", "h"]}, ToolMode.REQUIRED, None),
        (
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
            ToolMode.REQUIRED,
            {"toolConfig.functionCallingConfig.allowedFunctionNames": ["f", "g"]},
        ),
    ],
)
def test_tool_choice(calling: dict[str, Any], choice: object, extra: object) -> None:
    tools = [{"functionDeclarations": [{"name": name} for name in "fgh"]}]
    found = decode(tools=tools, toolConfig={"functionCallingConfig": calling})
    assert (found.tool_choice, found.extra) == (choice, extra)


def test_tools() -> None:
    found = decode(
        tools=[
            {
                "function_declarations": [
                    {
                        "name": "f",
                        "description": "d",
                        "parametersJsonSchema": {"type": "object"},
                        "response_json_schema": {"type": "string"},
                    },
                    {"name": "g.h", "parameters": {"type": 6, "properties": {"a_b": {"type": 1}}}, "behavior": "X"},
                ]
            },
            {"google_search": {"timeRangeFilter": {}}},
        ],
        tool_config={"includeServerSideToolInvocations": True},
    )
    assert found.tools == (
        Tool(name="f", description="d", parameters={"type": "object"}),
        Tool(name="g.h", parameters={"type": "object", "properties": {"a_b": {"type": "string"}}}),
        OpaqueTool(dialect=NAME, value={"googleSearch": {"timeRangeFilter": {}}}),
    )
    assert found.extra == {"tools.g.h.behavior": "X", "toolConfig.includeServerSideToolInvocations": True}


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ({"text": "a"}, (TextPart(text="a"),)),
        ({"text": ""}, ()),
        ({"text": "a", "thoughtSignature": "s"}, (TextPart(text="a"), ReasoningPart(signature="s"))),
        ({"text": "", "thought_signature": "s"}, (ReasoningPart(signature="s"),)),
        ({"text": "hm", "thought": True}, (ReasoningPart(text="hm"),)),
        ({"text": "hm", "thought": True, "thoughtSignature": "s"}, (ReasoningPart(text="hm", signature="s"),)),
        (
            {"functionCall": {"id": "c", "name": "f", "args": {"a_b": [1]}}, "thoughtSignature": "s"},
            (ToolCall(id="c", name="f", arguments='{"a_b":[1]}', signature="s"),),
        ),
        ({"function_call": {"name": "f"}}, (ToolCall(id="call_0", name="f", arguments="{}"),)),
        (
            {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
            (ImagePart(url="data:image/png;base64,AAAA"),),
        ),
        ({"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}}, (AudioPart(data="AAAA", format="mp3"),)),
        ({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}, (AudioPart(data="AAAA", format="wav"),)),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "n"}},
            (FilePart(url="data:application/pdf;base64,AAAA", name="n", media_type="application/pdf"),),
        ),
        ({"fileData": {"mimeType": "image/png", "fileUri": "https://x/y"}}, (ImagePart(url="https://x/y"),)),
        (
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x"}, "videoMetadata": {"fps": 1}},
            (FilePart(url="https://x", media_type="video/mp4", extra={"videoMetadata": {"fps": 1}}),),
        ),
        (
            {"toolCall": {"id": "t"}, "thoughtSignature": "s"},
            (OpaquePart(dialect=NAME, value={"toolCall": {"id": "t"}, "thoughtSignature": "s"}),),
        ),
    ],
)
def test_part(part: dict[str, Any], content: tuple[ContentPart, ...]) -> None:
    assert parts_of(part, role="model") == content


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        (None, "", False),
        ({}, "{}", False),
        ({"result": "5"}, "5", False),
        ({"output": "5"}, "5", False),
        ({"error": "no"}, "no", True),
        ({"error": {"code": 1}}, '{"code":1}', True),
        ({"result": 5}, '{"result":5}', False),
        ({"result": "5", "more": 1}, '{"result":"5","more":1}', False),
    ],
)
def test_result(response: Any, text: str, is_error: bool) -> None:
    (result,) = parts_of({"functionResponse": {"id": "c", "name": "f", "response": response}})
    content = (TextPart(text=text),) if text else ()
    assert result == ToolResult(call_id="c", name="f", content=content, is_error=is_error)


def test_result_with_a_picture() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    (result,) = parts_of({"functionResponse": {"name": "f", "response": {"result": "5"}, "parts": [picture]}})
    assert isinstance(result, ToolResult)
    assert result.content == (TextPart(text="5"), ImagePart(url="data:image/png;base64,AAAA"))


def test_results_without_ids_answer_the_calls_of_their_name_in_order() -> None:
    call = {"functionCall": {"name": "f"}}
    other = {"functionCall": {"name": "g"}}
    results = [{"functionResponse": {"name": name, "response": {"result": "r"}}} for name in ("g", "f", "f", "h")]
    called, answered = decode(
        contents=[{"role": "model", "parts": [call, other, call]}, {"role": "function", "parts": results}]
    ).messages
    first, second, third = (part.id for part in called.content if isinstance(part, ToolCall))
    *found, stray = (part.call_id for part in answered.content if isinstance(part, ToolResult))
    assert found == [second, first, third]
    assert stray not in found
    assert answered.role is Role.TOOL


def test_results_beside_other_parts_are_the_users() -> None:
    result = {"functionResponse": {"name": "f", "response": {}}}
    message = decode(contents=[{"parts": [result, {"text": "and?"}]}]).messages[0]
    assert message.role is Role.USER
    assert [type(part) for part in message.content] == [ToolResult, TextPart]


def test_labels_and_what_only_gemini_knows() -> None:
    found = decode(labels={"a_b": "c"}, safetySettings=[{"category": "X"}], cached_content="c")
    assert found.metadata == {"a_b": "c"}
    assert (found.dialect, found.extra) == (NAME, {"safetySettings": [{"category": "X"}], "cachedContent": "c"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": 5}, "contents"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role"),
        ({"contents": [HI, {"parts": [{"text": 5}]}]}, "contents[1].parts[0].text"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        (
            {"contents": [{"parts": [{"functionCall": {"name": "f", "args": []}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        ({"contents": [{"parts": [{"inlineData": {"data": ""}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"fileData": {}}]}]}, "contents[0].parts[0].fileData.fileUri"),
        ({"systemInstruction": 5}, "systemInstruction"),
        ({"generationConfig": []}, "generationConfig"),
        ({"generationConfig": {"topK": 0.5}}, "generationConfig.topK"),
        ({"generationConfig": {"maxOutputTokens": "7"}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"responseSchema": 1}}, "generationConfig.responseSchema"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "x"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": 1}]}]},
            "tools[0].functionDeclarations[0].parameters",
        ),
        ({"toolConfig": {"functionCallingConfig": {"mode": "X"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"labels": {"a": 1}}, "labels.a"),
    ],
)
def test_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"contents":[]'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        decode_request(body, "m")


def test_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema = b'{"items":' * 900 + b"{}" + b"}" * 900
    body = b'{"contents":"hi","generationConfig":{"responseSchema":%b}}' % schema
    with pytest.raises(InvalidRequestError, match="nested"):
        decode_request(body, "m")


_NAMES = [
    *("contents", "parts", "text", "role", "functionCall", "functionResponse", "name", "args", "response", "tools"),
    *("functionDeclarations", "parameters", "type", "thinkingConfig", "toolConfig", "topK", "inlineData", "data"),
]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(_NAMES),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(value: JsonValue) -> None:
    try:
        request = decode_request(
            json.dumps({"contents": value, "tools": value, "generationConfig": value}).encode(), "m"
        )
        encode_request(request, "m", drop_unsupported=True)
    except InvalidRequestError:
        pass


# Writing.


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_output_tokens": 7}, {"generationConfig": {"maxOutputTokens": 7}}),
        (
            {"temperature": 0.0, "top_p": 0.5, "top_k": 4},
            {"generationConfig": {"temperature": 0, "topP": 0.5, "topK": 4}},
        ),
        (
            {"stop": ("a",), "n": 2, "seed": 0},
            {"generationConfig": {"stopSequences": ["a"], "candidateCount": 2, "seed": 0}},
        ),
        ({"top_logprobs": 0}, {"generationConfig": {"responseLogprobs": True}}),
        ({"top_logprobs": 2}, {"generationConfig": {"responseLogprobs": True, "logprobs": 2}}),
        ({"response_format": PlainFormat.JSON_OBJECT}, {"generationConfig": {"responseMimeType": "application/json"}}),
        (
            {"response_format": JsonSchemaFormat(name="s", schema={"a": 1})},
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"a": 1}}},
        ),
        ({"parallel_tool_calls": True}, {}),
        ({"tools": (Tool(name="f"),)}, {"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
        ({"tool_choice": ToolMode.REQUIRED}, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        (
            {"tool_choice": NamedTool(name="f")},
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
        ),
        (
            {
                "dialect": NAME,
                "extra": {"safetySettings": [], "generationConfig.speechConfig": {}},
                "metadata": {"a": "b"},
            },
            {"safetySettings": [], "generationConfig": {"speechConfig": {}}, "labels": {"a": "b"}},
        ),
        (
            {"dialect": NAME, "tools": (Tool(name="g.h"),), "extra": {"tools.g.h.behavior": "X"}},
            {"tools": [{"functionDeclarations": [{"name": "g.h", "behavior": "X"}]}]},
        ),
    ],
)
def test_field_is_sent(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert encode(**fields) == {"contents": [HI], **sent}


@pytest.mark.parametrize(
    ("model", "reasoning", "sent"),
    [
        ("gemini-2.5-pro", Reasoning(effort=ReasoningEffort.NONE), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Reasoning(effort=ReasoningEffort.XHIGH), {"thinkingBudget": 32768}),
        ("gemini-flash-latest", Reasoning(effort=ReasoningEffort.MEDIUM), {"thinkingBudget": 4096}),
        ("gemini-3-flash-preview", Reasoning(effort=ReasoningEffort.MEDIUM), {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.5-flash", Reasoning(effort=ReasoningEffort.NONE), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro-preview", Reasoning(effort=ReasoningEffort.MINIMAL), {"thinkingLevel": "LOW"}),
        ("gemini-10-ultra", Reasoning(effort=ReasoningEffort.XHIGH), {"thinkingLevel": "HIGH"}),
        ("gemini-3-flash-preview", Reasoning(budget_tokens=-1), {"thinkingBudget": -1}),
        ("gemini-2.5-pro", Reasoning(budget_tokens=5, is_shown=True), {"thinkingBudget": 5, "includeThoughts": True}),
        ("gemini-2.5-pro", Reasoning(is_shown=False), {"includeThoughts": False}),
    ],
)
def test_thinking_is_asked_for_as_the_model_knows_it(model: str, reasoning: Reasoning, sent: dict[str, Any]) -> None:
    assert encode(model, reasoning=reasoning, dialect=NAME)["generationConfig"] == {"thinkingConfig": sent}


@pytest.mark.parametrize(
    ("reasoning", "is_shown"),
    [
        (Reasoning(effort=ReasoningEffort.LOW), True),
        (Reasoning(budget_tokens=-1), True),
        (Reasoning(effort=ReasoningEffort.LOW, is_shown=False), False),
        (Reasoning(effort=ReasoningEffort.NONE), None),
        (Reasoning(effort=ReasoningEffort.LOW, budget_tokens=0), None),
    ],
)
def test_thoughts_asked_for_in_another_dialect_are_shown(reasoning: Reasoning, is_shown: bool | None) -> None:
    """Elsewhere they come with the answer unasked."""
    assert encode(reasoning=reasoning)["generationConfig"]["thinkingConfig"].get("includeThoughts") is is_shown


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (TextPart(text="a"), [{"text": "a"}]),
        (RefusalPart(text="no"), [{"text": "no"}]),
        (ReasoningPart(text="hm", signature="c2ln"), [{"text": "hm", "thought": True, "thoughtSignature": "c2ln"}]),
        (ReasoningPart(signature="c2ln"), [{"text": "", "thoughtSignature": "c2ln"}]),
        (ReasoningPart(text="hm", signature="{no}"), [{"text": "hm", "thought": True}]),
        (
            ToolCall(id="c", name="f", arguments='{"a":1}', signature="c2ln"),
            [{"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}],
        ),
        (
            ToolCall(id="", name="f", arguments="[1]", signature='{"caller":1}'),
            [{"functionCall": {"name": "f", "args": {"arguments": [1]}}}],
        ),
        (ToolCall(id="", name="f", arguments=""), [{"functionCall": {"name": "f", "args": {}}}]),
        (ToolCall(id="", name="f", arguments="{"), [{"functionCall": {"name": "f", "args": {"arguments": "{"}}}]),
        (ImagePart(url="data:image/png;base64,AA=="), [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]),
        (ImagePart(url="data:text/plain,a%20b"), [{"inlineData": {"mimeType": "text/plain", "data": "YSBi"}}]),
        (
            ImagePart(url="data:text/plain;charset=utf-8;base64,AA=="),
            [{"inlineData": {"mimeType": "text/plain", "data": "AA=="}}],
        ),
        (
            ImagePart(url="https://x/y.webp?z"),
            [{"fileData": {"fileUri": "https://x/y.webp?z", "mimeType": "image/webp"}}],
        ),
        (ImagePart(url="https://x/y"), [{"fileData": {"fileUri": "https://x/y", "mimeType": "image/jpeg"}}]),
        (AudioPart(data="AA==", format="mp3"), [{"inlineData": {"mimeType": "audio/mpeg", "data": "AA=="}}]),
        (
            FilePart(url="data:application/pdf;base64,AA==", name="n"),
            [{"inlineData": {"mimeType": "application/pdf", "data": "AA=="}}],
        ),
        (FilePart(file_id="https://x"), [{"fileData": {"fileUri": "https://x", "mimeType": "application/pdf"}}]),
        (OpaquePart(dialect=NAME, value={"toolCall": {}}), [{"toolCall": {}}]),
    ],
)
def test_part_is_sent(part: ContentPart, sent: list[dict[str, Any]]) -> None:
    assert written(part) == sent


def test_name_of_a_file_is_sent_only_if_geminis_own_client_gave_it() -> None:
    file = FilePart(url="data:application/pdf;base64,AA==", name="n")
    messages = (
        Message(role=Role.USER, content=(file,)),
        Message(role=Role.TOOL, content=(ToolResult(call_id="f", content=(file,)),)),
    )
    assert "displayName" not in str(encode(messages=messages))
    own = encode(messages=messages, dialect=NAME)["contents"]
    assert own[0]["parts"][0]["inlineData"]["displayName"] == "n"
    assert own[1]["parts"][0]["functionResponse"]["parts"][0]["inlineData"]["displayName"] == "n"


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResult(call_id="c", content=(TextPart(text="5"),)), {"result": "5"}),
        (ToolResult(call_id="c"), {"result": ""}),
        (ToolResult(call_id="c", content=(TextPart(text='{"a":1}'),)), {"a": 1}),
        (ToolResult(call_id="c", content=(TextPart(text='{"result":"a"}'),)), {"result": '{"result":"a"}'}),
        (ToolResult(call_id="c", content=(TextPart(text='{"error":"a"}'),)), {"result": '{"error":"a"}'}),
        (ToolResult(call_id="c", content=(TextPart(text="no"),), is_error=True), {"error": "no"}),
    ],
)
def test_result_is_sent_such_that_it_is_read_as_it_was(result: ToolResult, response: dict[str, Any]) -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    messages = (Message(role=Role.ASSISTANT, content=(call,)), Message(role=Role.TOOL, content=(result,)))
    body = encode(messages=messages)
    assert body["contents"][1] == {
        "role": "user",
        "parts": [{"functionResponse": {"id": "c", "name": "f", "response": response}}],
    }
    (again,) = decode_request(json.dumps(body).encode(), "m").messages[1].content
    assert again == replace(result, name="f")


def test_results_of_calls_made_together_stand_in_one_turn_of_their_own() -> None:
    calls = tuple(ToolCall(id=f"c{index}", name=f"f{index}", arguments="{}") for index in range(2))
    messages = (
        Message(role=Role.ASSISTANT, content=calls),
        Message(role=Role.TOOL, content=(ToolResult(call_id="c1"),)),
        Message(role=Role.USER, content=(TextPart(text="and?"), ToolResult(call_id="c0"))),
    )
    _, answered, asked = encode(messages=messages)["contents"]
    assert [part["functionResponse"]["name"] for part in answered["parts"]] == ["f1", "f0"]
    assert asked == {"role": "user", "parts": [{"text": "and?"}]}


def test_result_is_of_the_last_call_with_its_id() -> None:
    turns = [
        Message(role=Role.ASSISTANT, content=(ToolCall(id="c", name="f", arguments="{}"),)),
        Message(role=Role.TOOL, content=(ToolResult(call_id="c"),)),
        Message(role=Role.ASSISTANT, content=(ToolCall(id="c", name="g", arguments="{}"),)),
        Message(role=Role.TOOL, content=(ToolResult(call_id="c"),)),
    ]
    contents = encode(messages=turns)["contents"]
    assert [content["parts"][0]["functionResponse"]["name"] for content in contents[1::2]] == ["f", "g"]


def test_instructions_alone_are_a_request_too() -> None:
    system = Message(role=Role.DEVELOPER, content=(TextPart(text="s"),))
    assert encode(messages=(system,)) == {
        "contents": [{"role": "user", "parts": [{"text": ""}]}],
        "systemInstruction": {"parts": [{"text": "s"}]},
    }


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("user", {"user": "u"}),
        ("parallel_tool_calls", {"parallel_tool_calls": False}),
        ("metadata", {"metadata": {"a": "b"}}),
        ("logit_bias", {"dialect": "openai_chat", "extra": {"logit_bias": {"50256": -100}}}),
        ("tools", {"tools": (OpaqueTool(dialect="other", value={}),)}),
        ("messages", {"messages": (CANONICAL_HI, Message(role=Role.USER, content=(FilePart(file_id="f-1"),)))}),
        (
            "messages",
            {"messages": (CANONICAL_HI, Message(role=Role.USER, content=(OpaquePart(dialect="other", value={}),)))},
        ),
        (
            "messages",
            {"messages": (CANONICAL_HI, Message(role=Role.ASSISTANT, content=(ReasoningPart(redacted="x"),)))},
        ),
    ],
)
def test_what_gemini_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(**fields)
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert encode(drop=True, **fields)["contents"][0]["parts"] == HI["parts"]


@given(requests(), CHOICES, st.none() | st.integers(1, 3))
def test_request_written_and_read_again_means_the_same(request: ChatRequest, choice: Any, n: int | None) -> None:
    request = replace(request, tool_choice=choice, n=n)
    again = decode_request(encode_request(request, "gemini-2.5-flash", drop_unsupported=False), "asked")
    assert merged(again.messages) == merged(request.messages)
    assert replace(again, messages=(), dialect="") == replace(request, messages=())
