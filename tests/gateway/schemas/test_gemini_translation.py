"""Gemini behind clients of OpenAI and Anthropic, and in front of their backends: what must survive, both ways."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.framing.sse import SseParser
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.gemini.generate_content import GeminiGenerateContent
from gateway.schemas.openai.chat import OpenAIChat
from gateway.types import (
    ChatEvent,
    FinishReason,
    ReasoningPart,
    RefusalDelta,
    TextDelta,
    ToolCall,
    Usage,
)
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.dialect_streams import SETTINGS, streamed, through_stream, through_whole
from tests.gateway.schemas.folded_answers import Alternative, fold

GEMINI = GeminiGenerateContent()
OPENAI = OpenAIChat()
ANTHROPIC = AnthropicMessages()

OF_GEMINI = recorded.names("gemini/*enerateContent/*", "vertex/*enerateContent/*")
OF_OTHERS = [
    name for name in recorded.names("*/chat-completions/*", "anthropic/messages/*") if "error" not in name
] or ["absent"]
PICTURE = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def to_gemini(dialect: ChatDialect, model: str = "gemini-2.5-flash", *, drop: bool = False, **fields: Any) -> Any:
    """What a backend of Gemini gets of a client's request."""
    body = json.dumps({"model": "asked", "max_tokens": 100, **fields}).encode()
    request = dialect.decode_request(body, "asked")
    return json.loads(GEMINI.encode_request(request, model, stream=False, drop_unsupported=drop))


def from_gemini(dialect: ChatDialect, *, drop: bool = False, **fields: Any) -> Any:
    """What another backend gets of the request of a client of Gemini."""
    request = GEMINI.decode_request(json.dumps(fields).encode(), "asked")
    return json.loads(dialect.encode_request(request, "sent", stream=False, drop_unsupported=drop))


def groups_of(dialect: ChatDialect, exchange: recorded.Exchange) -> list[list[ChatEvent]]:
    """The events of a recorded answer, as they came together."""
    if not exchange.is_streaming:
        return [list(dialect.decode_answer(exchange.answer))]
    decoder = dialect.event_decoder()
    return [list(decoder.decode(event)) for event in SseParser().feed(exchange.answer)]


def calls_in(told: Alternative) -> list[tuple[str, str, Any]]:
    return [(call.id, call.name, json.loads(call.arguments or "{}")) for call in told.calls.values()]


def signatures_in(told: Alternative) -> list[str]:
    """The signatures of thoughts. A call's is the call's own."""
    return [thought.signature for thought in told.thoughts if thought.signature]


# Recorded answers of Gemini.


@pytest.mark.component("recordings")
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", OF_GEMINI)
def test_recorded_answer_of_gemini_for_other_clients(name: str, dialect: ChatDialect) -> None:
    groups = groups_of(GEMINI, recorded.load(name))
    events = [event for group in groups for event in group]
    before = fold(events)
    for again in (through_stream(dialect, groups), through_whole(dialect, events)):
        after = fold(again)
        assert after.only.text == before.only.text
        assert calls_in(after.only) == calls_in(before.only)
        assert [thought.text for thought in after.only.thoughts if thought.text] == [
            thought.text for thought in before.only.thoughts if thought.text
        ]
        assert signatures_in(after.only)[: len(signatures_in(before.only))] == signatures_in(before.only)
        assert [(each.url, each.title) for each in after.only.citations] == [
            (each.url, each.title) for each in before.only.citations
        ]
        assert after.only.finishes == before.only.finishes
        (usage,) = after.usages
        kept = {"audio_input_tokens": 0} if dialect is ANTHROPIC else {}
        assert usage == replace(before.usages[-1], **kept)


