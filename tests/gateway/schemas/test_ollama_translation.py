"""Ollama behind clients of OpenAI and Anthropic, and in front of their backends: what must survive, both ways."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequestError
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.gemini.generate_content import GeminiGenerateContent
from gateway.schemas.ollama.dialects import OllamaChat
from gateway.schemas.openai.chat import OpenAIChat
from gateway.types import ChatEvent, RefusalDelta, TextDelta
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.dialect_streams import SETTINGS, through_stream, through_whole
from tests.gateway.schemas.folded_answers import Alternative, fold

OLLAMA = OllamaChat()
OPENAI = OpenAIChat()
ANTHROPIC = AnthropicMessages()
GEMINI = GeminiGenerateContent()

OF_OTHERS = [
    name
    for name in recorded.names("*/chat-completions/*", "anthropic/messages/*", "gemini/*enerateContent/*")
    if "error" not in name
] or ["absent"]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
others = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)


def to_ollama(dialect: ChatDialect, model: str = "qwen3", *, drop: bool = False, **fields: Any) -> Any:
    """What a backend of Ollama gets of a client's request."""
    body = json.dumps({"model": "asked", "max_tokens": 100, **fields}).encode()
    request = dialect.decode_request(body, "asked")
    return json.loads(OLLAMA.encode_request(request, model, stream=True, drop_unsupported=drop))


def from_ollama(dialect: ChatDialect, *, drop: bool = False, **fields: Any) -> Any:
    """What another backend gets of the request of a client of Ollama."""
    request = OLLAMA.decode_request(json.dumps({"model": "asked", **fields}).encode(), "asked")
    return json.loads(dialect.encode_request(request, "sent", stream=False, drop_unsupported=drop))


def groups_of(dialect: ChatDialect, exchange: recorded.Exchange) -> list[list[ChatEvent]]:
    """The events of a recorded answer, as they came together."""
    if not exchange.is_streaming:
        return [list(dialect.decode_answer(exchange.answer))]
    decoder, parser = dialect.event_decoder(), dialect.framing.parser()
    return [list(decoder.decode(event)) for event in parser.feed(exchange.answer)]


def calls_in(told: Alternative) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments or "{}")) for call in told.calls.values()]


@pytest.mark.component("recordings")
@others
@pytest.mark.parametrize("name", recorded.names("ollama/api-chat/*"))
def test_recorded_answer_of_ollama_for_other_clients(name: str, dialect: ChatDialect) -> None:
    groups = groups_of(OLLAMA, recorded.load(name))
    events = [event for group in groups for event in group]
    before = fold(events)
    for again in (through_stream(dialect, groups), through_whole(dialect, events)):
        assert fold(again).only == before.only
        assert fold(again).usages == before.usages


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", OF_OTHERS)
def test_recorded_answer_of_others_for_a_client_of_ollama(name: str) -> None:
    source: ChatDialect = OPENAI
    if name.startswith(("anthropic/", "gemini/")):
        source = ANTHROPIC if name.startswith("anthropic/") else GEMINI
    groups = groups_of(source, recorded.load(name))
    events = [event for group in groups for event in group]
    before = fold(events)
    for again in (through_stream(OLLAMA, groups), through_whole(OLLAMA, events)):
        after = fold(again)
        told = before.choices[0]
        words = [event.text for event in events if isinstance(event, TextDelta | RefusalDelta) and event.choice == 0]
        assert after.only.text == "".join(words)
        assert calls_in(after.only) == calls_in(told)
        assert "".join(each.text for each in after.only.thoughts) == "".join(each.text for each in told.thoughts)
        (usage,) = after.usages
        if before.usages:
            assert usage.input_tokens == before.usages[-1].input_tokens
            assert usage.output_tokens == before.usages[-1].output_tokens


@others
def test_conversation_of_a_client_of_ollama(dialect: ChatDialect) -> None:
    """A client of Ollama, another backend, and the way back: the conversation is the same."""
    fields: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "look", "images": ["iVBORw0KGgo="]},
            {
                "role": "assistant",
                "content": "so",
                "tool_calls": [
                    {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}},
                    {"id": "d", "function": {"name": "g", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "5", "tool_name": "f", "tool_call_id": "c"},
            {"role": "tool", "content": "6", "tool_name": "g", "tool_call_id": "d"},
            {"role": "user", "content": "and?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
        "options": {"temperature": 0.5, "top_p": 0.25, "stop": ["x"], "num_predict": 100},
    }
    back = to_ollama(dialect, **from_ollama(dialect, **fields))
    assert (back.pop("model"), back.pop("stream")) == ("sent", True)
    assert back == fields


@others
def test_results_without_ids_answer_their_calls_at_other_backends(dialect: ChatDialect) -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}] * 2
    results = [{"role": "tool", "content": "r", "tool_name": "f"}] * 2
    hi = {"role": "user", "content": "hi"}
    sent = json.dumps(from_ollama(dialect, messages=[hi, {"role": "assistant", "tool_calls": calls}, *results]))
    assert sent.count('"call_0"') == sent.count('"call_1"') == 2


def test_features_of_openai_for_ollama() -> None:
    sent = to_ollama(
        OPENAI,
        "gpt-oss:20b",
        messages=[{"role": "developer", "content": "s"}, {"role": "user", "content": "hi"}],
        seed=3,
        top_k=4,
        presence_penalty=0.5,
        logprobs=True,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
        reasoning_effort="low",
    )
    assert sent == {
        "model": "gpt-oss:20b",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
        "stream": True,
        "options": {"num_predict": 100, "seed": 3, "top_k": 4, "presence_penalty": 0.5},
        "format": SCHEMA,
        "think": "low",
        "logprobs": True,
    }


def test_thinking_between_anthropic_and_ollama() -> None:
    hi = {"role": "user", "content": "hi"}
    asked = to_ollama(ANTHROPIC, max_tokens=9000, thinking={"type": "enabled", "budget_tokens": 5000}, messages=[hi])
    assert asked["think"] is True
    line = {"message": {"content": "a", "thinking": "hm"}, "done": True, "prompt_eval_count": 1, "eval_count": 2}
    answer = json.loads(ANTHROPIC.encode_answer(OLLAMA.decode_answer(json.dumps(line).encode()), SETTINGS))
    assert [(block["type"], block.get("thinking")) for block in answer["content"]] == [
        ("thinking", "hm"),
        ("text", None),
    ]
    assert answer["usage"]["output_tokens"] == 2


@pytest.mark.parametrize(
    ("param", "fields"), [("keep_alive", {"keep_alive": "5m"}), ("options.num_ctx", {"options": {"num_ctx": 9}})]
)
@others
def test_what_others_have_no_place_for(dialect: ChatDialect, param: str, fields: dict[str, Any]) -> None:
    fields = {"messages": [{"role": "user", "content": "hi"}], **fields}
    with pytest.raises(InvalidRequestError) as caught:
        from_ollama(dialect, **fields)
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert "hi" in json.dumps(from_ollama(dialect, drop=True, **fields))
