"""OpenAI's responses as the data path relays them: when a stream can be committed to, and whether it has ended."""

import json
from typing import Any

import pytest

from gateway.config.snapshot import Failure
from gateway.framing.sse import SseParser, encode_event
from gateway.listeners.surfaces import find_surface
from gateway.schemas.dialect import EventKind
from gateway.schemas.table import OPENAI_CHAT, OPENAI_ITSELF, OPENAI_RESPONSES, SCHEMAS
from gateway.types import Schema, Usage
from tests.support import recordings

DIALECT = OPENAI_RESPONSES
TAIL = DIALECT.tail_bytes

NAMES = recordings.names(["responses"])
STREAMS = [name for name in NAMES if "stream-" in name or name == "absent"]
WHOLE = [name for name in NAMES if "stream-" not in name]


def event(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "sequence_number": 3, **fields}).encode()


def last_event(kind: str = "response.completed", *, instructions: str = "", **usage: object) -> bytes:
    response = {
        "id": "r",
        "status": "x",
        "instructions": instructions,
        "model": "m",
        "usage": usage or None,
        "user": None,
    }
    return encode_event(event(kind, response=response), kind)


def test_responses_are_a_dialect_of_openais_after_chat() -> None:
    for family in (OPENAI_ITSELF, SCHEMAS[Schema.PASSTHROUGH]):
        assert family.chat[:2] == (OPENAI_CHAT, OPENAI_RESPONSES)
    assert OPENAI_RESPONSES not in SCHEMAS[Schema.OPENAI].chat
    assert DIALECT.path("any", stream=True) == "/v1/responses"


def test_responses_have_a_surface() -> None:
    surface = find_surface("/v1/responses")
    assert surface is not None
    assert surface.dialect is OPENAI_RESPONSES
    head = surface.read_head("/v1/responses", {}, b'{"model":"m","input":"hi","stream":true}')
    assert (head.model, head.is_streaming, head.includes_usage) == ("m", True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        event("response.created", response={}),
        event("response.in_progress", response={}),
        event("response.queued", response={}),
        event("response.output_item.added", item={"type": "message"}),
        event("response.output_item.added", item={"type": "reasoning"}),
        event("response.content_part.added", part={}),
        event("response.output_text.delta", delta=""),
        event("response.web_search_call.in_progress"),
        event("response.new_thing", item=None, error=None),
        event("keepalive"),
    ],
)
def test_preamble(data: bytes) -> None:
    assert DIALECT.classify_event(data, "") is EventKind.PREAMBLE


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        event("response.output_text.delta", delta="a"),
        event("response.refusal.delta", delta="a"),
        event("response.reasoning_summary_text.delta", delta="a"),
        event("response.function_call_arguments.delta", delta="{"),
        event("response.output_item.added", item={"type": "function_call"}),
        event("response.output_item.added", item={"type": "web_search_call"}),
        event("response.output_item.done", item={"type": "reasoning"}),
        event("response.output_text.annotation.added"),
        event("response.completed", response={}),
        event("response.incomplete", response={}),
    ],
)
def test_content(data: bytes) -> None:
    assert DIALECT.classify_event(data, "") is EventKind.CONTENT


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (event("error", message="no"), ""),
        (event("response.failed", response={"error": {"code": "server_error"}}), ""),
        (b'{"error":{"message":"no"}}', ""),
        (b"anything", "error"),
    ],
)
def test_error(data: bytes, name: str) -> None:
    assert DIALECT.classify_event(data, name) is EventKind.ERROR


@pytest.mark.parametrize(
    "data", [b"{}", b"hello", b"[]", b"null", b'{"type":5}', b'{"type":"x"', b'{"type":"x","item":5}']
)
def test_what_is_not_of_this_dialect(data: bytes) -> None:
    with pytest.raises(ValueError):
        DIALECT.classify_event(data, "")


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
@pytest.mark.parametrize("is_named", [True, False])
def test_stream_is_complete_with_the_whole_answer(kind: str, is_named: bool) -> None:
    data = event(kind, response={"usage": None})
    assert DIALECT.is_complete(encode_event(b"{}") + encode_event(data, kind if is_named else ""))
    assert DIALECT.is_complete(encode_event(data) + b"data: [DONE]\n\n")
    assert DIALECT.is_complete(encode_event(data) + encode_event(event("keepalive")) + b": bye\n\n")
    assert DIALECT.is_complete(encode_event(data).replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        encode_event(event("response.created", response={"usage": None}), "response.created"),
        encode_event(event("response.output_item.done", item={"status": "completed"})),
        encode_event(event("error", message="no"), "error"),
        last_event(input_tokens=5)[:-10],
        b"event: response.completed\n",
        b"event: response.completed\ndata: ",
        encode_event(
            event("response.output_text.delta", delta='"type":"response.completed" event: response.completed')
        ),
        b": data: {}\n\n",
    ],
)
def test_incomplete_stream(tail: bytes) -> None:
    assert not DIALECT.is_complete(tail)


