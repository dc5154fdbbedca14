"""The tokens that Bedrock's models tell in the words of their makers, and the paths that name the models."""

import base64
import json
from typing import Any

import pytest

from gateway.framing.aws_event_stream import AwsEventStreamParser, encode_frame
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.bedrock.invocation import BEDROCK_INVOCATION, StreamUsage, read_path, read_usage
from gateway.schemas.dialect import EventKind
from gateway.schemas.max_output import max_output_tokens
from gateway.types import Usage
from tests.support import recordings

CLAUDE = {
    "input_tokens": 3,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 10,
    "output_tokens": 7,
}
HEADERS = {
    "x-amzn-bedrock-input-token-count": "3",
    "x-amzn-bedrock-cache-read-input-token-count": "100",
    "x-amzn-bedrock-cache-write-input-token-count": "10",
    "x-amzn-bedrock-output-token-count": "7",
}
METRICS = {
    "inputTokenCount": 3,
    "cacheReadInputTokenCount": 100,
    "cacheWriteInputTokenCount": 10,
    "outputTokenCount": 7,
}
COUNTED = Usage(input_tokens=113, output_tokens=7, cached_input_tokens=100, cache_creation_tokens=10)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"usage": CLAUDE}, {}, COUNTED),
        ({"usage": CLAUDE}, {"x-amzn-bedrock-input-token-count": "3"}, COUNTED),
        ({"outputs": []}, HEADERS, COUNTED),
        ({"usage": {**METRICS, "inputTokens": 3, "outputTokens": 7}}, {}, COUNTED),
        ({"usage": {"inputTokens": 5, "outputTokens": 2}}, {}, Usage(input_tokens=5, output_tokens=2)),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}, {}, Usage(input_tokens=5, output_tokens=2)),
        ({"usage": {"billed_units": {}}}, HEADERS, COUNTED),
        ({"usage": {"input_tokens": "many"}}, HEADERS, COUNTED),
        ({"embedding": [0.5]}, {"x-amzn-bedrock-input-token-count": "18"}, Usage(input_tokens=18)),
        ({"embedding": [0.5]}, {"x-amzn-bedrock-input-token-count": "-1"}, None),
        ({"embedding": [0.5]}, {}, None),
        ([1], {}, None),
    ],
)
def test_usage_of_a_whole_answer(body: Any, headers: dict[str, str], expected: Usage | None) -> None:
    assert read_usage(json.dumps(body).encode(), headers) == expected


def test_picture_that_is_no_json_is_counted_by_its_headers() -> None:
    assert read_usage(b"\x89PNG\xff", HEADERS) == COUNTED


def part(value: object) -> ServerSentEvent:
    data = {"bytes": base64.b64encode(json.dumps(value).encode()).decode(), "p": "ab"}
    return ServerSentEvent(json.dumps(data).encode(), "chunk", b"")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [
                part({"type": "message_start", "message": {"usage": {**CLAUDE, "output_tokens": 1}}}),
                part({"type": "message_delta", "usage": {"output_tokens": 7}}),
                part({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 7}}),
            ],
            COUNTED,
        ),
        ([part({"metadata": {"usage": METRICS}, "amazon-bedrock-invocationMetrics": METRICS})], COUNTED),
        ([part({"outputs": []}), part({"amazon-bedrock-invocationMetrics": METRICS})], COUNTED),
        ([part({"message": 'a text about "usage"'}), part({"usage": None})], None),
        (
            [ServerSentEvent(b'{"usage": {"inputTokens": 5, "outputTokens": 2}}', "metadata", b"")],
            Usage(input_tokens=5, output_tokens=2),
        ),
        ([ServerSentEvent(b'{"bytes": "no base64 \\"usage\\""}', "chunk", b"")], None),
        ([ServerSentEvent(b"\xff", "chunk", b"")], None),
    ],
    ids=["Anthropic", "Nova", "metrics alone", "none", "Converse", "no base64", "no JSON"],
)
def test_usage_of_a_stream(events: list[ServerSentEvent], expected: Usage | None) -> None:
    usage = StreamUsage()
    for event in events:
        usage.feed(event)
    assert usage.usage == expected


@pytest.mark.component("recordings")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("invoke/parallel-tools", (427, 162)),
        ("invoke/prompt-caching-cache-control-multi-turn", (3 + 9511 + 1956, 44)),
        ("invoke/tool-result-multi-turn", (604, 146)),
        ("invoke-with-response-stream/stream-finish-length-stop-params", (14, 10)),
        ("invoke-with-response-stream/stream-image-input", (22, 33)),
        ("invoke-with-response-stream/stream-parallel-tools", (427, 156)),
        ("invoke-with-response-stream/stream-system", (26, 5)),
        ("invoke-with-response-stream/stream-tool-result-tool-call-multi-turn", (725, 52)),
    ],
)
def test_usage_that_bedrock_has_told(name: str, expected: tuple[int, int]) -> None:
    recording = recordings.load(f"bedrock/{name}")
    found = StreamUsage()
    for event in AwsEventStreamParser().feed(recording.answer) if recording.is_streaming else ():
        found.feed(event)
    usage = found.usage if recording.is_streaming else read_usage(recording.answer, {})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == expected


@pytest.mark.parametrize(
    ("path", "model", "is_streaming"),
    [
        ("/model/m%3A0/invoke", "m:0", False),
        ("/model/m:0/invoke-with-response-stream", "m:0", True),
        ("/model/arn%3Aaws%3A%2Fx/converse", "arn:aws:/x", False),
        ("/model/m/converse-stream", "m", True),
    ],
)
def test_path_names_the_model(path: str, model: str, is_streaming: bool) -> None:
    found = read_path(path)
    assert found is not None
    assert (found.path, found.model, found.is_streaming) == (path, model, is_streaming)
    assert found.for_model("a/b:1") == f"/model/a%2Fb%3A1/{path.rpartition('/')[2]}"


@pytest.mark.parametrize(
    "path",
    [
        "/model/m/count-tokens",
        "/model//invoke",
        "/model/a/b/invoke",
        "/x/model/m/invoke",
        "/model/m/invoke/",
        "/model/m",
    ],
)
def test_other_paths_name_none(path: str) -> None:
    assert read_path(path) is None


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 7},
        {"max_tokens_to_sample": 7},
        {"max_completion_tokens": 7},
        {"max_gen_len": 7},
        {"inferenceConfig": {"maxTokens": 7}},
        {"inferenceConfig": {"max_new_tokens": 7}},
        {"textGenerationConfig": {"maxTokenCount": 7}},
    ],
)
def test_bound_of_the_answer_in_the_words_of_each_maker(body: dict[str, Any]) -> None:
    assert max_output_tokens(BEDROCK_INVOCATION.name, json.dumps(body).encode()) == 7
    assert max_output_tokens(BEDROCK_INVOCATION.name, b'{"inputText": "a"}') is None


def test_first_part_is_content_and_an_exception_an_error() -> None:
    (event,) = AwsEventStreamParser().feed(encode_frame(b'{"message": "no"}', "throttlingException"))
    assert BEDROCK_INVOCATION.classify_event(event.data, event.event) is EventKind.ERROR
    assert BEDROCK_INVOCATION.classify_event(part({}).data, "chunk") is EventKind.CONTENT
    assert BEDROCK_INVOCATION.classify_event(b'{"role": "assistant"}', "messageStart") is EventKind.PREAMBLE
