"""OpenAI's chat completions: requests written field by field, and answers, recorded and made up, read without loss."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.framing.sse import SseParser
from gateway.schemas.openai.chat_answer import decode_events
from gateway.schemas.openai.chat_request_encoder import encode_request
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    FinishReason,
    ImagePart,
    JsonSchemaFormat,
    LogprobsDelta,
    Message,
    NamedTool,
    PlainFormat,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Role,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
    ToolResult,
    Usage,
    UsageReported,
)
from tests.support import recordings


@dataclass(slots=True)
class Alternative:
    """What one choice says in all."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    tokens: list[tuple[str, float, bytes]] = field(default_factory=list)
    finish: FinishReason | None = None

    def add_call(self, index: int, identifier: str, name: str, arguments: str) -> None:
        before = self.calls.get(index, ("", "", ""))
        self.calls[index] = (before[0] or identifier, before[1] or name, before[2] + arguments)


@dataclass(slots=True)
class Told:
    """What an answer says in all, however it came."""

    id: str = ""
    model: str = ""
    created: int = 0
    system_fingerprint: str = ""
    choices: dict[int, Alternative] = field(default_factory=dict)
    usage: Usage | None = None


def fold(events: Iterable[ChatEvent]) -> Told:
    told = Told()
    for event in events:
        match event:
            case AnswerStarted():
                told.id, told.model, told.created = event.id, event.model, event.created
                told.system_fingerprint = event.system_fingerprint
            case UsageReported(usage=usage):
                told.usage = usage
            case _:
                add(told.choices.setdefault(event.choice, Alternative()), event)
    return told


def add(choice: Alternative, event: ChatEvent) -> None:
    match event:
        case TextDelta(text=text):
            choice.text += text
        case ReasoningDelta(text=text):
            choice.reasoning += text
        case RefusalDelta(text=text):
            choice.refusal += text
        case ToolCallDelta():
            choice.add_call(event.index, event.id, event.name, event.arguments)
        case LogprobsDelta(tokens=tokens):
            choice.tokens += [(token.token, token.logprob, token.bytes) for token in tokens]
        case ChoiceFinished(reason=reason):
            choice.finish = reason


def decode_stream(stream: bytes) -> list[ChatEvent]:
    events: list[ChatEvent] = []
    for event in SseParser().feed(stream):
        if event.data:
            is_first = not any(isinstance(each, AnswerStarted) for each in events)
            events += decode_events(event.data, is_first=is_first)
    return events


def one(answer: object, *, is_first: bool = False) -> list[ChatEvent]:
    return list(decode_events(json.dumps(answer).encode(), is_first=is_first))


def delta(*, finish_reason: str | None = None, **fields: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


# Recordings, read a second time in the plainest way.


def read_plainly(answers: Sequence[Any]) -> Told:
    """The same, from the JSON of a whole answer or of all chunks."""
    told = Told()
    for answer in answers:
        told.id = told.id or answer["id"]
        told.model = told.model or answer["model"]
        told.created = told.created or answer["created"]
        told.system_fingerprint = told.system_fingerprint or answer.get("system_fingerprint") or ""
        if answer.get("usage"):
            told.usage = usage_of(answer["usage"])
        for choice in answer["choices"]:
            read_choice(told.choices.setdefault(choice["index"], Alternative()), choice)
    return told


def read_choice(choice: Alternative, written: Any) -> None:
    message = written.get("message") or written.get("delta") or {}
    choice.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
    content = message.get("content") or ""
    if isinstance(content, str):
        choice.text += content
    else:
        choice.text += "".join(part["text"] for part in content if part["type"] == "text")
        thoughts = [part["thinking"] for part in content if part["type"] == "thinking"]
        choice.reasoning += "".join(part["text"] for thought in thoughts for part in thought)
    choice.refusal += message.get("refusal") or ""
    for position, call in enumerate(message.get("tool_calls") or []):
        index = position if "message" in written else call["index"]
        function = call["function"]
        choice.add_call(index, call.get("id") or "", function.get("name") or "", function.get("arguments") or "")
    if message.get("function_call"):
        choice.add_call(0, "", message["function_call"]["name"], message["function_call"]["arguments"])
    for token in (written.get("logprobs") or {}).get("content") or []:
        choice.tokens.append((token["token"], token["logprob"], bytes(token["bytes"])))
    reason = written.get("finish_reason")
    if reason:
        choice.finish = FinishReason("tool_calls" if reason == "function_call" else reason)


def usage_of(usage: Any) -> Usage:
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cached_input_tokens=prompt.get("cached_tokens") or usage.get("num_cached_tokens") or 0,
        reasoning_tokens=completion.get("reasoning_tokens") or 0,
        cache_creation_tokens=prompt.get("cache_write_tokens") or 0,
        audio_input_tokens=prompt.get("audio_tokens") or 0,
        audio_output_tokens=completion.get("audio_tokens") or 0,
    )


