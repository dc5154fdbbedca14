"""Usage of answers with pictures and sound, whole and streamed."""

import json
from typing import Any

import pytest

from gateway.schemas.openai.relayed_usage import UsageTail, read_relayed_usage
from gateway.types import Usage

IMAGES = {
    "input_tokens": 50,
    "output_tokens": 4160,
    "total_tokens": 4210,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}
TRANSCRIPT = {
    "type": "tokens",
    "input_tokens": 14,
    "output_tokens": 45,
    "total_tokens": 59,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
}
LIKE_CHAT = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}

CASES: list[tuple[Any, Usage | None]] = [
    (IMAGES, Usage(input_tokens=50, output_tokens=4160)),
    (TRANSCRIPT, Usage(input_tokens=14, output_tokens=45, audio_input_tokens=14)),
    (LIKE_CHAT, Usage(input_tokens=3, output_tokens=4, cached_input_tokens=2)),
    ({"type": "duration", "seconds": 9}, None),
    ({}, None),
    (None, None),
    ({"input_tokens": "many"}, None),
    ({"input_tokens": -1}, Usage()),
]


@pytest.mark.parametrize(("told", "usage"), CASES)
def test_usage_of_a_whole_answer(told: Any, usage: Usage | None) -> None:
    assert read_relayed_usage(json.dumps({"data": [{"b64_json": "AAAA"}], "usage": told}).encode()) == usage


@pytest.mark.parametrize(("told", "usage"), CASES)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_usage_of_a_streamed_answer(told: Any, usage: Usage | None, size: int) -> None:
    events = [
        {"type": "image_generation.partial_image", "b64_json": "A" * 50_000},
        {"type": "image_generation.completed", "b64_json": "A" * 50_000, "usage": told},
    ]
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    tail = UsageTail()
    for at in range(len(data) - 20_000, len(data), size):
        tail.feed(data[at : at + size])
    assert tail.usage == usage


def test_words_of_a_text_are_no_usage() -> None:
    tail = UsageTail()
    tail.feed(json.dumps({"usage": LIKE_CHAT, "text": 'say "usage": {"input_tokens": 9} now'}).encode())
    assert tail.usage == Usage(input_tokens=3, output_tokens=4, cached_input_tokens=2)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"usage": {', b'{"usage": {"input_tokens": 1', b"{" * 5000])
def test_what_is_no_answer_has_none(data: bytes) -> None:
    tail = UsageTail()
    tail.feed(data)
    assert tail.usage is None
    assert read_relayed_usage(data) is None
