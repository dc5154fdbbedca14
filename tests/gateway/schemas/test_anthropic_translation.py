"""Between OpenAI's chat completions and Anthropic's messages: requests and answers, feature by feature, both ways."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.framing.sse import SseParser
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.openai.chat import OpenAIChat
from gateway.types import ChatEvent, ChoiceFinished, Citation, FinishReason, RefusalDelta, TextDelta, ToolCall
from tests.gateway.schemas import anthropic_recordings as recorded
from tests.gateway.schemas.chat_event_strategies import answers
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold
from tests.support import recordings

ANTHROPIC = AnthropicMessages()
OPENAI = OpenAIChat()
SETTINGS = AnswerSettings(model="asked")
HI = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CACHED = {"cache_control": {"type": "ephemeral"}}


def translate(source: ChatDialect, target: ChatDialect, fields: dict[str, Any], *, drop: bool = False) -> Any:
    """The request in the other dialect, for a model of Anthropic's that thinks by a budget."""
    canonical = source.decode_request(json.dumps(fields).encode(), "asked")
    return json.loads(target.encode_request(canonical, "claude-sonnet-4-5", stream=False, drop_unsupported=drop))


def to_anthropic(fields: dict[str, Any], *, drop: bool = False) -> Any:
    return translate(OPENAI, ANTHROPIC, {"model": "m", "messages": [HI], **fields}, drop=drop)


def to_openai(fields: dict[str, Any], *, drop: bool = False) -> Any:
    return translate(ANTHROPIC, OPENAI, {"max_tokens": 9, "messages": [HI], **fields}, drop=drop)


# Requests.


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}, **CACHED}
                ]
            },
            {"tools": [{"name": "f", "input_schema": SCHEMA, "strict": True, **CACHED}]},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
            {"tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"}},
        ),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": False,
            },
            {
                "tools": [{"name": "f", "input_schema": {"type": "object"}}],
                "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            },
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ],
)
def test_field_for_anthropic(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert to_anthropic(fields) == {**to_anthropic({}), **sent}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
        ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        (
            {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}},
            {
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
                "tool_choice": "required",
            },
        ),
        (
            {
                "tools": [{"name": "f", "input_schema": SCHEMA}],
                "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            },
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": False,
            },
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ],
)
def test_field_for_openai(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert to_openai(fields) == {**to_openai({}), **sent}


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("n", {"n": 2}),
        ("seed", {"seed": 1}),
        ("presence_penalty", {"presence_penalty": 1.0}),
        ("frequency_penalty", {"frequency_penalty": 1.0}),
        ("top_logprobs", {"logprobs": True}),
        ("metadata", {"metadata": {"a": "b"}}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("logit_bias", {"logit_bias": {"50256": -100}}),
        ("tools", {"tools": [{"type": "web_search"}]}),
        ("messages", {"messages": [{**HI, "name": "ann"}]}),
    ],
)
def test_what_anthropic_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_anthropic(fields)
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert to_anthropic(fields, drop=True) == to_anthropic({})


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("tools", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("service_tier", {"service_tier": "standard_only"}),
        ("cache_control", CACHED),
        ("output_config", {"output_config": {"task_budget": {"total": 5}}}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}, HI]}),
    ],
)
def test_what_openai_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        to_openai(fields)
    assert (caught.value.param, caught.value.reason) == (param, "UNSUPPORTED_FIELD")
    assert "hi" in json.dumps(to_openai(fields, drop=True))


def test_detail_of_a_tool_is_left_out_without_the_tool() -> None:
    fields = {"tools": [{"name": "f", "input_schema": SCHEMA, "defer_loading": True}]}
    with pytest.raises(InvalidRequestError) as caught:
        to_openai(fields)
    assert caught.value.param == "tools.f.defer_loading"
    assert [tool["function"]["name"] for tool in to_openai(fields, drop=True)["tools"]] == ["f"]