ANSWERS = [name for name in recordings.names(["chat-completions"]) if "error" not in name]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answer_is_read_without_loss(name: str) -> None:
    recording = recordings.load(name)
    if recording.is_streaming:
        chunks = [event.data for event in SseParser().feed(recording.answer) if event.data]
        assert chunks.pop() == b"[DONE]"
        expected = read_plainly([json.loads(chunk) for chunk in chunks])
        assert fold(decode_stream(recording.answer)) == expected
    else:
        expected = read_plainly([recording.json()])
        assert fold(decode_events(recording.answer, is_first=True)) == expected
    assert all(choice.finish for choice in expected.choices.values())
    assert expected.choices


@pytest.mark.component("recordings")
def test_recorded_error_within_a_stream_ends_it() -> None:
    recording = recordings.load("groq/chat-completions/stream-mid-stream-error-tools-reasoning")
    events = [event.data for event in SseParser().feed(recording.answer) if event.data]
    assert fold(event for data in events[:-1] for event in decode_events(data, is_first=False)).choices[0].reasoning
    with pytest.raises(BadGatewayError, match="the upstream failed: Tool call validation failed"):
        list(decode_events(events[-1], is_first=False))


# Answers made up.


@given(
    texts=st.lists(st.text(min_size=1, max_size=5), max_size=4),
    thoughts=st.lists(st.text(min_size=1, max_size=5), max_size=3),
    arguments=st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=3), max_size=3),
    finish=st.sampled_from(FinishReason),
    prompt=st.integers(0, 10**6),
)
def test_stream_says_what_the_whole_answer_says(
    texts: list[str], thoughts: list[str], arguments: list[list[str]], finish: FinishReason, prompt: int
) -> None:
    head = {"id": "c-1", "created": 5, "model": "m"}
    usage = {"usage": {"prompt_tokens": prompt, "completion_tokens": 3}}
    calls = [
        {"id": f"call-{index}", "function": {"name": "f", "arguments": "".join(pieces)}}
        for index, pieces in enumerate(arguments)
    ]
    message = {"content": "".join(texts), "reasoning_content": "".join(thoughts), "tool_calls": calls}
    whole = {**head, "choices": [{"index": 0, "message": message, "finish_reason": finish.value}], **usage}
    chunks = [delta(role="assistant", content="")]
    chunks += [delta(reasoning_content=thought) for thought in thoughts]
    chunks += [delta(content=text) for text in texts]
    for index, pieces in enumerate(arguments):
        first, *rest = ({"index": index, "function": {"arguments": piece}} for piece in pieces)
        first["id"] = f"call-{index}"
        first["function"] = {"name": "f", "arguments": pieces[0]}
        chunks += [delta(tool_calls=[call]) for call in (first, *rest)]
    chunks += [delta(finish_reason=finish.value), {"choices": [], **usage}]
    events = [event for number, chunk in enumerate(chunks) for event in one({**head, **chunk}, is_first=number == 0)]
    assert fold(events) == fold(one(whole, is_first=True))


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"choices": []}, [], id="no choices"),
        pytest.param({"choices": None, "usage": None}, [], id="nulls"),
        pytest.param({"choices": [{}]}, [], id="empty choice"),
        pytest.param({"choices": [{"delta": None}]}, [], id="null delta"),
        pytest.param(delta(role="assistant"), [], id="role alone"),
        pytest.param(delta(content=""), [], id="empty text"),
        pytest.param(delta(content=None, tool_calls=None, refusal=None), [], id="null fields"),
        pytest.param({"choices": [{"delta": {"content": "a"}}]}, [TextDelta(choice=0, text="a")], id="no index"),
        pytest.param({"choices": [{"index": 3, "delta": {"content": "a"}}]}, [TextDelta(choice=3, text="a")], id="n"),
        pytest.param(delta(refusal="no"), [RefusalDelta(choice=0, text="no")], id="refusal"),
        pytest.param(delta(reasoning="a"), [ReasoningDelta(choice=0, text="a")], id="reasoning"),
        pytest.param(delta(reasoning_content="a"), [ReasoningDelta(choice=0, text="a")], id="reasoning_content"),
        pytest.param(
            delta(reasoning_content="a", reasoning="a"), [ReasoningDelta(choice=0, text="a")], id="both are one"
        ),
        pytest.param(
            delta(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            [TextDelta(choice=0, text="a"), TextDelta(choice=0, text="b")],
            id="content in parts",
        ),
        pytest.param(
            delta(
                content=[
                    {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
                    {"type": "text", "text": "a"},
                    {"type": "reference", "reference_ids": [1]},
                ]
            ),
            [ReasoningDelta(choice=0, text="hm"), TextDelta(choice=0, text="a")],
            id="thinking in content",
        ),
        pytest.param(
            delta(content=[{"type": "thinking", "thinking": "hm"}]),
            [ReasoningDelta(choice=0, text="hm")],
            id="thinking as text",
        ),
        pytest.param(
            delta(tool_calls=[{"index": 1, "id": "c", "function": {"name": "f", "arguments": ""}}]),
            [ToolCallDelta(choice=0, index=1, id="c", name="f")],
            id="call begins",
        ),
        pytest.param(
            delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
            [ToolCallDelta(choice=0, index=0, arguments='{"a"')],
            id="call goes on",
        ),
        pytest.param(
            delta(tool_calls=[{"id": "a"}, {"id": "b", "function": None}]),
            [ToolCallDelta(choice=0, index=0, id="a"), ToolCallDelta(choice=0, index=1, id="b")],
            id="calls without index",
        ),
        pytest.param(
            {"choices": [{"message": {"tool_calls": [{"index": 0, "id": "a"}, {"index": 0, "id": "b"}]}}]},
            [ToolCallDelta(choice=0, index=0, id="a"), ToolCallDelta(choice=0, index=1, id="b")],
            id="whole calls all numbered 0",
        ),
        pytest.param(
            delta(function_call={"name": "f", "arguments": "{}"}),
            [ToolCallDelta(choice=0, index=0, name="f", arguments="{}")],
            id="function_call",
        ),
        pytest.param(
            delta(finish_reason="function_call"),
            [ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS)],
            id="finished by function_call",
        ),
        pytest.param(delta(finish_reason="bored"), [ChoiceFinished(choice=0, reason=None)], id="unknown finish reason"),
        pytest.param(delta(finish_reason=""), [], id="empty finish reason"),
        pytest.param(
            {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
            [
                TextDelta(choice=0, text="a"),
                ChoiceFinished(choice=0, reason=FinishReason.STOP),
                UsageReported(usage=Usage(input_tokens=1)),
            ],
            id="all in one chunk",
        ),
        pytest.param({"choices": [{"logprobs": None}]}, [], id="no logprobs"),
        pytest.param({"choices": [{"logprobs": {"content": None, "refusal": None}}]}, [], id="null logprobs"),
        pytest.param(
            {
                "choices": [
                    {
                        "logprobs": {
                            "content": [
                                {
                                    "token": "a",
                                    "logprob": -0.5,
                                    "bytes": [97],
                                    "top_logprobs": [{"token": "b", "logprob": -2, "bytes": None}],
                                }
                            ]
                        }
                    }
                ]
            },
            [
                LogprobsDelta(
                    choice=0,
                    tokens=(
                        TokenLogprob(token="a", logprob=-0.5, bytes=b"a", top=(TokenLogprob(token="b", logprob=-2.0),)),
                    ),
                )
            ],
            id="logprobs",
        ),
    ],
)
def test_odd_answer(answer: object, events: list[ChatEvent]) -> None:
    assert one(answer) == events


