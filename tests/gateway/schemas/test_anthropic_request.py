"""Requests for Anthropic's messages: each field read and written, and nothing lost of a request of this dialect."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
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
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)
from tests.gateway.schemas import anthropic_recordings as recorded
from tests.gateway.schemas.anthropic_bodies import HI, MESSAGES, body, decode, encode, uniform

NAME = "anthropic_messages"
SCHEMA: dict[str, JsonValue] = {"type": "object", "properties": {"a": {"type": "string"}}}


def request(*messages: Message, **fields: Any) -> ChatRequest:
    """A request of no dialect in particular."""
    return ChatRequest(model="asked", messages=messages or (HI,), **fields)


def user(*parts: ContentPart) -> Message:
    return Message(role=Role.USER, content=parts)


def assistant(*parts: ContentPart) -> Message:
    return Message(role=Role.ASSISTANT, content=parts)


def test_only_what_is_given_is_sent() -> None:
    assert encode(request(max_output_tokens=5)) == {
        "model": "sent",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_stream_is_asked_for() -> None:
    assert encode(request(), stream=True) == {**encode(request()), "stream": True}


@pytest.mark.parametrize(
    ("model", "max_tokens"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-7-sonnet-latest", 4096),
        ("another-model", 4096),
        ("claude-opus-4-1-20250805", 32000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 32000),
        ("claude-sonnet-4@20250514", 32000),
        ("claude-sonnet-5", 32000),
        ("claude-haiku-10-1", 32000),
    ],
)
def test_an_answer_without_limit_gets_the_most_that_its_model_surely_takes(model: str, max_tokens: int) -> None:
    assert encode(request(), model=model)["max_tokens"] == max_tokens


# Fields that stand for each other, in both directions.


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5, "top_k": 40}, {"top_p": 0.5, "top_k": 40}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        (
            {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}]},
            {"tools": (Tool(name="f", description="d", parameters=SCHEMA, strict=True),)},
        ),
        (
            {"tools": [{"name": "f", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"tools": (Tool(name="f", parameters=SCHEMA, cache=CacheTtl.ONE_HOUR),)},
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
            {
                "tools": (
                    OpaqueTool(
                        dialect=NAME, value={"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
                    ),
                )
            },
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": JsonSchemaFormat(name="answer", schema=SCHEMA)},
        ),
        ({"service_tier": "auto"}, {"extra": {"service_tier": "auto"}}),
        ({"cache_control": {"type": "ephemeral"}}, {"extra": {"cache_control": {"type": "ephemeral"}}}),
        ({"container": "c"}, {"extra": {"container": "c"}}),
        ({"metadata": {"user_id": "u", "team": 5}}, {"user": "u", "extra": {"metadata": {"team": 5}}}),
        ({"output_config": {"task_budget": {"total": 5}}}, {"extra": {"output_config": {"task_budget": {"total": 5}}}}),
        (
            {"tools": [{"name": "f", "input_schema": SCHEMA, "defer_loading": True, "input_examples": [{"a": "b"}]}]},
            {
                "tools": (Tool(name="f", parameters=SCHEMA),),
                "extra": {"tools.f.defer_loading": True, "tools.f.input_examples": [{"a": "b"}]},
            },
        ),
    ],
)
def test_field(sent: dict[str, Any], fields: dict[str, Any]) -> None:
    canonical = request(max_output_tokens=100, dialect=NAME, **fields)
    assert decode(body(**sent)) == canonical
    assert encode(canonical) == {"model": "sent", **body(**sent)}


@pytest.mark.parametrize("is_eager", [True, False])
def test_wish_for_arguments_as_they_are_written_is_fulfilled_by_every_backend(is_eager: bool) -> None:
    tool = {"name": "f", "input_schema": SCHEMA, "eager_input_streaming": is_eager}
    decoded = decode(body(tools=[tool]))
    assert (decoded.tools, decoded.extra) == ((Tool(name="f", parameters=SCHEMA),), None)


@pytest.mark.parametrize(
    ("sent", "choice", "is_parallel"),
    [
        ({"type": "auto"}, ToolMode.AUTO, None),
        ({"type": "any"}, ToolMode.REQUIRED, None),
        ({"type": "none"}, ToolMode.NONE, None),
        ({"type": "tool", "name": "f"}, NamedTool(name="f"), None),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolMode.AUTO, False),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolMode.REQUIRED, True),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": True}, NamedTool(name="f"), False),
    ],
)
def test_choice_among_tools(sent: dict[str, Any], choice: ToolMode | NamedTool, is_parallel: bool | None) -> None:
    tools = [{"name": "f", "input_schema": SCHEMA}]
    canonical = request(
        max_output_tokens=100,
        dialect=NAME,
        tools=(Tool(name="f", parameters=SCHEMA),),
        tool_choice=choice,
        parallel_tool_calls=is_parallel,
    )
    assert decode(body(tools=tools, tool_choice=sent)) == canonical
    assert encode(canonical)["tool_choice"] == sent


def test_several_calls_are_forbidden_without_another_choice() -> None:
    tools = (Tool(name="f"),)
    sent = encode(request(tools=tools, parallel_tool_calls=False))
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert "tool_choice" not in encode(request(parallel_tool_calls=False))


def test_format_of_the_answer_has_an_older_place() -> None:
    older = decode(body(output_format={"type": "json_schema", "schema": SCHEMA}))
    assert older.response_format == JsonSchemaFormat(name="answer", schema=SCHEMA)


def test_description_of_a_format_becomes_one_of_its_schema() -> None:
    wanted = JsonSchemaFormat(name="s", schema=SCHEMA, description="d", strict=True)
    sent = encode(request(response_format=wanted))
    assert sent["output_config"]["format"] == {"type": "json_schema", "schema": {"description": "d", **SCHEMA}}


# Content.

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
TEXT_URL = "data:text/plain;base64,aGk="
SEARCH_RESULT: dict[str, JsonValue] = {
    "type": "search_result",
    "source": "https://x",
    "title": "t",
    "content": [{"type": "text", "text": "hi"}],
    "citations": {"enabled": True},
}
WEB_CITATION = {
    "type": "web_search_result_location",
    "url": "https://x",
    "title": "t",
    "cited_text": "c",
    "encrypted_index": "e",
}
CHAR_CITATION = {
    "type": "char_location",
    "cited_text": "c",
    "document_index": 0,
    "document_title": "t",
    "start_char_index": 1,
    "end_char_index": 2,
}


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "text", "text": "a"}, TextPart(text="a")),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            TextPart(text="a", cache=CacheTtl.DEFAULT),
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            ImagePart(url="data:image/png;base64,aGk="),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x/y"}}, ImagePart(url="https://x/y")),
        (
            {"type": "image", "source": {"type": "file", "file_id": "f"}, "cache_control": {"type": "ephemeral"}},
            FilePart(file_id="f", media_type="image/*", cache=CacheTtl.DEFAULT),
        ),
        (
            {"type": "document", "source": PDF, "title": "t", "cache_control": {"type": "ephemeral"}},
            FilePart(
                url="data:application/pdf;base64,JVBERg==",
                media_type="application/pdf",
                name="t",
                cache=CacheTtl.DEFAULT,
            ),
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
            FilePart(url="https://x/y.pdf", media_type="application/pdf"),
        ),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, FilePart(file_id="f")),
        (
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
                "context": "c",
                "citations": {"enabled": True},
            },
            FilePart(url=TEXT_URL, media_type="text/plain", extra={"context": "c", "citations": {"enabled": True}}),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "hi"}]}},
            FilePart(
                url=TEXT_URL,
                media_type="text/plain",
                extra={"source": {"type": "content", "content": [{"type": "text", "text": "hi"}]}},
            ),
        ),
        (
            SEARCH_RESULT,
            FilePart(
                url="data:text/plain;base64,aHR0cHM6Ly94Cmhp",
                media_type="text/plain",
                name="t",
                extra={"block": SEARCH_RESULT, "citations": {"enabled": True}},
            ),
        ),
        (
            {"type": "container_upload", "file_id": "f"},
            OpaquePart(dialect=NAME, value={"type": "container_upload", "file_id": "f"}),
        ),
    ],
)
def test_block_of_the_user(block: dict[str, Any], part: ContentPart) -> None:
    sent = body(messages=[{"role": "user", "content": [block, {"type": "text", "text": "b"}]}])
    canonical = request(user(part, TextPart(text="b")), max_output_tokens=100, dialect=NAME)
    assert decode(sent) == canonical
    assert encode(canonical)["messages"] == sent["messages"]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, ReasoningPart(text="hm", signature="s")),
        ({"type": "thinking", "thinking": "", "signature": "s"}, ReasoningPart(signature="s")),
        ({"type": "redacted_thinking", "data": "x"}, ReasoningPart(redacted="x")),
        (
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, 2.5]}},
            ToolCall(id="t", name="f", arguments='{"a":[1,2.5]}'),
        ),
        (
            {
                "type": "tool_use",
                "id": "t",
                "name": "f",
                "input": {},
                "caller": {"type": "code_execution_20250825", "tool_id": "s"},
            },
            ToolCall(
                id="t",
                name="f",
                arguments="{}",
                signature='{"caller":{"type":"code_execution_20250825","tool_id":"s"}}',
            ),
        ),
        (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            OpaquePart(
                dialect=NAME,
                value={"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            ),
        ),
        (
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "x", "page_age": None}]},
            OpaquePart(
                dialect=NAME,
                value={
                    "type": "web_search_tool_result",
                    "tool_use_id": "s",
                    "content": [{"type": "x", "page_age": None}],
                },
            ),
        ),
        (
            {"type": "text", "text": "a", "something": "new"},
            OpaquePart(dialect=NAME, value={"type": "text", "text": "a", "something": "new"}),
        ),
    ],
)
def test_block_of_the_assistant(block: dict[str, Any], part: ContentPart) -> None:
    sent = body(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": [block]}])
    canonical = request(HI, assistant(part), max_output_tokens=100, dialect=NAME)
    assert decode(sent) == canonical
    assert encode(canonical)["messages"] == sent["messages"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "something_new"}},
        {"type": "image", "source": {"type": "url", "url": "https://x"}, "transformations": {"oversized_image": "x"}},
        {"type": "document", "source": {"type": "something_new"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": {}}]}},
        {"type": "tool_result", "tool_use_id": "t", "content": "5", "toolset_name": "s"},
        {"type": "something_new", "nothing": None},
    ],
)
def test_block_that_is_not_wholly_understood_is_kept_as_it_is(block: dict[str, Any]) -> None:
    sent = body(messages=[{"role": "user", "content": [block]}])
    assert decode(sent).messages[0].content == (OpaquePart(dialect=NAME, value=block),)
    assert encode(decode(sent))["messages"] == sent["messages"]


def test_document_that_is_a_text_in_one_piece() -> None:
    block = {"type": "document", "source": {"type": "content", "content": "hi"}}
    sent = body(messages=[{"role": "user", "content": [block]}])
    (part,) = decode(sent).messages[0].content
    assert isinstance(part, FilePart)
    assert part.url == TEXT_URL
    assert encode(decode(sent))["messages"] == sent["messages"]


def test_search_result_without_text_is_kept_as_its_json() -> None:
    block = {**SEARCH_RESULT, "content": [{"type": "something_new"}]}
    sent = body(messages=[{"role": "user", "content": [block]}])
    (part,) = decode(sent).messages[0].content
    assert isinstance(part, FilePart)
    assert part.media_type == "application/json"
    assert encode(decode(sent))["messages"] == sent["messages"]


@pytest.mark.parametrize("signature", ["{no JSON", "[]", 'janua.call_signature:["t"]', "janua.call_signature:"])
def test_odd_signatures_are_nothing_but_signatures(signature: str) -> None:
    blocks = [{"type": "thinking", "thinking": "hm", "signature": signature}]
    sent = body(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": blocks}])
    assert decode(sent).messages[1].content == (ReasoningPart(text="hm", signature=signature),)
    assert encode(decode(sent))["messages"] == sent["messages"]
    call = ToolCall(id="t", name="f", arguments="{}", signature=signature)
    assert set(encode(request(HI, assistant(call)))["messages"][1]["content"][0]) == {"type", "id", "name", "input"}


@pytest.mark.parametrize("citation", [WEB_CITATION, CHAR_CITATION, {**CHAR_CITATION, "document_title": None}])
def test_sources_of_a_text(citation: dict[str, Any]) -> None:
    block = {"type": "text", "text": "a", "citations": [citation]}
    sent = body(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": [block]}])
    (part,) = decode(sent).messages[1].content
    assert isinstance(part, TextPart)
    assert part.citations[0].cited_text == "c"
    assert part.citations[0].url == citation.get("url", "")
    assert encode(decode(sent))["messages"] == sent["messages"]


@pytest.mark.parametrize(
    ("block", "result"),
    [
        ({"content": "5"}, ToolResult(call_id="t", content=(TextPart(text="5"),))),
        ({}, ToolResult(call_id="t")),
        ({"content": "no", "is_error": True}, ToolResult(call_id="t", content=(TextPart(text="no"),), is_error=True)),
        (
            {"content": "5", "cache_control": {"type": "ephemeral"}},
            ToolResult(call_id="t", content=(TextPart(text="5"),), cache=CacheTtl.DEFAULT),
        ),
        (
            {
                "content": [
                    {"type": "text", "text": "5"},
                    {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
                    {"type": "document", "source": PDF},
                ]
            },
            ToolResult(
                call_id="t",
                content=(
                    TextPart(text="5"),
                    ImagePart(url="https://x/y"),
                    FilePart(url="data:application/pdf;base64,JVBERg==", media_type="application/pdf"),
                ),
            ),
        ),
        (
            {"content": [{"type": "tool_reference", "tool_name": "f"}]},
            ToolResult(
                call_id="t",
                content=(
                    FilePart(
                        url="data:application/json;base64,eyJ0eXBlIjoidG9vbF9yZWZlcmVuY2UiLCJ0b29sX25hbWUiOiJmIn0=",
                        media_type="application/json",
                        extra={"block": {"type": "tool_reference", "tool_name": "f"}},
                    ),
                ),
            ),
        ),
    ],
)
def test_result_of_a_tool(block: dict[str, Any], result: ToolResult) -> None:
    sent = body(messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", **block}]}])
    canonical = request(user(result), max_output_tokens=100, dialect=NAME)
    assert decode(sent) == canonical
    assert encode(canonical)["messages"] == sent["messages"]


def test_system_prompt_is_the_first_message() -> None:
    assert decode(body(system="be brief")).messages == (
        Message(role=Role.SYSTEM, content=(TextPart(text="be brief"),)),
        HI,
    )
    blocks = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    assert encode(decode(body(system=blocks)))["system"] == blocks
    assert decode(body(system="")).messages == decode(body(system=[])).messages == (HI,)


def test_what_the_system_says_later_stays_there_in_its_own_dialect() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]
    canonical = decode(body(system="first", messages=messages))
    assert encode(canonical) == {"model": "sent", **body(system="first", messages=messages)}


def test_what_the_system_says_later_is_put_with_what_it_says_first() -> None:
    sent = encode(
        request(
            Message(role=Role.SYSTEM, content=(TextPart(text="a"),)),
            HI,
            Message(role=Role.DEVELOPER, content=(TextPart(text="b"),)),
            user(TextPart(text="ho")),
        )
    )
    assert sent["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}]}
    ]


def test_messages_of_one_side_become_one_with_the_results_first() -> None:
    call = ToolCall(id="t", name="f", arguments="{}")
    sent = encode(
        request(
            HI,
            assistant(TextPart(text="let me see")),
            assistant(call),
            user(TextPart(text="quick!")),
            Message(role=Role.TOOL, content=(ToolResult(call_id="t", content=(TextPart(text="5"),), name="f"),)),
        )
    )
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text", "tool_use"]
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "text"]


def test_empty_texts_are_left_out_and_messages_of_them_too() -> None:
    call = ToolCall(id="t", name="f", arguments="")
    sent = encode(
        request(HI, assistant(TextPart(text=" \n")), user(TextPart(text="")), assistant(TextPart(text=""), call))
    )
    assert sent["messages"][1:] == [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
    ]


def test_what_is_said_around_a_message_left_out_becomes_one() -> None:
    sent = encode(request(HI, assistant(TextPart(text="")), user(TextPart(text="ho"))))
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}]}
    ]


@pytest.mark.parametrize("messages", [[Message(role=Role.SYSTEM, content=(TextPart(text="a"),))], [user()]])
def test_somebody_but_the_system_must_speak(messages: Sequence[Message]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(request(*messages), drop=True)
    assert caught.value.param == "messages"


def test_refusal_is_said_again_as_text() -> None:
    sent = encode(request(HI, assistant(RefusalPart(text="no"))))
    assert sent["messages"][1] == {"role": "assistant", "content": "no"}


def test_thoughts_that_the_backend_could_not_tell_to_be_its_own_are_left_out() -> None:
    sent = encode(request(HI, assistant(ReasoningPart(text="hm"), TextPart(text="ho"))))
    assert sent["messages"][1] == {"role": "assistant", "content": "ho"}


@pytest.mark.parametrize("arguments", ['{"a":1', "[1]", "5", "nothing like JSON"])
def test_arguments_that_are_no_object_go_back_wrapped(arguments: str) -> None:
    canonical = request(
        HI, assistant(ToolCall(id="t", name="f", arguments=arguments)), max_output_tokens=5, dialect=NAME
    )
    sent = encode(canonical)
    assert sent["messages"][1]["content"][0]["input"] == {"INVALID_JSON": arguments}
    assert decode(sent) == canonical


def test_arguments_go_as_the_model_wrote_them() -> None:
    arguments = '{"a": 1.0, "b": 12345678901234567890123, "c": "\\u00e4"}'
    canonical = request(HI, assistant(ToolCall(id="t", name="f", arguments=arguments)))
    assert arguments.encode() in MESSAGES.encode_request(canonical, "m", stream=False, drop_unsupported=False)


def test_ids_have_the_form_that_anthropic_takes() -> None:
    sent = encode(
        request(
            HI,
            assistant(ToolCall(id="functions.f:0", name="f", arguments="{}")),
            Message(role=Role.TOOL, content=(ToolResult(call_id="functions.f:0"),)),
        )
    )
    assert sent["messages"][1]["content"][0]["id"] == "functions_f_0"
    assert sent["messages"][2]["content"][0]["tool_use_id"] == "functions_f_0"


def test_calls_without_ids_are_found_by_their_names() -> None:
    def result(**fields: Any) -> Message:
        return Message(role=Role.TOOL, content=(ToolResult(**fields),))

    sent = encode(
        request(
            HI,
            assistant(ToolCall(id="", name="f", arguments="{}"), ToolCall(id="", name="g", arguments="{}")),
            result(call_id="g", name="g"),
            result(call_id="", name="f"),
            assistant(ToolCall(id="", name="f", arguments="{}")),
            result(call_id=""),
        )
    )
    first, second = (block["id"] for block in sent["messages"][1]["content"])
    (third,) = (block["id"] for block in sent["messages"][3]["content"])
    assert [block["tool_use_id"] for block in sent["messages"][2]["content"]] == [second, first]
    assert [block["tool_use_id"] for block in sent["messages"][4]["content"]] == [third]
    assert len({first, second, third}) == 3


def test_signature_of_another_backends_call_comes_back_out_of_the_thinking_that_carries_it() -> None:
    carried = 'janua.call_signature:["t","sig="]'
    blocks = [
        {"type": "thinking", "thinking": "", "signature": carried},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    canonical = decode(body(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": blocks}]))
    assert canonical.messages[1].content == (ToolCall(id="t", name="f", arguments="{}", signature="sig="),)
    assert encode(canonical)["messages"][1]["content"] == blocks[1:]


# Files of other dialects.


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            FilePart(url="data:text/csv;charset=utf-8,a%2Cb", name="n"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}, "title": "n"},
        ),
        (
            FilePart(url="data:image/jpg;base64,aGk="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}},
        ),
        (FilePart(url="https://x/y"), {"type": "document", "source": {"type": "url", "url": "https://x/y"}}),
        (
            ImagePart(url="https://x/y", detail="auto"),
            {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
        ),
    ],
)
def test_file_is_sent(part: ContentPart, block: dict[str, Any]) -> None:
    assert encode(request(user(part)))["messages"] == [{"role": "user", "content": [block]}]


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64", "data:,hi", "data:text/plain;base64,/w=="])
def test_file_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(request(user(FilePart(url=url))), drop=True)
    assert caught.value.param == "messages"


# What has no place.


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("n", {"n": 2}),
        ("seed", {"seed": 1}),
        ("presence_penalty", {"presence_penalty": 0.5}),
        ("frequency_penalty", {"frequency_penalty": -0.5}),
        ("top_logprobs", {"top_logprobs": 0}),
        ("metadata", {"metadata": {"a": "b"}}),
        ("response_format", {"response_format": PlainFormat.JSON_OBJECT}),
        ("stop", {"stop": ("\n",)}),
        ("tools", {"tools": (OpaqueTool(dialect="openai_chat", value={}),)}),
        ("logit_bias", {"dialect": "openai_chat", "extra": {"logit_bias": {"50256": -100}}}),
    ],
)
def test_field_without_a_place_is_refused_by_name_or_left_out(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(request(**fields))
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert encode(request(**fields), drop=True) == encode(request())


@pytest.mark.parametrize(
    "part",
    [
        AudioPart(data="aGk=", format="wav"),
        OpaquePart(dialect="another", value={"type": "x"}),
        FilePart(name="n"),
        FilePart(url="data:application/zip;base64,aGk="),
    ],
)
def test_content_without_a_place_is_refused_or_left_out(part: ContentPart) -> None:
    asked = request(user(TextPart(text="hi"), part))
    with pytest.raises(InvalidRequestError) as caught:
        encode(asked)
    assert caught.value.param == "messages"
    assert encode(asked, drop=True) == encode(request())


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (user(ImagePart(url="https://x", detail="low")), user(ImagePart(url="https://x"))),
        (user(FilePart(file_id="f", extra={"fps": 5})), user(FilePart(file_id="f"))),
        (
            user(FilePart(file_id="f", media_type="image/png", extra={"fps": 5})),
            user(FilePart(file_id="f", media_type="image/png")),
        ),
        (Message(role=Role.USER, content=HI.content, name="ann"), HI),
    ],
)
def test_detail_without_a_place_is_refused_or_left_out(message: Message, left: Message) -> None:
    with pytest.raises(InvalidRequestError, match="Anthropic's messages"):
        encode(request(message))
    assert encode(request(message), drop=True) == encode(request(left))


@pytest.mark.parametrize("fields", [{"n": 1}, {"presence_penalty": 0.0}, {"response_format": PlainFormat.TEXT}])
def test_what_is_so_anyway_need_not_be_said(fields: dict[str, Any]) -> None:
    assert encode(request(**fields)) == encode(request())


def test_temperature_above_anthropics_range_is_refused_or_lowered() -> None:
    assert encode(request(temperature=1.0))["temperature"] == 1.0
    with pytest.raises(InvalidRequestError) as caught:
        encode(request(temperature=1.5))
    assert caught.value.param == "temperature"
    assert encode(request(temperature=1.5), drop=True)["temperature"] == 1.0


@pytest.mark.parametrize("name", ["model", "messages", "max_tokens", "stream", "system", "temperature"])
def test_extra_field_with_a_place_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"'{name}' has a field of its own") as caught:
        encode(request(extra={name: 1}))
    assert caught.value.param == f"extra.{name}"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]},
            "messages[0].content[0].source.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": "{}"}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"temperature": "warm"}, "temperature"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"stop_sequences": [5]}, "stop_sequences[0]"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display"),
        ({"output_config": {"effort": "little"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ],
)
def test_wrong_request_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(body(**fields))
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["messages", "role", "content", "type", "text", "source", "tools"]), inner, max_size=3
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_garbage_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        MESSAGES.decode_request(data, "m")


# Recordings.


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.ALL)
def test_recorded_request_is_the_same_when_written_again(name: str) -> None:
    sent = recorded.load(name).request
    assert uniform(encode(decode(sent), stream=bool(sent.get("stream")))) == uniform(sent)


# The law.

TEXTS = st.text(min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
IDS = st.text("abcXYZ019_-", min_size=1, max_size=8)
CACHES = st.none() | st.sampled_from(CacheTtl)
OBJECTS = st.dictionaries(IDS, TEXTS | st.integers(-9, 9), max_size=3)

texts = st.builds(TextPart, text=TEXTS, cache=CACHES)
images = st.builds(ImagePart, url=IDS.map(lambda name: f"https://{name}"), cache=CACHES) | st.builds(
    ImagePart, url=st.binary(max_size=5).map(lambda data: f"data:image/png;base64,{data.hex()}"), cache=CACHES
)
files = st.builds(FilePart, file_id=IDS, name=st.none() | TEXTS, cache=CACHES)
results = st.builds(
    ToolResult,
    call_id=IDS,
    content=st.lists(texts | images | files, max_size=3).map(tuple),
    is_error=st.booleans(),
    cache=CACHES,
)
calls = st.builds(
    ToolCall,
    id=IDS,
    name=IDS,
    arguments=OBJECTS.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)),
    cache=CACHES,
)
thoughts = st.builds(ReasoningPart, text=TEXTS, signature=IDS) | st.builds(ReasoningPart, redacted=IDS)
opaque = OBJECTS.map(lambda value: OpaquePart(dialect=NAME, value={**value, "type": "server_thing"}))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    messages = []
    if draw(st.booleans()):
        messages.append(Message(role=Role.SYSTEM, content=tuple(draw(st.lists(texts, min_size=1, max_size=2)))))
    for turn in range(draw(st.integers(1, 4))):
        if turn % 2:
            parts: list[ContentPart] = draw(st.lists(thoughts | texts | calls | opaque, min_size=1, max_size=4))
            messages.append(assistant(*parts))
        else:
            answered = draw(st.lists(results, max_size=2))
            messages.append(user(*answered, *draw(st.lists(texts | images | files | opaque, min_size=1, max_size=3))))
    return tuple(messages)


tools = st.lists(
    st.builds(
        Tool,
        name=IDS,
        description=st.none() | TEXTS,
        parameters=OBJECTS.map(lambda value: {"type": "object", "properties": value}),
        strict=st.none() | st.booleans(),
        cache=CACHES,
    ),
    min_size=1,
    max_size=2,
).map(tuple)

requests = st.builds(
    ChatRequest,
    model=st.just("asked"),
    messages=conversations(),
    max_output_tokens=st.integers(1, 10**5),
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 100),
    stop=st.lists(TEXTS, max_size=2).map(tuple),
    tools=tools,
    tool_choice=st.none() | st.sampled_from([ToolMode.AUTO, ToolMode.REQUIRED]) | st.builds(NamedTool, name=IDS),
    response_format=st.none() | OBJECTS.map(lambda schema: JsonSchemaFormat(name="answer", schema=schema)),
    reasoning=st.none()
    | st.builds(Reasoning, budget_tokens=st.sampled_from([-1, 1024, 5000]), is_shown=st.none() | st.booleans()),
    user=st.none() | TEXTS,
    dialect=st.just(NAME),
    extra=st.none() | st.just({"service_tier": "auto"}),
)


@given(requests)
def test_what_is_written_means_what_it_meant(canonical: ChatRequest) -> None:
    assert decode(encode(canonical)) == canonical