CONVERSATION_OF_OPENAI: list[dict[str, Any]] = [
    {"role": "system", "content": "be brief"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look", **CACHED},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image_url", "image_url": {"url": "https://x/y"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "n.pdf"}},
        ],
    },
    {
        "role": "assistant",
        "content": "so",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "s"},
            {"type": "reasoning.encrypted", "data": "x"},
        ],
        "tool_calls": [
            {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "u", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "t", "content": "5"},
    {"role": "tool", "tool_call_id": "u", "content": [{"type": "text", "text": "6"}]},
    {"role": "user", "content": "and?"},
]

CONVERSATION_OF_ANTHROPIC: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look", **CACHED},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "n.pdf",
            },
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "u", "name": "g", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "5"},
            {"type": "tool_result", "tool_use_id": "u", "content": "6"},
            {"type": "text", "text": "and?"},
        ],
    },
]


def test_conversation_for_anthropic() -> None:
    sent = to_anthropic({"messages": CONVERSATION_OF_OPENAI})
    assert sent["system"] == "be brief"
    assert sent["messages"] == CONVERSATION_OF_ANTHROPIC


def test_conversation_for_openai() -> None:
    sent = to_openai({"system": "be brief", "messages": CONVERSATION_OF_ANTHROPIC})
    first, second, third, *rest = sent["messages"]
    assert first == CONVERSATION_OF_OPENAI[0]
    assert [part["type"] for part in second["content"]] == ["text", "image_url", "image_url", "file"]
    assert third["reasoning_details"] == CONVERSATION_OF_OPENAI[2]["reasoning_details"]
    assert [(call["id"], call["function"]) for call in third["tool_calls"]] == [
        ("t", {"name": "f", "arguments": '{"a":1}'}),
        ("u", {"name": "g", "arguments": "{}"}),
    ]
    assert [(message["role"], message["content"]) for message in rest] == [
        ("tool", "5"),
        ("tool", "6"),
        ("user", "and?"),
    ]


def test_sound_is_refused_by_anthropic() -> None:
    content = [
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "text", "text": "hi"},
    ]
    with pytest.raises(InvalidRequestError, match="sound"):
        to_anthropic({"messages": [{"role": "user", "content": content}]})


def test_functions_of_the_oldest_kind() -> None:
    messages = [
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "5"},
    ]
    sent = to_anthropic({"messages": messages, "functions": [{"name": "f"}], "function_call": {"name": "f"}})
    (called,), (answered,) = (message["content"] for message in sent["messages"][1:])
    assert called["id"] == answered["tool_use_id"]
    assert sent["tool_choice"] == {"type": "tool", "name": "f"}


# Answers.


def decoded(dialect: ChatDialect, raw: bytes) -> list[ChatEvent]:
    decoder = dialect.event_decoder()
    return [each for event in SseParser().feed(raw) for each in decoder.decode(event)]


def streamed(dialect: ChatDialect, groups: Iterable[Sequence[ChatEvent]]) -> bytes:
    encoder = dialect.event_encoder(SETTINGS)
    return b"".join(encoder.encode(group) for group in groups) + encoder.finish()


def as_openai_says_it(folded: Folded) -> Alternative:
    """What is left of Anthropic's answer: nothing of what it ran itself, of sources the address and the title."""
    said = folded.only
    return replace(
        said,
        opaque=[],
        citations=[source_of(citation) for citation in said.citations],
        finishes=[(reason or FinishReason.STOP, None) for reason, _ in said.finishes],
        calls={index: replace(call, signature=None) for index, call in said.calls.items()},
    )


def source_of(citation: Citation) -> Citation:
    extra = {name: value for name, value in (citation.extra or {}).items() if name in ("start_index", "end_index")}
    return Citation(url=citation.url, title=citation.title, extra=extra or None)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_of_anthropic_for_a_client_of_openai(name: str) -> None:
    decoder = ANTHROPIC.event_decoder()
    groups = [list(decoder.decode(event)) for event in recorded.load(name).events]
    raw = streamed(OPENAI, groups)
    before, after = fold(event for group in groups for event in group), fold(decoded(OPENAI, raw))
    assert after.only == as_openai_says_it(before)
    assert after.usages == before.usages
    assert raw.endswith(b"data: [DONE]\n\n")


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer_of_anthropic_for_a_client_of_openai(name: str) -> None:
    before = ANTHROPIC.decode_answer(recorded.load(name).body)
    after = OPENAI.decode_answer(OPENAI.encode_answer(before, SETTINGS))
    assert fold(after).only == as_openai_says_it(fold(before))
    assert fold(after).usages == fold(before).usages


