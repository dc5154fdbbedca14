"""Between OpenAI's chat completions and Cohere's chat: requests and answers, feature by feature, both ways."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given

from gateway.errors import BadGatewayError
from gateway.framing.sse import SseParser
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.cohere.chat import CohereChat
from gateway.schemas.data_urls import text_url
from gateway.schemas.openai.chat import OpenAIChat
from gateway.types import ChatEvent, ChatRequest, Message, TextPart, ToolCall, ToolResult
from tests.gateway.schemas.chat_request_strategies import requests
from tests.gateway.schemas.folded_answers import fold

COHERE = CohereChat()
OPENAI = OpenAIChat()
SETTINGS = AnswerSettings(model="asked")
HI = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city":"x"}'}}


def translate(source: ChatDialect, target: ChatDialect, fields: dict[str, Any]) -> Any:
    body = json.dumps({"model": "m", "messages": [HI], **fields}).encode()
    canonical = source.decode_request(body, "m")
    return json.loads(target.encode_request(canonical, "m", stream=False, drop_unsupported=False))


@pytest.mark.parametrize(
    ("openai", "cohere"),
    [
        ({"max_tokens": 5, "temperature": 0.5}, {"max_tokens": 5, "temperature": 0.5}),
        ({"top_p": 0.9, "top_k": 3}, {"p": 0.9, "k": 3}),
        ({"stop": ["a"], "seed": 1}, {"stop_sequences": ["a"], "seed": 1}),
        ({"presence_penalty": 0.5, "frequency_penalty": 0.5}, {"presence_penalty": 0.5, "frequency_penalty": 0.5}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "REQUIRED"}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": "NONE"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
            {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
        ),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "token_budget": 1024}}),
        ({"reasoning_effort": "medium"}, {"thinking": {"type": "enabled", "token_budget": 4096}}),
        (
            {"messages": [{"role": "system", "content": "s"}, HI]},
            {"messages": [{"role": "system", "content": "s"}, HI]},
        ),
        (
            {
                "messages": [
                    HI,
                    {"role": "assistant", "content": None, "reasoning_content": "I look", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": "sun"},
                ]
            },
            {
                "messages": [
                    HI,
                    {"role": "assistant", "tool_plan": "I look", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": "sun"},
                ]
            },
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "what"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                        ],
                    }
                ]
            },
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "what"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                        ],
                    }
                ]
            },
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "file", "file": {"file_data": text_url("long text"), "filename": "a.txt"}},
                            {"type": "text", "text": "hi"},
                        ],
                    }
                ]
            },
            {"messages": [HI], "documents": [{"id": "a.txt", "data": {"text": "long text"}}]},
        ),
    ],
)
def test_request_both_ways(openai: dict[str, Any], cohere: dict[str, Any]) -> None:
    assert translate(OPENAI, COHERE, openai) == {**translate(OPENAI, COHERE, {}), **cohere}
    assert translate(COHERE, OPENAI, cohere) == {**translate(OPENAI, OPENAI, {}), **openai}


def test_a_function_that_must_be_called() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    chosen = {"type": "function", "function": {"name": "f"}}
    sent = translate(OPENAI, COHERE, {"tools": [TOOL, other], "tool_choice": chosen})
    assert (sent["tools"], sent["tool_choice"]) == ([TOOL], "REQUIRED")


COUNTS = {"input_tokens": 5, "output_tokens": 7}
SOURCE = {"type": "document", "id": "d", "document": {"title": "T", "url": "https://d", "snippet": "s"}}
ANSWER = {
    "id": "a",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}],
        "tool_calls": [CALL],
        "citations": [{"start": 0, "end": 3, "text": "yes", "sources": [SOURCE]}],
    },
    "usage": {"billed_units": COUNTS, "tokens": COUNTS, "cached_tokens": 2},
}


def streamed(source: ChatDialect, target: ChatDialect, data: bytes) -> bytes:
    decoder, encoder = source.event_decoder(), target.event_encoder(SETTINGS)
    return b"".join(encoder.encode(decoder.decode(event)) for event in SseParser().feed(data)) + encoder.finish()


def read(dialect: ChatDialect, data: bytes) -> list[ChatEvent]:
    decoder = dialect.event_decoder()
    return [found for event in SseParser().feed(data) for found in decoder.decode(event)]


def written(dialect: ChatDialect, events: Sequence[ChatEvent]) -> bytes:
    encoder = dialect.event_encoder(SETTINGS)
    return b"".join(encoder.encode([event]) for event in events) + encoder.finish()


def meaning(events: Iterable[ChatEvent]) -> tuple[Any, ...]:
    folded = fold(events)
    only = folded.only
    sources = [(each.url, each.title) for each in only.citations]
    return only.text, only.thoughts, only.calls, sources, only.finishes, folded.usages


def test_answer_for_a_client_of_openai() -> None:
    events = COHERE.decode_answer(json.dumps(ANSWER).encode())
    answer = json.loads(OPENAI.encode_answer(events, SETTINGS))
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "yes"
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"] == [CALL]
    citation = {"url": "https://d", "title": "T", "start_index": 0, "end_index": 3}
    assert choice["message"]["annotations"] == [{"type": "url_citation", "url_citation": citation}]
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 2


def test_stream_says_the_same_as_the_whole_answer_both_ways() -> None:
    events = COHERE.decode_answer(json.dumps(ANSWER).encode())
    for source, target in ((COHERE, OPENAI), (OPENAI, COHERE)):
        translated = streamed(source, target, written(source, events))
        assert meaning(read(target, translated)) == meaning(events)


def test_an_error_within_a_stream_is_no_end() -> None:
    broken = b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR"}}\n\n'
    with pytest.raises(BadGatewayError):
        streamed(COHERE, OPENAI, broken)


def test_the_signature_of_a_thought_comes_back_from_a_client_of_cohere() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
    message = {"role": "assistant", "content": "yes", "reasoning_details": details}
    answer = {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    given = json.loads(COHERE.encode_answer(OPENAI.decode_answer(json.dumps(answer).encode()), SETTINGS))
    sent = translate(COHERE, OPENAI, {"messages": [HI, given["message"]]})
    assert sent["messages"][1]["reasoning_details"] == details


def words(messages: Sequence[Message]) -> list[tuple[str, ...]]:
    """What a conversation says: texts, calls and results, in their order."""
    said: list[tuple[str, ...]] = []
    for message in messages:
        for part in message.content:
            match part:
                case TextPart(text=text):
                    said.append((message.role, text))
                case ToolCall():
                    said.append((part.id, part.name, part.arguments))
                case ToolResult(call_id=call_id, content=content):
                    said += ((call_id, each.text) for each in content if isinstance(each, TextPart))
    return said


@given(requests())
def test_any_conversation_of_another_dialect_is_carried(request_: ChatRequest) -> None:
    body = COHERE.encode_request(request_, "m", stream=True, drop_unsupported=True)
    read_again = COHERE.decode_request(body, "asked")
    assert words(read_again.messages) == words(request_.messages)
    assert read_again.max_output_tokens == request_.max_output_tokens
