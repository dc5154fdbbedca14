"""OpenAI's formats as the data path relays them: when a stream can be committed to, and whether it has ended."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing.sse import ServerSentEvent, SseParser, encode_event
from gateway.schemas.dialect import EventKind
from gateway.schemas.table import OPENAI_CHAT, OPENAI_EMBEDDINGS, SCHEMAS
from gateway.types import Schema, Usage
from tests.support import recordings

CHAT = OPENAI_CHAT
TAIL = 4096


def chunk(**delta: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode()


def test_chat_and_embeddings_are_openais_for_all_who_are_not_of_another_family() -> None:
    for schema in (Schema.OPENAI, Schema.PASSTHROUGH):
        assert SCHEMAS[schema].chat[0] is OPENAI_CHAT
        assert SCHEMAS[schema].embeddings[0] is OPENAI_EMBEDDINGS
    assert OPENAI_CHAT.path("any", stream=True) == "/v1/chat/completions"
    assert OPENAI_EMBEDDINGS.path("any", stream=False) == "/v1/embeddings"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[],"usage":null,"prompt_filter_results":[{}]}',
        b'{"choices":[],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{}]}',
        b'{"choices":[{"delta":null,"finish_reason":null}]}',
        b'{"choices":[{"delta":{},"finish_reason":""}]}',
        b'{"error":null,"choices":[]}',
        chunk(role="assistant"),
        chunk(role="assistant", content=""),
        chunk(role="assistant", content=None, tool_calls=None, refusal=None),
        chunk(content=[]),
        chunk(tool_calls=[]),
        chunk(reasoning="", reasoning_content=""),
    ],
)
def test_preamble(data: bytes) -> None:
    assert CHAT.classify_event(data, "") is EventKind.PREAMBLE


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b'{"choices":[{"delta":{},"finish_reason":"stop"}]}',
        b'{"choices":[{"finish_reason":"content_filter"}]}',
        b'{"choices":[{"index":0,"delta":{}},{"index":1,"delta":{"content":"a"}}]}',
        chunk(content="a"),
        chunk(content=" "),
        chunk(content=[{"type": "thinking", "thinking": []}]),
        chunk(refusal="no"),
        chunk(reasoning="a"),
        chunk(reasoning_content="a"),
        chunk(tool_calls=[{"index": 0, "id": "c"}]),
        chunk(function_call={"name": "f"}),
        chunk(audio={"id": "a"}),
    ],
)
def test_content(data: bytes) -> None:
    assert CHAT.classify_event(data, "") is EventKind.CONTENT


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b'{"error":{"message":"no"}}', ""),
        (b'{"error":"no"}', ""),
        (b'{"error":{"message":"no"},"choices":[{"delta":{"content":"a"}}]}', ""),
        (b"anything", "error"),
        (b"", "error"),
    ],
)
def test_error(data: bytes, event: str) -> None:
    assert CHAT.classify_event(data, event) is EventKind.ERROR


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"<html>",
        b"[]",
        b"null",
        b'{"choices":{}}',
        b'{"choices":[5]}',
        b'{"choices":[{"delta":"a"}]}',
        b'{"choices":[{"finish_reason":5}]}',
        b'{"choices":[',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"usage":' + b"9" * 5000 + b"}",
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[DONE] ",
    ],
)
def test_what_is_not_of_this_dialect(data: bytes) -> None:
    with pytest.raises(ValueError):
        CHAT.classify_event(data, "")


@pytest.mark.parametrize(
    "tail",
    [
        b"data: [DONE]\n\n",
        b"data:[DONE]\n\n",
        b"data: {}\r\n\r\ndata: [DONE]\r\n\r\n",
        b"data: {}\r\rdata: [DONE]\r\r",
        b"data: [DONE]",
        b'data: {"choices":[{"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"finish_reason" : "stop"}]}\n\ndata: {"choices":[],"usage":{}}\n\n',
    ],
)
def test_complete_stream(tail: bytes) -> None:
    assert CHAT.is_complete(tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":""}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b'event: error\ndata: {"error":{"message":"no"}}\n\n',
        b": [DONE]\n\n",
    ],
)
def test_incomplete_stream(tail: bytes) -> None:
    assert not CHAT.is_complete(tail)


@given(
    st.sampled_from(["[DONE]", "data: [DONE]", '"finish_reason":"stop"', '\ndata: [DONE]\n\n"finish_reason":"stop"'])
)
def test_text_of_an_answer_cannot_look_like_its_end(text: str) -> None:
    assert not CHAT.is_complete(b"data: " + chunk(content=text) + b"\n\n")


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b"", None),
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', None),
        (b'data: {"choices":[],"usage":null}\n\ndata: [DONE]\n\n', None),
        (b'data: {"usage":{"prompt_tokens":5}}\n\ndata: [DONE]\n\n', Usage(input_tokens=5)),
        (b'data:{"usage":{"prompt_tokens":5}}\r\n\r\ndata: [DONE]\r\n\r\n', Usage(input_tokens=5)),
        (
            b'data: {"usage":{"prompt_tokens":5}}\n\ndata: {"usage":{"prompt_tokens":6}}\n\ndata: {"usage":null}\n\n',
            Usage(input_tokens=6),
        ),
        (b'","usage":{"prompt_tokens":1}}\n\ndata: {"usage":{"prompt_tokens":5}}\n\n', Usage(input_tokens=5)),
        (b'cut off: "usage":{"prompt_tokens":1}}\n\n', None),
        (b'data: {"usage":{"prompt_tokens":5}', None),
        (b"data: " + chunk(content='"usage":{"prompt_tokens":9}') + b"\n\n", None),
    ],
)
def test_usage_of_a_stream(tail: bytes, usage: Usage | None) -> None:
    assert CHAT.read_stream_usage(tail) == usage


def test_end_mark_has_no_model() -> None:
    assert CHAT.with_model(b"[DONE]", "m") == b"[DONE]"
    assert CHAT.with_model(b'{"model":"a"}', "m") == b'{"model":"m"}'


STREAMS = [name for name in recordings.names(["chat-completions"]) if "stream" in name or name == "absent"]
WHOLE = [name for name in recordings.names(["chat-completions", "embeddings"]) if "stream-" not in name]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream(name: str) -> None:
    recording = recordings.load(name)
    events = list(SseParser().feed(recording.answer))
    kinds = [CHAT.classify_event(event.data, event.event) for event in events]
    assert EventKind.CONTENT in kinds
    has_failed = "mid-stream-error" in name
    assert (EventKind.ERROR in kinds) == has_failed
    tail = recording.answer[-TAIL:]
    assert CHAT.is_complete(tail) != has_failed
    told = [json.loads(event.data).get("usage") for event in events if event.data.startswith(b"{")]
    counted = [usage for usage in told if usage]
    usage = CHAT.read_stream_usage(tail)
    assert (usage is not None) == bool(counted)
    if usage is not None:
        assert (usage.input_tokens, usage.output_tokens) == (
            counted[-1]["prompt_tokens"],
            counted[-1]["completion_tokens"],
        )


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream_is_committed_to_at_the_first_event_with_something_in_it(name: str) -> None:
    for event in events_of(name):
        kind = CHAT.classify_event(event.data, event.event)
        choices = json.loads(event.data)["choices"]
        says = [choice for choice in choices if choice["finish_reason"] or has_something(choice["delta"])]
        assert kind is (EventKind.CONTENT if says else EventKind.PREAMBLE)
        if says:
            return
    pytest.fail("no event has content")


def events_of(name: str) -> list[ServerSentEvent]:
    return [event for event in SseParser().feed(recordings.load(name).answer) if event.data]


def has_something(delta: dict[str, object]) -> bool:
    return any(value for name, value in delta.items() if name not in ("role", "channel"))


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream_under_another_name_differs_in_nothing_else(name: str) -> None:
    for event in events_of(name):
        if event.data == b"[DONE]" or event.event == "error":
            assert CHAT.with_model(event.data, "asked") == event.data
        else:
            renamed = encode_event(CHAT.with_model(event.data, "asked"), event.event)
            (again,) = SseParser().feed(renamed)
            assert json.loads(again.data) == {**json.loads(event.data), "model": "asked"}


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", WHOLE)
def test_recorded_answer(name: str) -> None:
    recording = recordings.load(name)
    answer = recording.json()
    if recording.status >= 400:
        assert CHAT.read_usage(recording.answer) is None
        assert CHAT.read_error(recording.answer) == answer["error"]["message"]
        return
    assert CHAT.read_error(recording.answer) is None
    usage = CHAT.read_usage(recording.answer)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (
        answer["usage"]["prompt_tokens"],
        answer["usage"].get("completion_tokens", 0),
    )
    assert json.loads(CHAT.with_model(recording.answer, "asked")) == {**answer, "model": "asked"}
