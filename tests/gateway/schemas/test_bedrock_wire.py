"""Bedrock's Converse as the data path relays it: paths, when a stream can be committed to, its end, usage, errors."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure
from gateway.framing.aws_event_stream import encode_frame
from gateway.schemas.bedrock.converse import BedrockConverse
from gateway.schemas.dialect import EventKind
from gateway.schemas.table import SCHEMAS
from gateway.types import Schema, Usage
from tests.gateway.schemas import bedrock_recordings as recorded

CONVERSE = BedrockConverse()
USAGE = {"inputTokens": 3, "outputTokens": 121, "totalTokens": 2072, "cacheReadInputTokens": 1712}
STOP = encode_frame(b'{"stopReason":"end_turn"}', "messageStop")
METADATA = encode_frame(json.dumps({"usage": {**USAGE, "cacheWriteInputTokens": 236}}).encode(), "metadata")
TOLD = Usage(input_tokens=1951, output_tokens=121, cached_input_tokens=1712, cache_creation_tokens=236)


def event(**fields: object) -> bytes:
    return json.dumps({"p": "abc", **fields}).encode()


@pytest.mark.parametrize(
    ("model", "written"),
    [
        ("amazon.nova-micro-v1:0", "amazon.nova-micro-v1%3A0"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.a.b",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a.b",
        ),
    ],
)
def test_model_stands_in_the_path(model: str, written: str) -> None:
    assert CONVERSE.path(model, stream=False) == f"/model/{written}/converse"
    assert CONVERSE.path(model, stream=True) == f"/model/{written}/converse-stream"


def test_bodies_name_no_model_and_the_family_has_the_dialect() -> None:
    assert CONVERSE.with_request_model(b"{}", "a", "b") == b"{}"
    assert CONVERSE.with_model(b"{}", "b") == b"{}"
    assert CONVERSE.error_family == "bedrock"
    assert [dialect.name for dialect in SCHEMAS[Schema.BEDROCK].chat] == ["bedrock_converse"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("messageStart", event(role="assistant")),
        ("contentBlockDelta", event(contentBlockIndex=0, delta={"text": ""})),
        ("contentBlockDelta", event(contentBlockIndex=0, delta={"toolUse": {"input": ""}})),
        ("contentBlockDelta", event(contentBlockIndex=0, delta={"reasoningContent": {"text": ""}})),
        ("contentBlockStart", event(contentBlockIndex=0, start={})),
        ("contentBlockStop", event(contentBlockIndex=0)),
        ("metadata", event(usage=USAGE)),
        ("somethingNew", event()),
    ],
)
def test_preamble(name: str, data: bytes) -> None:
    assert CONVERSE.classify_event(data, name) is EventKind.PREAMBLE


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("contentBlockStart", event(start={"toolUse": {"name": "f", "toolUseId": "t"}})),
        ("contentBlockDelta", event(delta={"text": "a"})),
        ("contentBlockDelta", event(delta={"toolUse": {"input": "{"}})),
        ("contentBlockDelta", event(delta={"reasoningContent": {"text": "a"}})),
        ("contentBlockDelta", event(delta={"reasoningContent": {"redactedContent": "eA=="}})),
        ("contentBlockDelta", event(delta={"citation": {"title": "t"}})),
        ("messageStop", event(stopReason="end_turn")),
    ],
)
def test_content(name: str, data: bytes) -> None:
    assert CONVERSE.classify_event(data, name) is EventKind.CONTENT


@pytest.mark.parametrize("name", ["throttlingException", "modelStreamErrorException", "InternalFailure"])
def test_exception(name: str) -> None:
    assert CONVERSE.classify_event(b'{"message":"it broke"}', name) is EventKind.ERROR


@given(st.binary(), st.sampled_from(["contentBlockDelta", "metadata", ""]))
def test_what_is_not_of_this_api_is_no_event(data: bytes, name: str) -> None:
    with suppress(ValueError):
        CONVERSE.classify_event(data, name)


@given(st.binary(max_size=300))
def test_a_stream_that_ended_whatever_came_before(before: bytes) -> None:
    assert CONVERSE.is_complete(before + STOP)
    assert CONVERSE.is_complete(before + METADATA)
    assert CONVERSE.read_stream_usage(before + STOP + METADATA) == TOLD


def test_the_name_may_stand_behind_other_headers() -> None:
    # An order of the headers that nobody has promised.
    raw = bytearray(encode_frame(b'{"stopReason":"end_turn"}', "messageStop"))
    assert raw.index(b":event-type") == 13
    assert CONVERSE.is_complete(b"\x00" * 40 + bytes(raw))


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        STOP[:-1],
        METADATA[:-1],
        encode_frame(event(delta={"text": ":event-type\x07\x00\x0bmessageStop"}), "contentBlockDelta"),
        b":event-type\x07\x00\x0bmessageStop",
        b"\x00" * 600 + b":event-type\x07\x00\x0bmessageStop" + b"\x00" * 100,
        encode_frame(b'{"message":"x"}', "throttlingException"),
    ],
)
def test_a_stream_that_did_not_end(tail: bytes) -> None:
    assert not CONVERSE.is_complete(tail)
    assert CONVERSE.read_stream_usage(tail) is None


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ({"message": "Too many requests, please wait before trying again."}, Failure.RATE_LIMITED),
        ({"message": "Too many tokens, please wait before trying again."}, Failure.RATE_LIMITED),
        ({"message": "Input is too long for requested model."}, Failure.CONTEXT_LENGTH),
        ({"message": "prompt is too long: 205345 tokens > 200000 maximum"}, Failure.CONTEXT_LENGTH),
        ({"message": "Bedrock is unable to process your request."}, Failure.OVERLOADED),
        ({"message": "no", "__type": "com.amazon.coral#ThrottlingException"}, Failure.RATE_LIMITED),
        ({"message": "no", "__type": "ModelTimeoutException"}, Failure.TIMEOUT),
        ({"message": "no", "originalStatusCode": 529, "originalMessage": "x"}, Failure.OVERLOADED),
        ({"message": "no", "originalStatusCode": 400, "originalMessage": "prompt is too long"}, Failure.CONTEXT_LENGTH),
        ({"Message": "The security token included in the request is invalid."}, None),
    ],
)
def test_class_of_an_error(body: dict[str, object], failure: Failure | None) -> None:
    data = json.dumps(body).encode()
    assert CONVERSE.read_error(data) == body.get("message", body.get("Message"))
    assert CONVERSE.classify_error(data) is failure


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"message":{}}', b"\xff"])
def test_what_is_no_error(body: bytes) -> None:
    assert CONVERSE.read_error(body) is None
    assert CONVERSE.classify_error(body) is None
    assert CONVERSE.read_usage(body) is None


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.ERRORS)
def test_recorded_error(name: str) -> None:
    error = recorded.load(name).answer
    assert CONVERSE.read_error(error) == json.loads(error)["message"]
    assert CONVERSE.classify_error(error) is None


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.ALL)
def test_recorded_path(name: str) -> None:
    found = recorded.load(name)
    stream = bool(found.events)
    model = found.model.replace("%3A", ":")
    assert CONVERSE.path(model, stream=stream) == found.path


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer_tells_its_usage(name: str) -> None:
    answer = recorded.load(name).answer
    usage = CONVERSE.read_usage(answer)
    assert usage is not None
    assert usage.input_tokens + usage.output_tokens == json.loads(answer)["usage"]["totalTokens"]
    assert CONVERSE.read_error(answer) is None


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_is_complete_at_its_end_only(name: str) -> None:
    found = recorded.load(name)
    raw, tail = found.answer, found.answer[-CONVERSE.tail_bytes :]
    assert CONVERSE.is_complete(tail)
    usage = CONVERSE.read_stream_usage(tail)
    assert usage is not None
    assert usage.input_tokens + usage.output_tokens == json.loads(found.events[-1].data)["usage"]["totalTokens"]
    before = raw[: raw.index(b"messageStop")]
    assert not CONVERSE.is_complete(before[-CONVERSE.tail_bytes :])
    kinds = [CONVERSE.classify_event(event.data, event.event) for event in found.events]
    assert kinds[0] is EventKind.PREAMBLE
    assert EventKind.CONTENT in kinds[1:3]
    assert EventKind.ERROR not in kinds