@pytest.mark.parametrize("size", [100, 300, 4096])
def test_last_event_that_is_larger_than_the_tail_is_still_seen_with_its_usage(size: int) -> None:
    told: dict[str, Any] = {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 3}
    stream = last_event(instructions='\n"usage":{"input_tokens":1}' + "x" * 10_000, **told)
    tail = stream[-size:] if size > 100 else stream[-170:]
    assert DIALECT.is_complete(tail)
    for ends in (tail, stream[:200] + b"\n\n" + tail):
        assert DIALECT.read_stream_usage(ends) == Usage(input_tokens=5, output_tokens=3, cached_input_tokens=2)


def test_other_event_that_is_larger_than_the_tail_is_no_end() -> None:
    item = {"type": "image_generation_call", "result": "x" * 10_000, "status": "completed"}
    stream = encode_event(event("response.output_item.done", item=item))
    assert not DIALECT.is_complete(stream[-4096:])
    assert DIALECT.read_stream_usage(stream[-4096:]) is None


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b"", None),
        (last_event(), None),
        (last_event(input_tokens=5), Usage(input_tokens=5)),
        (last_event(input_tokens=5) + b"data: [DONE]\n\n", Usage(input_tokens=5)),
        (last_event(input_tokens=5) + encode_event(event("other")), Usage(input_tokens=5)),
        (b'"usage":{"input_tokens":5,"output_tokens":{}}}\n\n', None),
        (b'"usage":{"input_tokens":5}}}\n\n', Usage(input_tokens=5)),
    ],
)
def test_usage_of_a_stream(tail: bytes, usage: Usage | None) -> None:
    assert DIALECT.read_stream_usage(tail) == usage


def test_usage_of_a_whole_answer() -> None:
    body = {"usage": {"input_tokens": 9, "output_tokens": -1, "output_tokens_details": {"reasoning_tokens": 2}}}
    assert DIALECT.read_usage(json.dumps(body).encode()) == Usage(input_tokens=9, reasoning_tokens=2)
    assert DIALECT.read_usage(b'{"usage":null}') is None
    assert DIALECT.read_usage(b"<html>") is None


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ({"error": {"code": "rate_limit_exceeded", "message": "x"}}, Failure.RATE_LIMITED),
        ({"error": {"code": "context_length_exceeded"}}, Failure.CONTEXT_LENGTH),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, Failure.RATE_LIMITED),
        ({"type": "error", "code": None, "message": "the model is overloaded"}, Failure.OVERLOADED),
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, Failure.RATE_LIMITED),
        ({"type": "response.failed", "response": {"error": None}}, None),
        ({"error": {"code": "new", "message": "x"}}, None),
        ([], None),
    ],
)
def test_class_of_an_error(body: object, failure: Failure | None) -> None:
    assert DIALECT.classify_error(json.dumps(body).encode()) is failure


def test_model_is_renamed_in_answers_and_in_events_that_hold_one() -> None:
    assert DIALECT.with_model(b'{"id":"r","model":"a"}', "m") == b'{"id":"r","model":"m"}'
    data = b'{"type":"response.created","response":{"model":"a","x":1.0}}'
    assert DIALECT.with_model(data, "m") == b'{"type":"response.created","response":{"model":"m","x":1.0}}'
    for same in (b"[DONE]", b"", b'{"type":"response.output_text.delta","delta":"a"}', b'{"model"', b'{"response":5}'):
        assert DIALECT.with_model(same, "m") == same


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream(name: str) -> None:
    recording = recordings.load(name)
    events = [each for each in SseParser().feed(recording.answer) if each.data]
    kinds = [DIALECT.classify_event(each.data, each.event) for each in events]
    assert kinds[:2] == [EventKind.PREAMBLE] * 2
    assert kinds[-1] is EventKind.CONTENT
    assert EventKind.ERROR not in kinds
    told = json.loads(events[-1].data)["response"]["usage"]
    for size in (TAIL, 900):
        assert DIALECT.is_complete(recording.answer[-size:])
        usage = DIALECT.read_stream_usage(recording.answer[-size:])
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (told["input_tokens"], told["output_tokens"])
    without_end = recording.answer[: recording.answer.rindex(b"event: ")]
    assert not DIALECT.is_complete(without_end[-TAIL:])


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream_under_another_name_differs_in_nothing_else(name: str) -> None:
    for each in SseParser().feed(recordings.load(name).answer):
        data: Any = json.loads(each.data)
        if "response" in data:
            data["response"]["model"] = "asked"
        assert json.loads(DIALECT.with_model(each.data, "asked")) == data


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", WHOLE)
def test_recorded_answer(name: str) -> None:
    recording = recordings.load(name)
    answer = recording.json()
    if recording.status >= 400:
        assert DIALECT.read_usage(recording.answer) is None
        assert DIALECT.read_error(recording.answer) == answer["error"]["message"]
        return
    assert DIALECT.read_error(recording.answer) is None
    usage = DIALECT.read_usage(recording.answer)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (
        answer["usage"]["input_tokens"],
        answer["usage"]["output_tokens"],
    )
    assert json.loads(DIALECT.with_model(recording.answer, "asked")) == {**answer, "model": "asked"}