def test_end_mark_is_no_event() -> None:
    assert list(decode_events(b"[DONE]", is_first=False)) == []


@pytest.mark.parametrize("created", [0, None, -1, 1e300])
def test_answer_without_a_usable_time_was_made_now(created: float | None) -> None:
    (started,) = one({"id": "a", "model": "m", "created": created}, is_first=True)
    assert isinstance(started, AnswerStarted)
    assert 1_700_000_000 < started.created < 2**40


def test_chunk_before_the_first_does_not_start_the_answer() -> None:
    assert one({"id": "", "model": "", "choices": [], "prompt_filter_results": []}, is_first=True) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<html>502 Bad Gateway</html>",
        b"[]",
        b"null",
        b'"text"',
        b'{"choices":{}}',
        b'{"choices":[1]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"content":[5]}}]}',
        b'{"choices":[{"index":-1,"delta":{"content":"a"}}]}',
        b'{"choices":[{"index":4294967296}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":-1}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":1000000000}]}}]}',
        b'{"choices":[{"logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[256]}]}}]}',
        b'{"choices":[{"logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[-1]}]}}]}',
        b'{"choices":[',
        b'{"choices":[]} and more',
        b'{"id":"\xff"}',
        b'{"id":"\\ud800"}',
        b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(data: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood") as caught:
        list(decode_events(data, is_first=True))
    assert caught.value.reason == "UPSTREAM_MALFORMED"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"message": "overloaded", "type": "x"}, "the upstream failed: overloaded"),
        ("overloaded", "the upstream failed: overloaded"),
        ({"code": 500}, "the upstream failed"),
        ({"message": {"detail": []}}, "the upstream failed"),
        (500, "the upstream failed"),
        ([], "the upstream failed"),
    ],
)
def test_error_in_a_successful_answer(error: object, message: str) -> None:
    with pytest.raises(BadGatewayError) as caught:
        one({"error": error})
    assert (str(caught.value), caught.value.reason) == (message, "UPSTREAM_FAILED")