# Recorded answers of others for clients of Gemini.


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", OF_OTHERS)
def test_recorded_answer_of_others_for_a_client_of_gemini(name: str) -> None:
    source: ChatDialect = ANTHROPIC if name.startswith("anthropic/") else OPENAI
    groups = groups_of(source, recorded.load(name))
    events = [event for group in groups for event in group]
    before = fold(events)
    for again in (through_stream(GEMINI, groups), through_whole(GEMINI, events)):
        after = fold(again)
        for index, told in before.choices.items():
            found = after.choices[index]
            words = [
                event.text for event in events if isinstance(event, TextDelta | RefusalDelta) and event.choice == index
            ]
            assert found.text == "".join(words)
            assert [(name, args) for _, name, args in calls_in(found)] == [
                (name, args) for _, name, args in calls_in(told)
            ]
            assert [thought for thought in found.thoughts if thought.redacted is None] == [
                thought for thought in told.thoughts if thought.redacted is None
            ]
            assert [each.url for each in found.citations] == [each.url for each in told.citations]
            assert len(found.finishes) == 1
        if before.usages:
            assert after.usages == [replace(before.usages[-1], cache_creation_tokens=0)]


def test_reasons_to_finish_reach_clients_of_gemini() -> None:
    for reason, told in (
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("tool_calls", "STOP"),
        ("content_filter", "SAFETY"),
    ):
        answer = {"id": "a", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": reason}]}
        events = OPENAI.decode_answer(json.dumps(answer).encode())
        (candidate,) = json.loads(GEMINI.encode_answer(events, SETTINGS))["candidates"]
        assert candidate["finishReason"] == told


# Requests.


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_conversation_of_a_client_of_gemini(dialect: ChatDialect) -> None:
    """A client of Gemini, another backend, and the way back: the conversation is the same."""
    fields: dict[str, Any] = {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "look"}, PICTURE]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
                    {"text": "so"},
                    {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Z29v"},
                    {"functionCall": {"id": "d", "name": "g", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c", "name": "f", "response": {"result": "5"}}},
                    {"functionResponse": {"id": "d", "name": "g", "response": {"b": 6}}},
                ],
            },
            {"role": "user", "parts": [{"text": "and?"}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"temperature": 0.5, "topP": 0.25, "stopSequences": ["x"], "maxOutputTokens": 100},
    }
    sent = from_gemini(dialect, **fields)
    back = to_gemini(dialect, **sent)
    if dialect is ANTHROPIC:  # a backend of Anthropic takes signatures of thoughts only
        call = back["contents"][1]["parts"][2]
        assert "thoughtSignature" not in call
        call["thoughtSignature"] = "Z29v"
    assert back == fields


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_calls_without_ids_have_them_for_other_backends(dialect: ChatDialect) -> None:
    call, result = {"functionCall": {"name": "f"}}, {"functionResponse": {"name": "f", "response": {"result": "5"}}}
    sent = from_gemini(
        dialect,
        contents=[{"parts": ["hi"]}, {"role": "model", "parts": [call, call]}, {"parts": [result, result]}],
    )
    text = json.dumps(sent)
    assert text.count('"call_0"') == text.count('"call_1"') == 2


def test_features_of_openai_for_gemini() -> None:
    hi = {"role": "user", "content": "hi"}
    assert to_gemini(
        OPENAI,
        messages=[hi],
        n=2,
        seed=3,
        top_k=4,
        presence_penalty=0.5,
        logprobs=True,
        top_logprobs=2,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}},
        reasoning_effort="high",
        tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        tool_choice="required",
    ) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {
            "candidateCount": 2,
            "seed": 3,
            "topK": 4,
            "presencePenalty": 0.5,
            "maxOutputTokens": 100,
            "responseLogprobs": True,
            "logprobs": 2,
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "thinkingConfig": {"thinkingBudget": 16384, "includeThoughts": True},
        },
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }
    levels = to_gemini(OPENAI, "gemini-3-flash", messages=[hi], reasoning_effort="high")
    assert levels["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "HIGH", "includeThoughts": True}


def test_media_of_openai_for_gemini() -> None:
    content = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "n.pdf"}},
    ]
    (turn,) = to_gemini(OPENAI, messages=[{"role": "user", "content": content}])["contents"]
    assert turn["parts"] == [
        {"text": "look"},
        PICTURE,
        {"fileData": {"fileUri": "https://x/y.png", "mimeType": "image/png"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
    ]


def test_thinking_of_anthropic_for_gemini() -> None:
    sent = to_gemini(
        ANTHROPIC,
        max_tokens=9000,
        thinking={"type": "enabled", "budget_tokens": 5000},
        messages=[{"role": "user", "content": "hi"}],
    )
    assert sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 5000


def test_picture_in_a_result_of_anthropic_for_gemini() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    sent = to_gemini(
        ANTHROPIC,
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no"}, picture],
                    }
                ],
            },
        ],
    )
    (part,) = sent["contents"][2]["parts"]
    assert part["functionResponse"] == {"id": "t", "name": "f", "response": {"error": "no"}, "parts": [PICTURE]}


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("safetySettings", {"safetySettings": []}),
        ("cachedContent", {"cachedContent": "c"}),
        ("generationConfig.speechConfig", {"generationConfig": {"speechConfig": {}}}),
        ("tools", {"tools": [{"googleSearch": {}}]}),
        (
            "messages",
            {"contents": [{"role": "model", "parts": [{"executableCode": {}}, {"text": "a"}]}, {"parts": "hi"}]},
        ),
    ],
)
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
def test_what_others_have_no_place_for(dialect: ChatDialect, param: str, fields: dict[str, Any]) -> None:
    fields = {"contents": "hi", **fields}
    with pytest.raises(InvalidRequestError) as caught:
        from_gemini(dialect, **fields)
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert "hi" in json.dumps(from_gemini(dialect, drop=True, **fields))


