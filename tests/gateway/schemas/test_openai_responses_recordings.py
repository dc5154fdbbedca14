"""Recorded requests and answers of OpenAI's responses: read as they say, written again without loss, and translated."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.framing.sse import SseParser
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.table import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from gateway.types import (
    ChatEvent,
    Citation,
    FinishReason,
    Message,
    OpaquePart,
    OpaqueTool,
    ReasoningPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    Usage,
)
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold
from tests.support import recordings
from tests.support.recordings import Recording

NAMES = recordings.names(["responses"])
ANSWERED = [name for name in NAMES if "error-" not in name]
REFUSED = [name for name in NAMES if "error-" in name or name == "absent"]
# OpenAI has the rest of this conversation.
STORED = "openai/responses/previous-response-tool-result-tool-call"
SETTINGS = AnswerSettings(model="m")

pytestmark = pytest.mark.component("recordings")


def decode_stream(dialect: ChatDialect, stream: bytes, size: int = 0) -> list[ChatEvent]:
    parser, decoder = dialect.framing.parser(), dialect.event_decoder()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)] if size else [stream]
    return [each for piece in pieces for event in parser.feed(piece) for each in decoder.decode(event)]


def decode(recording: Recording) -> list[ChatEvent]:
    if recording.is_streaming:
        return decode_stream(OPENAI_RESPONSES, recording.answer)
    return list(OPENAI_RESPONSES.decode_answer(recording.answer))


def encode_stream(dialect: ChatDialect, events: Sequence[ChatEvent]) -> bytes:
    encoder = dialect.event_encoder(SETTINGS)
    return b"".join(encoder.encode([event]) for event in events) + encoder.finish()


def response_of(recording: Recording) -> Any:
    """The answer as JSON: of a stream it stands in the last event."""
    if not recording.is_streaming:
        return recording.json()
    return json.loads([event.data for event in SseParser().feed(recording.answer) if event.data][-1])["response"]


# The same, read in the plainest way.


def texts_of(response: Any) -> list[Any]:
    return [part for item in response["output"] if item["type"] == "message" for part in item["content"]]


def calls_of(response: Any) -> list[tuple[str, str, str]]:
    items = [item for item in response["output"] if item["type"] == "function_call"]
    return [(item["call_id"], item["name"], item["arguments"]) for item in items]


def usage_of(told: Any) -> Usage:
    return Usage(
        input_tokens=told["input_tokens"],
        output_tokens=told["output_tokens"],
        cached_input_tokens=told["input_tokens_details"]["cached_tokens"],
        cache_creation_tokens=told["input_tokens_details"].get("cache_write_tokens", 0),
        reasoning_tokens=told["output_tokens_details"]["reasoning_tokens"],
    )


def said(choice: Alternative) -> tuple[object, ...]:
    return choice.text, choice.refusal, choice.calls, choice.finishes


def told(folded: Folded) -> tuple[object, ...]:
    (started,) = folded.starts
    return started.id, started.created, folded.usages, said(folded.only)


@pytest.mark.parametrize("name", ANSWERED)
def test_recorded_answer_is_read_as_it_says(name: str) -> None:
    recording = recordings.load(name)
    response = response_of(recording)
    folded = fold(decode(recording))
    choice = folded.only
    (started,) = folded.starts
    assert (started.id, started.model, started.created) == (response["id"], response["model"], response["created_at"])
    assert choice.text == "".join(part["text"] for part in texts_of(response))
    assert [(call.id, call.name, call.arguments) for _, call in sorted(choice.calls.items())] == calls_of(response)
    annotations = [each for part in texts_of(response) for each in part["annotations"]]
    assert [(citation.url, citation.title) for citation in choice.citations] == [
        (each["url"], each["title"]) for each in annotations
    ]
    thoughts = [item for item in response["output"] if item["type"] == "reasoning"]
    assert len(choice.thoughts) == len([item for item in thoughts if item.get("encrypted_content")])
    assert all(thought.signature for thought in choice.thoughts)
    known = ("message", "reasoning", "function_call")
    assert [part.value for part in choice.opaque] == [item for item in response["output"] if item["type"] not in known]
    reason = FinishReason.TOOL_CALLS if calls_of(response) else FinishReason.STOP
    assert choice.finishes == [(reason, None)]
    assert folded.usages == [usage_of(response["usage"])]


@pytest.mark.parametrize("name", ANSWERED)
def test_recorded_answer_is_written_again_without_loss(name: str) -> None:
    events = decode(recordings.load(name))
    wanted = fold(events)
    for again in (
        fold(OPENAI_RESPONSES.decode_answer(OPENAI_RESPONSES.encode_answer(events, SETTINGS))),
        fold(decode_stream(OPENAI_RESPONSES, encode_stream(OPENAI_RESPONSES, events))),
    ):
        assert again.only == wanted.only
        assert told(again) == told(wanted)


@pytest.mark.parametrize("name", ANSWERED)
def test_recorded_answer_is_translated_to_chat_and_back(name: str) -> None:
    events = decode(recordings.load(name))
    wanted = fold(events)
    chat = decode_stream(OPENAI_CHAT, encode_stream(OPENAI_CHAT, events))
    back = fold(decode_stream(OPENAI_RESPONSES, encode_stream(OPENAI_RESPONSES, chat)))
    assert told(back) == told(wanted)
    assert back.only.thoughts == wanted.only.thoughts
    assert [(each.url, each.title) for each in back.only.citations] == [
        (each.url, each.title) for each in wanted.only.citations
    ]


@pytest.mark.parametrize("name", [name for name in ANSWERED if "stream-" in name or name == "absent"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_recorded_stream_means_the_same_however_it_is_cut(name: str, size: int) -> None:
    recording = recordings.load(name)
    assert decode_stream(OPENAI_RESPONSES, recording.answer, size) == decode(recording)


@pytest.mark.parametrize("name", [name for name in ANSWERED if "stream-" in name or name == "absent"])
def test_recorded_stream_says_what_its_last_event_says(name: str) -> None:
    recording = recordings.load(name)
    body = json.dumps(response_of(recording)).encode()
    whole, streamed = fold(OPENAI_RESPONSES.decode_answer(body)), fold(decode(recording))
    assert told(whole) == told(streamed)
    assert whole.only.citations == streamed.only.citations
    assert len(whole.only.thoughts) == len(streamed.only.thoughts)


@pytest.mark.parametrize("name", REFUSED)
def test_recorded_error_is_no_answer(name: str) -> None:
    with pytest.raises(BadGatewayError):
        OPENAI_RESPONSES.decode_answer(recordings.load(name).answer)


def parts_of(item: Any) -> list[str]:
    content = item["content"]
    return [content] if isinstance(content, str) and content else [part.get("text") for part in content]


@pytest.mark.parametrize("name", [name for name in NAMES if name != STORED])
def test_recorded_request_is_read_as_it_says(name: str) -> None:
    body = recordings.load(name).request
    request = OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), body["model"])
    parts = [part for message in request.messages for part in message.content]
    given = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    system = [body["instructions"]] if body.get("instructions") else []
    spoken = [text for item in given if "content" in item for text in parts_of(item) if text is not None]
    assert [part.text for part in parts if isinstance(part, TextPart)] == system + spoken
    calls = [item for item in given if item.get("type") == "function_call"]
    assert [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ToolCall)] == [
        (item["call_id"], item["name"], item["arguments"]) for item in calls
    ]
    results = [item["call_id"] for item in given if item.get("type") == "function_call_output"]
    assert [part.call_id for part in parts if isinstance(part, ToolResult)] == results
    thoughts = [item for item in given if item.get("type") == "reasoning"]
    assert len([part for part in parts if isinstance(part, ReasoningPart) and part.signature]) == len(thoughts)
    assert [tool.name for tool in request.tools if not isinstance(tool, OpaqueTool)] == [
        tool["name"] for tool in body.get("tools", ()) if tool["type"] == "function"
    ]
    assert len(request.tools) == len(body.get("tools", ()))


@pytest.mark.parametrize("name", [name for name in NAMES if name != STORED])
def test_recorded_request_is_written_again_with_the_same_meaning(name: str) -> None:
    body = recordings.load(name).request
    request = OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), body["model"])
    again = OPENAI_RESPONSES.encode_request(request, body["model"], stream=True, drop_unsupported=False)
    assert OPENAI_RESPONSES.decode_request(again, body["model"]) == request
    thoughts = [item for item in json.loads(again)["input"] if item.get("type") == "reasoning"]
    given = body["input"] if isinstance(body["input"], list) else []
    assert thoughts == [item for item in given if item.get("type") == "reasoning"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != STORED])
def test_recorded_request_is_translated_to_chat_and_back(name: str) -> None:
    body = recordings.load(name).request
    request = OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), body["model"])
    chat = OPENAI_CHAT.encode_request(request, "m", stream=False, drop_unsupported=True)
    back = OPENAI_CHAT.decode_request(chat, "m")
    assert plain(back.messages) == plain(request.messages)
    assert back.tools == tuple(tool for tool in request.tools if not isinstance(tool, OpaqueTool))
    assert (back.tool_choice, back.response_format, back.reasoning) == (
        request.tool_choice,
        request.response_format,
        request.reasoning,
    )


def plain(messages: Sequence[Message]) -> list[tuple[Role, object]]:
    """What chat has, one part after another: there, thoughts and texts stand before calls, and pictures with texts."""
    rows: list[tuple[Role, object]] = []
    for message in messages:
        for part in message.content:
            match part:
                case TextPart(text=text):
                    rows.append((message.role, text))
                case ToolResult(call_id=call_id, content=content):
                    rows.append((message.role, (call_id, [each for each in content if isinstance(each, TextPart)])))
                case OpaquePart():
                    pass
                case _:
                    rows.append((message.role, part))
    return rows


def test_recorded_request_for_what_openai_has_stored_is_refused() -> None:
    body = recordings.load(STORED).request
    with pytest.raises(InvalidRequestError) as caught:
        OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), body["model"])
    assert caught.value.param == "previous_response_id"


def test_recorded_citation_keeps_its_place_in_the_text() -> None:
    name = next(name for name in NAMES if "citations" in name or name == "absent")
    (citation,) = fold(decode(recordings.load(name))).only.citations
    assert citation == Citation(url=citation.url, title=citation.title, extra={"start_index": 94, "end_index": 179})


# It was asked without `alt=sse`, and is an array.
ARRAY = "gemini/streamGenerateContent/reasoning"
THINKING = {
    name: dialect
    for api, dialect in (
        ("messages", ANTHROPIC_MESSAGES),
        ("generateContent", GEMINI),
        ("streamGenerateContent", GEMINI),
    )
    for name in recordings.names([api])
    if ("reasoning" in name and name.startswith(("anthropic/", "gemini/")) and name != ARRAY) or name == "absent"
}


@pytest.mark.parametrize("name", THINKING)
def test_thoughts_of_other_backends_come_back_to_them_through_a_client_of_responses(name: str) -> None:
    dialect, recording = THINKING[name], recordings.load(name)
    if recording.is_streaming:
        events = decode_stream(dialect, recording.answer)
    else:
        events = list(dialect.decode_answer(recording.answer))
    wanted = fold(events).only
    last = [event.data for event in SseParser().feed(encode_stream(OPENAI_RESPONSES, events)) if event.data][-1]
    body = {"input": [{"role": "user", "content": "hi"}, *json.loads(last)["response"]["output"]]}
    request = OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), "m")
    # To the backend and read there.
    again = dialect.decode_request(dialect.encode_request(request, "m", stream=False, drop_unsupported=False), "m")
    parts = [part for message in again.messages[1:] for part in message.content]
    thoughts = [part for part in parts if isinstance(part, ReasoningPart)]
    assert [part.signature for part in thoughts if part.signature] == [
        part.signature for part in wanted.thoughts if part.signature
    ]
    assert [part.redacted for part in thoughts if part.redacted] == [
        part.redacted for part in wanted.thoughts if part.redacted
    ]
    assert [part.signature for part in parts if isinstance(part, ToolCall)] == [
        call.signature for _, call in sorted(wanted.calls.items())
    ]