def test_null_error_is_none() -> None:
    assert one({"error": None, **delta(content="a")}) == [TextDelta(choice=0, text="a")]


# Requests.

HI = Message(role=Role.USER, content=(TextPart(text="hi"),))


def encoded(*, stream: bool = False, messages: Sequence[Message] = (HI,), **fields: Any) -> Any:
    request = ChatRequest(model="asked", messages=tuple(messages), **fields)
    return json.loads(encode_request(request, "sent", stream=stream))


def test_only_what_is_given_is_sent() -> None:
    assert encoded() == {"model": "sent", "messages": [{"role": "user", "content": "hi"}]}


def test_stream_is_asked_to_end_with_its_usage() -> None:
    assert encoded(stream=True) == {**encoded(), "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"stop": ("a",)}, {"stop": ["a"]}),
        ({"n": 2}, {"n": 2}),
        ({"seed": -1}, {"seed": -1}),
        ({"seed": 0}, {"seed": 0}),
        ({"presence_penalty": 0.0, "frequency_penalty": -2.0}, {"presence_penalty": 0.0, "frequency_penalty": -2.0}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"user": "u"}, {"user": "u"}),
        ({"tools": (Tool(name="f"),)}, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (
            {"tools": (Tool(name="f", description="d", parameters={"type": "object"}, strict=False),)},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "f",
                            "description": "d",
                            "parameters": {"type": "object"},
                            "strict": False,
                        },
                    }
                ]
            },
        ),
        ({"tool_choice": ToolMode.REQUIRED}, {"tool_choice": "required"}),
        ({"tool_choice": NamedTool(name="f")}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"response_format": PlainFormat.TEXT}, {"response_format": {"type": "text"}}),
        ({"response_format": PlainFormat.JSON_OBJECT}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": JsonSchemaFormat(name="s", schema={})},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}},
        ),
        (
            {"response_format": JsonSchemaFormat(name="s", schema={"a": 1}, description="d", strict=True)},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"a": 1}, "description": "d", "strict": True},
                }
            },
        ),
        (
            {"extra": {"min_p": 0.5, "chat_template_kwargs": {"a": None}}},
            {"min_p": 0.5, "chat_template_kwargs": {"a": None}},
        ),
    ],
)
def test_field_is_sent(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert encoded(**fields) == {**encoded(), **sent}


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (Message(role=Role.DEVELOPER, content=(TextPart(text=""),)), {"role": "developer", "content": ""}),
        (
            Message(role=Role.USER, content=(TextPart(text="a"), TextPart(text="b")), name="ann"),
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "name": "ann",
            },
        ),
        (
            Message(role=Role.USER, content=(ImagePart(url="https://x/y"), ImagePart(url="data:", detail="low"))),
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://x/y"}},
                    {"type": "image_url", "image_url": {"url": "data:", "detail": "low"}},
                ],
            },
        ),
        (
            Message(role=Role.ASSISTANT, content=(ToolCall(id="c", name="f", arguments="{}"),)),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
        (
            Message(role=Role.ASSISTANT, content=(ReasoningPart(text="hm"), RefusalPart(text="no"))),
            {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"},
        ),
        (
            Message(role=Role.TOOL, content=(ToolResult(call_id="c", content=(TextPart(text="5"),)),)),
            {"role": "tool", "content": "5", "tool_call_id": "c"},
        ),
    ],
)
def test_message_is_sent(message: Message, sent: dict[str, Any]) -> None:
    assert encoded(messages=[HI, message])["messages"] == [{"role": "user", "content": "hi"}, sent]


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "logprobs",
        "user",
        "Max_Tokens",
    ],
)
def test_extra_field_with_a_place_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"'{name}' has a field of its own") as caught:
        encoded(extra={name: 1})
    assert caught.value.param == f"extra.{name}"
