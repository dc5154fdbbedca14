"""Between OpenAI's chat completions and Bedrock's Converse: requests and answers, feature by feature, both ways."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import assume, given

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.framing.aws_event_stream import encode_frame
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.bedrock.converse import BedrockConverse
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.data_urls import text_url
from gateway.schemas.openai.chat import OpenAIChat
from gateway.types import ChatEvent, ChatRequest, ContentPart, Message, TextPart, ToolCall, ToolResult
from tests.gateway.schemas import bedrock_recordings as recorded
from tests.gateway.schemas.chat_request_strategies import requests
from tests.gateway.schemas.folded_answers import fold

BEDROCK = BedrockConverse()
OPENAI = OpenAIChat()
ANTHROPIC = AnthropicMessages()
SETTINGS = AnswerSettings(model="asked")
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HI = {"role": "user", "content": "hi"}
HELLO = {"role": "user", "content": [{"text": "hi"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
SPEC = {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city":"x"}'}}
USE = {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"city": "x"}}}
DETAILS = [
    {"type": "reasoning.text", "text": "hm", "signature": "s"},
    {"type": "reasoning.encrypted", "data": "EtkE"},
]
THOUGHTS = [
    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
    {"reasoningContent": {"redactedContent": "RXRrRQ=="}},
]


def translate(source: ChatDialect, target: ChatDialect, fields: dict[str, Any], *, drop: bool = False) -> Any:
    canonical = source.decode_request(json.dumps(fields).encode(), "m")
    return json.loads(target.encode_request(canonical, CLAUDE, stream=False, drop_unsupported=drop))


def to_bedrock(fields: dict[str, Any]) -> Any:
    return translate(OPENAI, BEDROCK, {"model": "m", "messages": [HI], **fields})


def to_openai(fields: dict[str, Any]) -> Any:
    return translate(BEDROCK, OPENAI, {"messages": [HELLO], **fields})


@pytest.mark.parametrize(
    ("openai", "bedrock"),
    [
        (
            {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "stop": ["a"]},
            {
                "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a"]},
                "additionalModelResponseFieldPaths": ["/stop_sequence"],
            },
        ),
        ({"top_k": 3}, {"additionalModelRequestFields": {"top_k": 3}}),
        ({"metadata": {"a": "b"}}, {"requestMetadata": {"a": "b"}}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"toolConfig": {"tools": [SPEC], "toolChoice": {"auto": {}}}}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "f"}}}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "description": "d", "schema": {"type": "object"}},
                }
            },
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {"jsonSchema": {"name": "s", "description": "d", "schema": '{"type":"object"}'}},
                    }
                }
            },
        ),
        (
            {"reasoning_effort": "medium"},
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 4096}}},
        ),
        ({"reasoning_effort": "none"}, {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}}),
        ({"messages": [{"role": "system", "content": "s"}, HI]}, {"system": [{"text": "s"}]}),
        (
            {
                "messages": [
                    HI,
                    {"role": "assistant", "content": "I look", "reasoning_content": "hm", "reasoning_details": DETAILS}
                    | {"tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": "sun"},
                ]
            },
            {
                "messages": [
                    HELLO,
                    {"role": "assistant", "content": [*THOUGHTS, {"text": "I look"}, USE]},
                    {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sun"}]}}]},
                ],
                # Bedrock takes calls only beside the functions that there are.
                "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]},
            },
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "what"},
                            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA=="}},
                            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                            {
                                "type": "file",
                                "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a"},
                            },
                        ],
                    }
                ]
            },
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"text": "what"},
                            {"image": {"format": "jpeg", "source": {"bytes": "AA=="}}},
                            {"audio": {"format": "wav", "source": {"bytes": "AA=="}}},
                            {"document": {"format": "pdf", "name": "a", "source": {"bytes": "AA=="}}},
                        ],
                    }
                ]
            },
        ),
    ],
)
def test_request_both_ways(openai: dict[str, Any], bedrock: dict[str, Any]) -> None:
    assert to_bedrock(openai) == {**to_bedrock({}), **bedrock}
    sent = to_openai(bedrock)
    assert {name: sent[name] for name in openai} == openai


def test_marks_to_cache_of_a_client_of_openai() -> None:
    content = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    sent = to_bedrock({"messages": [{"role": "user", "content": content}]})
    assert sent["messages"][0]["content"] == [{"text": "a"}, {"cachePoint": {"type": "default"}}]


def test_what_only_bedrock_has_is_refused_elsewhere() -> None:
    for fields, param in (
        ({"guardrailConfig": {"guardrailIdentifier": "g"}}, "guardrailConfig"),
        ({"messages": [{"role": "user", "content": [{"guardContent": {"text": {"text": "a"}}}]}]}, "messages"),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "x"}}]}}, "tools"),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            to_openai(fields)
        assert refused.value.param == param


def test_documents_and_thoughts_between_anthropic_and_bedrock() -> None:
    pieces = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
    document = {
        "type": "document",
        "title": "a",
        "source": {"type": "content", "content": pieces},
        "context": "c",
        "citations": {"enabled": True},
    }
    found = {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}
    anthropic = {
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": [document, found]},
            {
                "role": "assistant",
                "content": [{"type": "redacted_thinking", "data": "EtkE"}, {"type": "text", "text": "a"}],
            },
            {"role": "user", "content": "hi"},
        ],
    }
    bedrock = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "document": {
                            "format": "txt",
                            "name": "a",
                            "source": {"content": [{"text": "x"}, {"text": "y"}]},
                            "context": "c",
                            "citations": {"enabled": True},
                        }
                    },
                    {"searchResult": {"source": "s", "title": "t", "content": [{"text": "x"}]}},
                ],
            },
            {"role": "assistant", "content": [{"reasoningContent": {"redactedContent": "RXRrRQ=="}}, {"text": "a"}]},
            HELLO,
        ]
    }
    sent = translate(ANTHROPIC, BEDROCK, anthropic)
    assert sent["messages"] == bedrock["messages"]
    assert translate(BEDROCK, ANTHROPIC, bedrock)["messages"] == anthropic["messages"]


def test_a_text_file_of_a_client_of_openai_is_a_document() -> None:
    file = {"type": "file", "file": {"file_data": text_url("a", "application/json"), "filename": "a.json"}}
    (block,) = to_bedrock({"messages": [{"role": "user", "content": [file]}]})["messages"][0]["content"]
    assert (block["document"]["format"], block["document"]["name"]) == ("txt", "a-json")


ANSWER = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                *THOUGHTS,
                {
                    "citationsContent": {
                        "content": [{"text": "yes"}],
                        "citations": [{"title": "T", "location": {"web": {"url": "https://u"}}}],
                    }
                },
                USE,
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 37, "cacheReadInputTokens": 30},
}


def written(dialect: ChatDialect, events: Sequence[ChatEvent]) -> bytes:
    encoder = dialect.event_encoder(SETTINGS)
    return b"".join(encoder.encode([event]) for event in events) + encoder.finish()


def read(dialect: ChatDialect, data: bytes) -> list[ChatEvent]:
    decoder = dialect.event_decoder()
    return [found for event in dialect.framing.parser().feed(data) for found in decoder.decode(event)]


def streamed(source: ChatDialect, target: ChatDialect, data: bytes) -> bytes:
    decoder, encoder = source.event_decoder(), target.event_encoder(SETTINGS)
    parser = source.framing.parser()
    return b"".join(encoder.encode(decoder.decode(event)) for event in parser.feed(data)) + encoder.finish()


def meaning(events: Iterable[ChatEvent]) -> tuple[Any, ...]:
    folded = fold(events)
    only = folded.only
    sources = [(each.url, each.title) for each in only.citations]
    return only.text, only.thoughts, only.calls, sources, only.finishes, folded.usages


def test_answer_for_a_client_of_openai() -> None:
    events = BEDROCK.decode_answer(json.dumps(ANSWER).encode())
    answer = json.loads(OPENAI.encode_answer(events, SETTINGS))
    (choice,) = answer["choices"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("yes", "hm")
    assert message["reasoning_details"] == DETAILS
    assert message["tool_calls"] == [CALL]
    citation = {"url": "https://u", "title": "T", "start_index": 0, "end_index": 3}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": citation}]
    assert choice["finish_reason"] == "tool_calls"
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]) == (33, 37)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 30


def test_stream_says_the_same_as_the_whole_answer_both_ways() -> None:
    events = BEDROCK.decode_answer(json.dumps(ANSWER).encode())
    for source, target in ((BEDROCK, OPENAI), (OPENAI, BEDROCK)):
        translated = streamed(source, target, written(source, events))
        assert meaning(read(target, translated)) == meaning(events)


def test_an_exception_within_a_stream_is_no_end() -> None:
    broken = encode_frame(b'{"role":"assistant"}', "messageStart") + encode_frame(
        b'{"message":"slow down"}', "throttlingException"
    )
    with pytest.raises(BadGatewayError, match="slow down"):
        streamed(BEDROCK, OPENAI, broken)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_says_the_same_to_a_client_of_openai(name: str) -> None:
    raw = recorded.load(name).answer
    assert meaning(read(OPENAI, streamed(BEDROCK, OPENAI, raw))) == meaning(read(BEDROCK, raw))


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer_says_the_same_to_a_client_of_openai(name: str) -> None:
    events = BEDROCK.decode_answer(recorded.load(name).answer)
    assert meaning(OPENAI.decode_answer(OPENAI.encode_answer(events, SETTINGS))) == meaning(events)


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
                    texts = [each.text for each in content if isinstance(each, TextPart) and each.text.strip()]
                    # A result must say something.
                    said += ((call_id, text) for text in texts or ["(empty)"])
    return said


@given(requests())
def test_any_conversation_of_another_dialect_is_carried(request_: ChatRequest) -> None:
    told = [Message(role=each.role, content=_visible(each)) for each in request_.messages]
    assume(words(told[-1:]))
    body = BEDROCK.encode_request(request_, CLAUDE, stream=True, drop_unsupported=True)
    read_again = BEDROCK.decode_request(body, "asked")
    assert words(read_again.messages) == words(told)
    assert read_again.max_output_tokens == request_.max_output_tokens


def _visible(message: Message) -> tuple[ContentPart, ...]:
    """Without texts of white space, which say nothing and would be refused."""
    return tuple(part for part in message.content if not isinstance(part, TextPart) or part.text.strip())
