"""Requests of Bedrock's Converse: JSON to canonical and back, and what cannot be carried."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.schemas.bedrock.converse import BedrockConverse
from gateway.schemas.data_urls import text_url
from gateway.types import (
    AudioPart,
    CacheTtl,
    ChatRequest,
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
from tests.gateway.schemas import bedrock_recordings as recorded

CONVERSE = BedrockConverse()
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ADAPTIVE = "us.anthropic.claude-sonnet-5"
NOVA = "us.amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama3-70b"
NAME = "bedrock_converse"
HI = {"role": "user", "content": [{"text": "hi"}]}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
POINT = {"cachePoint": {"type": "default"}}
HOUR = {"cachePoint": {"type": "default", "ttl": "1h"}}


def decode(**fields: Any) -> ChatRequest:
    return CONVERSE.decode_request(json.dumps({"messages": [HI], **fields}).encode(), "asked")


def encode(request: ChatRequest, *, model: str = CLAUDE, drop: bool = False) -> Any:
    return json.loads(CONVERSE.encode_request(request, model, stream=False, drop_unsupported=drop))


def said(*parts: Any, role: Role = Role.USER) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role=role, content=parts),))


def asking(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role=Role.USER, content=(TextPart(text="hi"),)),), **fields)


def blocks(*parts: Any, model: str = CLAUDE, role: Role = Role.USER) -> Any:
    return encode(said(*parts, role=role), model=model)["messages"][0]["content"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a"]}},
            {"max_output_tokens": 5, "temperature": 0.5, "top_p": 0.9, "stop": ("a",)},
        ),
        ({"additionalModelRequestFields": {"top_k": 7}}, {"top_k": 7, "extra": None}),
        (
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}},
            {"reasoning": Reasoning(budget_tokens=2000)},
        ),
        (
            {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}},
            {"reasoning": Reasoning(effort=ReasoningEffort.NONE)},
        ),
        (
            {"additionalModelRequestFields": {"thinking": {"type": "adaptive"}}, "outputConfig": {"effort": "low"}},
            {"reasoning": Reasoning(budget_tokens=-1, effort=ReasoningEffort.LOW)},
        ),
        (
            {"additionalModelRequestFields": {"anthropic_beta": ["x"], "top_k": 3}},
            {"top_k": 3, "extra": {"additionalModelRequestFields": {"anthropic_beta": ["x"]}}},
        ),
        (
            {
                "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
                "performanceConfig": {"latency": "optimized"},
            },
            {
                "extra": {
                    "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
                    "performanceConfig": {"latency": "optimized"},
                }
            },
        ),
        ({"requestMetadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        (
            {
                "toolConfig": {
                    "tools": [
                        {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}},
                        HOUR,
                        {"systemTool": {"name": "nova_code_interpreter"}},
                    ],
                    "toolChoice": {"tool": {"name": "f"}},
                }
            },
            {
                "tools": (
                    Tool(name="f", description="d", parameters=SCHEMA, cache=CacheTtl.ONE_HOUR),
                    OpaqueTool(dialect=NAME, value={"systemTool": {"name": "nova_code_interpreter"}}),
                ),
                "tool_choice": NamedTool(name="f"),
            },
        ),
        (
            {
                "toolConfig": {
                    "tools": [{"toolSpec": {"name": "f", "strict": True, "inputSchema": {"json": SCHEMA}}}],
                    "toolChoice": {"any": {}},
                }
            },
            {"tools": (Tool(name="f", parameters=SCHEMA, strict=True),), "tool_choice": ToolMode.REQUIRED},
        ),
        (
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {"jsonSchema": {"name": "s", "schema": json.dumps(SCHEMA, separators=(",", ":"))}},
                    }
                }
            },
            {"response_format": JsonSchemaFormat(name="s", schema=SCHEMA)},
        ),
    ],
)
def test_field_and_its_way_back(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    request = decode(**fields)
    assert {name: getattr(request, name) for name in expected} == expected
    assert encode(request) == {"messages": [HI], **fields}


PNG = {"image": {"format": "png", "source": {"bytes": "AA=="}}}
KIWI = {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/kiwi.jpg"}}}}
PDF = {"document": {"format": "pdf", "name": "a", "source": {"bytes": "AA=="}}}
FILM = {"video": {"format": "three_gp", "source": {"s3Location": {"uri": "s3://b/film"}}}}
FOUND = {"searchResult": {"source": "s", "title": "t", "content": [{"text": "x"}], "citations": {"enabled": True}}}
PDF_PART = FilePart(url="data:application/pdf;base64,AA==", name="a", media_type="application/pdf")


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"text": "a"}, TextPart(text="a")),
        (PNG, ImagePart(url="data:image/png;base64,AA==")),
        (KIWI, ImagePart(url="s3://b/kiwi.jpg")),
        (PDF, PDF_PART),
        (FILM, FilePart(url="s3://b/film", media_type="video/3gpp")),
        (
            {"video": {"format": "mp4", "source": {"bytes": "AA=="}}},
            FilePart(url="data:video/mp4;base64,AA==", media_type="video/mp4"),
        ),
        ({"audio": {"format": "mp3", "source": {"bytes": "AA=="}}}, AudioPart(data="AA==", format="mp3")),
        (
            {
                "document": {
                    "format": "txt",
                    "name": "a",
                    "source": {"content": [{"text": "x"}, {"text": "y"}]},
                    "context": "c",
                    "citations": {"enabled": True},
                }
            },
            FilePart(
                url=text_url("x\ny"),
                name="a",
                media_type="text/plain",
                extra={
                    "source": {
                        "type": "content",
                        "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
                    },
                    "context": "c",
                    "citations": {"enabled": True},
                },
            ),
        ),
        (
            {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
            ToolCall(id="t", name="f", arguments='{"a":1}'),
        ),
        (
            {"toolResult": {"toolUseId": "t", "content": [{"json": {"a": 1}}, {"text": "x"}, PNG, PDF]}},
            ToolResult(
                call_id="t",
                content=(
                    TextPart(text='{"a":1}'),
                    TextPart(text="x"),
                    ImagePart(url="data:image/png;base64,AA=="),
                    PDF_PART,
                ),
            ),
        ),
        (
            {"toolResult": {"toolUseId": "t", "content": [{"text": "no"}], "status": "error"}},
            ToolResult(call_id="t", content=(TextPart(text="no"),), is_error=True),
        ),
        (
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            ReasoningPart(text="hm", signature="s"),
        ),
        ({"reasoningContent": {"reasoningText": {"text": "hm"}}}, ReasoningPart(text="hm")),
        ({"reasoningContent": {"redactedContent": "RXRrRQ=="}}, ReasoningPart(redacted="EtkE")),
        ({"reasoningContent": {"redactedContent": "/w=="}}, ReasoningPart(redacted="bedrock:/w==")),
        (
            {
                "citationsContent": {
                    "content": [{"text": "a"}],
                    "citations": [
                        {
                            "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 5}},
                            "title": "t",
                            "sourceContent": [{"text": "s"}],
                        }
                    ],
                }
            },
            None,
        ),
        (
            {"guardContent": {"text": {"text": "a", "qualifiers": ["query"]}}},
            OpaquePart(dialect=NAME, value={"guardContent": {"text": {"text": "a", "qualifiers": ["query"]}}}),
        ),
        (
            {"toolUse": {"toolUseId": "t", "name": "g", "input": {}, "type": "server_tool_use"}},
            OpaquePart(
                dialect=NAME,
                value={"toolUse": {"toolUseId": "t", "name": "g", "input": {}, "type": "server_tool_use"}},
            ),
        ),
        (FOUND, None),
        ({"somethingNew": 1}, OpaquePart(dialect=NAME, value={"somethingNew": 1})),
    ],
)
def test_block_and_its_way_back(block: dict[str, Any], part: object) -> None:
    request = decode(messages=[{"role": "user", "content": [block]}])
    (found,) = request.messages[0].content
    assert part is None or found == part
    assert encode(request)["messages"] == [{"role": "user", "content": [block]}]


def test_a_search_result_is_a_file_of_its_text() -> None:
    (found,) = decode(messages=[{"role": "user", "content": [FOUND]}]).messages[0].content
    assert isinstance(found, FilePart)
    assert (found.url, found.name) == (text_url("x"), "t")


@pytest.mark.parametrize(
    "source", [{"s3Location": {"uri": "s3://b/a.png", "bucketOwner": "1"}}, {"s3Location": {"uri": "s3://b/a.gif"}}]
)
def test_what_an_address_cannot_say_is_kept_as_it_is(source: dict[str, Any]) -> None:
    block: dict[str, Any] = {"image": {"format": "png", "source": source}}
    (found,) = decode(messages=[{"role": "user", "content": [block]}]).messages[0].content
    assert found == OpaquePart(dialect=NAME, value=block)


def test_marks_to_cache_are_of_what_stands_before_them() -> None:
    system = [{"text": "s"}, POINT]
    content = [{"text": "a"}, HOUR, {"guardContent": {"text": {"text": "g"}}}, POINT]
    request = decode(system=system, messages=[{"role": "user", "content": content}])
    assert request.messages[0] == Message(role=Role.SYSTEM, content=(TextPart(text="s", cache=CacheTtl.DEFAULT),))
    assert request.messages[1].content[0] == TextPart(text="a", cache=CacheTtl.ONE_HOUR)
    assert request.messages[1].content[-1] == OpaquePart(dialect=NAME, value=POINT)
    sent = encode(request)
    assert (sent["system"], sent["messages"]) == (system, [{"role": "user", "content": content}])


def test_models_that_keep_no_prompts_get_no_marks() -> None:
    marked = TextPart(text="a", cache=CacheTtl.DEFAULT)
    assert blocks(marked) == [{"text": "a"}, POINT]
    assert blocks(marked, model=NOVA) == [{"text": "a"}, POINT]
    assert blocks(marked, model=LLAMA) == [{"text": "a"}]


def test_a_mark_within_a_result_is_the_results() -> None:
    result = ToolResult(call_id="t", content=(TextPart(text="a", cache=CacheTtl.DEFAULT),))
    assert blocks(result, role=Role.TOOL) == [{"toolResult": {"toolUseId": "t", "content": [{"text": "a"}]}}, POINT]


def test_messages_of_one_side_become_one_with_results_first_and_the_system_apart() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message(role=Role.DEVELOPER, content=(TextPart(text="s"),)),
            Message(role=Role.USER, content=(TextPart(text="a"),)),
            Message(role=Role.SYSTEM, content=(TextPart(text="later"),)),
            Message(role=Role.USER, content=(TextPart(text="b"),)),
            Message(role=Role.TOOL, content=(ToolResult(call_id="t"),)),
        ),
    )
    sent = encode(request)
    assert sent["system"] == [{"text": "s"}, {"text": "later"}]
    result = {"toolResult": {"toolUseId": "t", "content": [{"text": "(empty)"}]}}
    assert sent["messages"] == [{"role": "user", "content": [result, {"text": "a"}, {"text": "b"}]}]


@pytest.mark.parametrize(
    ("model", "reasoning", "sent"),
    [
        (CLAUDE, Reasoning(effort=ReasoningEffort.HIGH), {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        (CLAUDE, Reasoning(budget_tokens=2000), {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (CLAUDE, Reasoning(effort=ReasoningEffort.NONE), {"thinking": {"type": "disabled"}}),
        (ADAPTIVE, Reasoning(effort=ReasoningEffort.LOW), {"thinking": {"type": "adaptive"}}),
        (NOVA, Reasoning(effort=ReasoningEffort.NONE), {"reasoningConfig": {"type": "disabled"}}),
        (
            NOVA,
            Reasoning(budget_tokens=9000),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
        ),
        (
            NOVA,
            Reasoning(effort=ReasoningEffort.MINIMAL),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
        ),
        (LLAMA, Reasoning(effort=ReasoningEffort.NONE), None),
        (CLAUDE, Reasoning(is_shown=True), None),
    ],
)
def test_thinking_is_asked_for_as_the_model_knows_it(model: str, reasoning: Reasoning, sent: object) -> None:
    body = encode(asking(reasoning=reasoning), model=model)
    assert body.get("additionalModelRequestFields") == sent
    assert body.get("outputConfig") == ({"effort": "low"} if model == ADAPTIVE else None)


def test_top_k_stands_where_the_model_has_it() -> None:
    assert encode(asking(top_k=5))["additionalModelRequestFields"] == {"top_k": 5}
    assert encode(asking(top_k=5), model=NOVA)["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}


def test_claude_is_asked_which_sequence_ended_the_answer() -> None:
    paths = "additionalModelResponseFieldPaths"
    assert encode(asking(stop=("END",)))[paths] == ["/stop_sequence"]
    assert encode(asking(stop=("END",), extra={paths: ["/a"]}))[paths] == ["/a"]
    assert paths not in encode(asking())
    assert paths not in encode(asking(stop=("END",)), model=LLAMA)


def test_no_function_may_be_called() -> None:
    assert "toolConfig" not in encode(asking(tools=(Tool(name="f"),), tool_choice=ToolMode.NONE))


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.b/c.pdf", "a-b-c-pdf"), ("a  b", "a b"), ("", "document"), (None, "document"), ("x" * 300, "x" * 200)],
)
def test_name_of_a_document(name: str | None, written: str) -> None:
    (block,) = blocks(FilePart(url="data:application/pdf;base64,AA==", name=name))
    assert block["document"]["name"] == written


def test_documents_without_a_name_are_numbered() -> None:
    file = FilePart(url=text_url("a"))
    assert [block["document"]["name"] for block in blocks(file, file)] == ["document", "document 2"]


@pytest.mark.parametrize(("identifier", "sent"), [("call_1", "call_1"), ("a:b", "a_b"), ("x" * 65, None), ("", "f")])
def test_id_of_a_call(identifier: str, sent: str | None) -> None:
    (block,) = blocks(ToolCall(id=identifier, name="f", arguments=""), role=Role.ASSISTANT)
    told = block["toolUse"]["toolUseId"]
    assert told == sent if sent else 0 < len(told) <= 64
    result = blocks(ToolResult(call_id=identifier or "f"), role=Role.TOOL)[0]["toolResult"]["toolUseId"]
    assert result == told


def test_what_says_nothing_is_left_out() -> None:
    parts = (TextPart(text=" "), RefusalPart(text="no"), ReasoningPart(text="of another"), TextPart(text="a"))
    assert blocks(*parts, role=Role.ASSISTANT) == [{"text": "no"}, {"text": "a"}]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (asking(n=2), "n"),
        (asking(seed=1), "seed"),
        (asking(user="u"), "user"),
        (asking(parallel_tool_calls=False), "parallel_tool_calls"),
        (asking(top_logprobs=0), "top_logprobs"),
        (asking(presence_penalty=0.5), "presence_penalty"),
        (asking(frequency_penalty=0.5), "frequency_penalty"),
        (asking(temperature=1.5), "temperature"),
        (asking(temperature=0.5, reasoning=Reasoning(budget_tokens=2000)), "temperature"),
        (asking(top_k=5, reasoning=Reasoning(budget_tokens=2000)), "top_k"),
        (
            asking(tools=(Tool(name="f"),), tool_choice=ToolMode.REQUIRED, reasoning=Reasoning(budget_tokens=2000)),
            "reasoning",
        ),
        (asking(response_format=PlainFormat.JSON_OBJECT), "response_format"),
        (asking(tools=(OpaqueTool(dialect="gemini", value={}),)), "tools"),
        (asking(dialect="gemini", extra={"labels": 1}), "labels"),
        (said(TextPart(text="a"), ImagePart(url="https://a/b.png")), "messages"),
        (said(TextPart(text="a"), ImagePart(url="data:image/tiff;base64,AA==")), "messages"),
        (said(TextPart(text="a"), FilePart(url="https://a/b.pdf")), "messages"),
        (said(TextPart(text="a"), FilePart(url="data:application/zip;base64,AA==")), "messages"),
        (said(TextPart(text="a"), FilePart(file_id="f")), "messages"),
        (said(TextPart(text="a"), OpaquePart(dialect="gemini", value={})), "messages"),
    ],
)
def test_what_has_no_place_is_refused_by_name_or_left_out(request_: ChatRequest, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(request_)
    assert (refused.value.param, refused.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert encode(request_, drop=True)["messages"]


def test_thinking_of_a_model_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(asking(reasoning=Reasoning(effort=ReasoningEffort.HIGH)), model=LLAMA)
    assert refused.value.param == "reasoning"


def test_no_function_may_be_called_after_some_were() -> None:
    call = Message(role=Role.ASSISTANT, content=(ToolCall(id="t", name="f", arguments="{}"),))
    request = ChatRequest(model="m", messages=(call,), tools=(Tool(name="f"),), tool_choice=ToolMode.NONE)
    with pytest.raises(InvalidRequestError) as refused:
        encode(request)
    assert refused.value.param == "tool_choice"
    assert "toolChoice" not in encode(request, drop=True)["toolConfig"]


def test_extra_cannot_stand_for_a_field() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(asking(extra={"messages": []}))
    assert refused.value.param == "extra.messages"


def test_a_request_in_which_nobody_speaks_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(said(TextPart(text="s"), role=Role.SYSTEM))
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"toolUse": {}}]}]}, "messages[0].content[0].toolUse.toolUseId"),
        ({"system": [{"image": {}}]}, "system[0].image.format"),
        ({"inferenceConfig": {"maxTokens": "5"}}, "inferenceConfig.maxTokens"),
        ({"toolConfig": {"tools": [{"toolSpec": {}}]}}, "toolConfig.tools[0].toolSpec.name"),
        ({"toolConfig": {"toolChoice": {}}}, "toolConfig.toolChoice"),
        ({"outputConfig": {"effort": "huge"}}, "outputConfig.effort"),
        (
            {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "no"}}}}},
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
        ({"requestMetadata": {"a": 5}}, "requestMetadata.a"),
    ],
)
def test_error_names_the_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decode(**fields)
    assert refused.value.param == place
    assert place in refused.value.message


def uniform(value: Any) -> Any:
    """A body such that two of the same meaning are equal: without empty fields and what goes without saying."""
    if isinstance(value, list):
        return [uniform(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"text"} or value.keys() == {"json"}:
        return dict(value)
    if value.get("format") == "txt" and isinstance(value.get("source"), dict) and "text" in value["source"]:
        data = text_url(value["source"]["text"]).partition(",")[2]
        value = {**value, "source": {"bytes": data}}
    if isinstance(value.get("schema"), str):
        value = {**value, "schema": json.loads(value["schema"])}
    told = {name: uniform(item) for name, item in value.items()}
    return {
        name: item
        for name, item in told.items()
        if not (name in ("system", "inferenceConfig") and not item)
        and (name, item) not in (("status", "success"), ("type", "tool_use"))
    }


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.ALL)
def test_recorded_request_comes_back_as_it_was(name: str) -> None:
    found = recorded.load(name)
    request = CONVERSE.decode_request(json.dumps(found.request).encode(), "asked")
    assert uniform(encode(request, model=found.model)) == uniform(found.request)


WORDS = st.text("abc", min_size=1, max_size=6)
CACHES = st.none() | st.sampled_from(CacheTtl)
texts = st.builds(TextPart, text=WORDS, cache=CACHES)
images = st.builds(ImagePart, url=st.just("data:image/png;base64,AA=="), cache=CACHES)
files = st.builds(FilePart, url=WORDS.map(text_url), name=WORDS, media_type=st.just("text/plain"), cache=CACHES)
parts = {
    Role.USER: texts
    | images
    | files
    | st.builds(
        ToolResult,
        call_id=WORDS,
        content=st.lists(texts.map(lambda part: TextPart(text=part.text)), min_size=1, max_size=2).map(tuple),
        is_error=st.booleans(),
    ),
    Role.ASSISTANT: texts
    | st.builds(ReasoningPart, text=WORDS, signature=WORDS)
    | st.builds(ReasoningPart, redacted=WORDS)
    | st.builds(ToolCall, id=WORDS, name=WORDS, arguments=st.just('{"a":1}'), cache=CACHES),
}
messages = st.sampled_from(list(parts)).flatmap(
    lambda role: st.builds(
        Message, role=st.just(role), content=st.lists(parts[role], min_size=1, max_size=3).map(tuple)
    )
)
requests = st.builds(
    ChatRequest,
    model=st.just("asked"),
    messages=st.lists(messages, min_size=1, max_size=4).map(tuple),
    max_output_tokens=st.none() | st.integers(1, 9),
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 9),
    stop=st.lists(WORDS, max_size=2).map(tuple),
    tools=st.lists(st.builds(Tool, name=WORDS, parameters=st.just(SCHEMA), cache=CACHES), max_size=2).map(tuple),
    reasoning=st.none() | st.builds(Reasoning, budget_tokens=st.integers(1024, 9000)),
    metadata=st.none() | st.dictionaries(WORDS, WORDS, min_size=1, max_size=2),
    dialect=st.just(NAME),
    extra=st.none() | st.just({"serviceTier": {"type": "flex"}}),
)


@given(requests)
def test_decoding_what_was_encoded_gives_the_same(request_: ChatRequest) -> None:
    body = CONVERSE.encode_request(request_, CLAUDE, stream=True, drop_unsupported=False)
    assert CONVERSE.decode_request(body, "asked") == request_


FIELDS = ["messages", "role", "content", "text", "system", "toolResult", "image", "source", "cachePoint", "type"]
json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_refused_or_read_but_nothing_else(body: bytes) -> None:
    with suppress(InvalidRequestError):
        CONVERSE.decode_request(body, "m")