def as_anthropic_says_it(events: Sequence[ChatEvent]) -> Alternative:
    """What is left of OpenAI's answer: one alternative, a refusal as text, no probabilities, an object of arguments."""
    said = fold(event for event in events if getattr(event, "choice", 0) == 0).only
    words = [event.text for event in events if isinstance(event, TextDelta | RefusalDelta) and event.choice == 0]
    ((reason, _),) = said.finishes
    if reason in (None, FinishReason.STOP):
        reason = FinishReason.TOOL_CALLS if said.calls else FinishReason.STOP
        if said.refusal and not said.calls:
            reason = FinishReason.CONTENT_FILTER
    return replace(
        said,
        text="".join(words),
        refusal="",
        logprobs=[],
        citations=[Citation(url=each.url, title=each.title) for each in said.citations],
        finishes=[(reason, None)],
        calls={number: comparable_call(call) for number, call in enumerate(said.calls.values())},
    )


def comparable_call(call: ToolCall) -> ToolCall:
    return replace(call, id=call.id or "made", arguments=json.dumps(json.loads(call.arguments or "{}")))


def as_read_again(events: Sequence[ChatEvent]) -> Alternative:
    said = fold(events).only
    return replace(
        said,
        citations=[Citation(url=each.url, title=each.title) for each in said.citations],
        calls={
            number: comparable_call(replace(call, id="" if call.id.startswith("toolu_") else call.id))
            for number, call in said.calls.items()
        },
    )


OF_OPENAI = [name for name in recordings.names(["chat-completions"]) if "error" not in name]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", OF_OPENAI)
def test_recorded_answer_of_openai_for_a_client_of_anthropic(name: str) -> None:
    recording = recordings.load(name)
    if recording.is_streaming:
        decoder = OPENAI.event_decoder()
        groups = [list(decoder.decode(event)) for event in SseParser().feed(recording.answer)]
        before = [event for group in groups for event in group]
        after = decoded(ANTHROPIC, streamed(ANTHROPIC, groups))
    else:
        before = list(OPENAI.decode_answer(recording.answer))
        after = list(ANTHROPIC.decode_answer(ANTHROPIC.encode_answer(before, SETTINGS)))
    assert as_read_again(after) == as_anthropic_says_it(before)
    if fold(before).usages:
        # Sound has no count of its own here.
        (usage,) = fold(after).usages
        assert usage == replace(fold(before).usages[-1], audio_input_tokens=0, audio_output_tokens=0)


@given(answers())
def test_any_answer_survives_the_way_through_both(events: list[ChatEvent]) -> None:
    through_openai = decoded(OPENAI, streamed(OPENAI, [[event] for event in events]))
    after = decoded(ANTHROPIC, streamed(ANTHROPIC, [[event] for event in through_openai]))
    expected = as_anthropic_says_it(through_openai)
    assert as_read_again(after) == expected


@given(st.text(min_size=1, max_size=5), st.sampled_from(["overloaded_error", "api_error"]))
def test_error_within_a_stream_stays_one(message: str, kind: str) -> None:
    data = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    with pytest.raises(BadGatewayError) as caught:
        decoded(ANTHROPIC, b"event: error\ndata: " + data + b"\n\n")
    assert caught.value.message == f"the upstream failed: {message}"


def test_signature_of_a_call_goes_to_a_client_of_anthropic_and_back_to_its_backend() -> None:
    call = {
        "id": "t",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "sig="}},
    }
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}]}
    events = decoded(OPENAI, b"data: " + json.dumps(chunk).encode() + b"\n\n")
    answer = json.loads(ANTHROPIC.encode_answer([*events, ChoiceFinished(choice=0, reason=None)], SETTINGS))
    sent = to_openai({"messages": [HI, {"role": "assistant", "content": answer["content"]}]})
    (again,) = sent["messages"][1]["tool_calls"]
    assert again == {"type": "function", **call}
