"""Where real traffic departs from its documentation, one test for each: what was seen is understood."""

import base64
import json
import struct
from typing import Any

import pytest

from gateway.errors import BadGatewayError
from gateway.framing.aws_event_stream import encode_frame
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
    OPENAI_RESPONSES,
)
from gateway.types import FinishReason
from tests.gateway.schemas.dialect_streams import decoded
from tests.gateway.schemas.folded_answers import Folded, fold


def sse(*events: Any, end: bytes = b"\n") -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + end + end for event in events)


def read(dialect: ChatDialect, stream: bytes) -> Folded:
    return fold(decoded(dialect, [stream]))


def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


HELLO = chunk({"role": "assistant", "content": "hello"})
STOP = chunk({}, "stop")


def whole(message: dict[str, Any], finish: str = "stop") -> Folded:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return fold(OPENAI_CHAT.decode_answer(json.dumps({"id": "c", "choices": [choice]}).encode()))


def test_openai_answers_without_the_logprobs_that_its_description_requires() -> None:
    assert whole({"content": "hello"}).only.text == "hello"


def test_openai_streams_a_system_fingerprint_that_is_null() -> None:
    told = read(OPENAI_CHAT, sse({**HELLO, "system_fingerprint": None}, STOP))
    assert (told.only.text, told.starts[0].system_fingerprint) == ("hello", "")


def test_openai_streams_completions_whose_finish_reason_is_null() -> None:
    def piece(text: str, finish: str | None) -> dict[str, Any]:
        return {"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None}]}

    told = read(OPENAI_COMPLETIONS, sse(piece("hello", None), piece("", "stop")))
    assert (told.only.text, told.only.finishes) == ("hello", [(FinishReason.STOP, None)])


def test_openai_embeddings_are_a_base64_string_where_numbers_are_described() -> None:
    data = {"index": 0, "embedding": base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()}
    assert OPENAI_EMBEDDINGS.decode_answer(json.dumps({"data": [data]}).encode()).vectors == ((0.5, -1.0),)


def test_openai_responses_have_a_null_user_and_no_count_of_what_was_written_to_the_cache() -> None:
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 4}
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]}]
    body = {"id": "r", "object": "response", "status": "completed", "user": None, "output": output, "usage": usage}
    told = fold(OPENAI_RESPONSES.decode_answer(json.dumps(body).encode()))
    assert (told.only.text, told.usages[0].cached_input_tokens) == ("hello", 3)
    assert told.usages[0].cache_creation_tokens == 0


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"], ids=["CRLF", "CR", "LF"])
def test_streams_end_lines_with_crlf_and_whatever_else_the_standard_allows(end: bytes) -> None:
    assert read(OPENAI_CHAT, sse(HELLO, STOP, end=end) + b": done\n\n").only.text == "hello"


def test_streams_have_comments_between_events_to_keep_the_connection_open() -> None:
    stream = b": PROCESSING\n\n" + sse(HELLO) + b": ping\n\n:\n\n" + sse(STOP)
    assert read(OPENAI_CHAT, stream).only.text == "hello"


def test_data_of_an_event_in_several_lines_is_one() -> None:
    lines = json.dumps(HELLO, indent=1).splitlines()
    stream = b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n" + sse(STOP)
    assert read(OPENAI_CHAT, stream).only.text == "hello"


def test_chunks_have_empty_choices_or_none_at_all() -> None:
    """Azure begins with what its filters say of the prompt, OpenAI ends with the usage."""
    filters = {"id": "", "model": "", "choices": [], "prompt_filter_results": []}
    usage = {"id": "c", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    told = read(OPENAI_CHAT, sse(filters, HELLO, {"id": "c"}, STOP, usage))
    assert (told.only.text, len(told.starts), told.usages[0].input_tokens) == ("hello", 1, 9)


@pytest.mark.parametrize("head", [b"", b"event: error\n"], ids=["plain", "named"])
def test_errors_stand_within_a_stream_under_a_200(head: bytes) -> None:
    stream = sse(HELLO) + head + sse({"error": {"message": "kaputt", "type": "server_error"}})
    with pytest.raises(BadGatewayError, match="kaputt"):
        read(OPENAI_CHAT, stream)


def test_gemini_ends_an_answer_that_calls_functions_with_stop() -> None:
    part = {"functionCall": {"name": "f", "args": {}}}
    piece = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    assert read(GEMINI, sse(piece)).only.finishes == [(FinishReason.TOOL_CALLS, None)]


def test_gemini_sends_usage_with_every_piece_and_only_the_last_counts() -> None:
    def piece(tokens: int, finish: str | None) -> dict[str, Any]:
        usage = {"promptTokenCount": 9, "candidatesTokenCount": tokens}
        return {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": finish}], "usageMetadata": usage}

    (usage,) = read(GEMINI, sse(piece(1, None), piece(4, "STOP"))).usages
    assert (usage.input_tokens, usage.output_tokens) == (9, 4)


def test_mistral_writes_content_as_a_list_of_thoughts_and_texts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "hello"},
    ]
    told = whole({"content": parts}).only
    assert (told.text, [thought.text for thought in told.thoughts]) == ("hello", ["hm"])
    assert read(OPENAI_CHAT, sse(chunk({"content": parts}), STOP)).only == told


def test_mistral_calls_have_no_type_and_indexes_from_zero_in_every_chunk() -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": "{}"}}
    told = read(OPENAI_CHAT, sse(chunk({"tool_calls": [call]}), chunk({}, "tool_calls"))).only
    assert [(call.id, call.name) for call in told.calls.values()] == [("x", "f")]


def test_deepseek_and_others_think_in_fields_of_their_own() -> None:
    for field in ("reasoning_content", "reasoning"):
        assert [thought.text for thought in whole({field: "hm", "content": "hello"}).only.thoughts] == ["hm"]


def test_bedrock_pads_every_event() -> None:
    """`p` is random, against guessing texts by the length of frames."""
    stop = {"stopReason": "end_turn", "p": "abcdefgh"}
    delta = {"contentBlockIndex": 0, "delta": {"text": "hello"}, "p": "abcdefghijk"}
    stream = b"".join(
        encode_frame(json.dumps(value).encode(), kind)
        for kind, value in (
            ("messageStart", {"role": "assistant", "p": "ab"}),
            ("contentBlockDelta", delta),
            ("contentBlockStop", {"contentBlockIndex": 0, "p": ""}),
            ("messageStop", stop),
        )
    )
    assert read(BEDROCK_CONVERSE, stream).only.text == "hello"


def test_anthropic_pings_and_sends_events_that_nobody_knew() -> None:
    begun = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
    events = (begun, {"type": "ping"}, block, {"type": "news", "index": "x"}, delta, end, {"type": "message_stop"})
    told = read(ANTHROPIC_MESSAGES, sse(*events))
    assert (told.only.text, told.usages[0].input_tokens, told.usages[0].output_tokens) == ("hello", 9, 4)


def test_ollama_writes_arguments_as_an_object_and_names_no_ids() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    line = {"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False}
    last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
    told = read(OLLAMA_CHAT, b"".join(json.dumps(each).encode() + b"\n" for each in (line, last))).only
    assert [(each.name, json.loads(each.arguments)) for each in told.calls.values()] == [("f", {"a": 1})]
    assert told.finishes == [(FinishReason.TOOL_CALLS, None)]