# The next turn.


def test_signatures_of_a_stream_come_back_from_a_client_of_openai() -> None:
    pieces = [
        {"parts": [{"text": "h", "thought": True}]},
        {"parts": [{"text": "m", "thought": True, "thoughtSignature": "c2ln"}]},
        {"parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "Z29v"}]},
    ]
    decoder = GEMINI.event_decoder()
    groups = [
        decoder.decode(event)
        for content in pieces
        for event in SseParser().feed(
            b"data: " + json.dumps({"responseId": "r", "candidates": [{"content": content}]}).encode() + b"\n\n"
        )
    ]
    deltas = [
        json.loads(event.data)["choices"][0]["delta"]
        for event in SseParser().feed(streamed(OPENAI, groups))
        if event.data != b"[DONE]"
    ]
    answered = {
        "role": "assistant",
        "reasoning_content": "".join(each.get("reasoning_content", "") for each in deltas),
        "reasoning_details": [detail for each in deltas for detail in each.get("reasoning_details", [])],
        "tool_calls": [call for each in deltas for call in each.get("tool_calls", [])],
    }
    sent = to_gemini(OPENAI, messages=[{"role": "user", "content": "hi"}, answered])
    assert sent["contents"][1]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "call_r_0_0", "name": "f", "args": {}}, "thoughtSignature": "Z29v"},
    ]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "name", [name for name in OF_GEMINI if "-tool-call" in name or "parallel-tools" in name] or ["absent"]
)
def test_recorded_call_and_its_signature_come_back_from_the_next_turn(name: str, dialect: ChatDialect) -> None:
    events = [event for group in groups_of(GEMINI, recorded.load(name)) for event in group]
    told = fold(events).only
    answer = json.loads(dialect.encode_answer(events, SETTINGS))
    content = answer if dialect is ANTHROPIC else answer["choices"][0]["message"]
    sent = to_gemini(
        dialect,
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", **said_by(dialect, content)}],
    )
    again = GEMINI.decode_request(json.dumps(sent).encode(), "m").messages[1].content
    calls = [part for part in again if isinstance(part, ToolCall)]
    assert [(call.id, call.name, json.loads(call.arguments), call.signature) for call in calls] == [
        (call.id, call.name, json.loads(call.arguments), call.signature) for call in told.calls.values()
    ]
    assert not [part for part in again if isinstance(part, ReasoningPart)] or told.thoughts


def said_by(dialect: ChatDialect, answer: dict[str, Any]) -> dict[str, Any]:
    return {"content": answer["content"]} if dialect is ANTHROPIC else answer


def test_usage_of_gemini_for_clients_of_anthropic_is_counted_once() -> None:
    body = json.dumps(
        {
            "candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 3},
        }
    ).encode()
    events = GEMINI.decode_answer(body)
    assert fold(events).usages == [Usage(input_tokens=10, cached_input_tokens=4, output_tokens=3)]
    usage = json.loads(ANTHROPIC.encode_answer(events, SETTINGS))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (6, 4, 3)
    assert fold(events).only.finishes == [(FinishReason.STOP, None)]
