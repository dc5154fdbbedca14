"""The most that a request asks for, in every dialect that clients speak."""

import json
from typing import Any

import pytest

from gateway.schemas.bedrock.invocation import BEDROCK_INVOCATION
from gateway.schemas.features.table import _PLACES
from gateway.schemas.max_output import _BOUNDS, max_output_tokens
from gateway.schemas.prompt_size import estimated_tokens


@pytest.mark.parametrize(
    ("dialect", "body", "bound"),
    [
        ("openai_chat", {"max_tokens": 5}, 5),
        ("openai_chat", {"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ("openai_chat", {"max_completion_tokens": 9, "n": 3}, 27),
        ("openai_completions", {"max_tokens": 5, "n": 2}, 10),
        ("openai_responses", {"max_output_tokens": 7, "max_tokens": 1}, 7),
        ("anthropic_messages", {"max_tokens": 5}, 5),
        ("gemini_generate_content", {"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}, 10),
        ("gemini_generate_content", {"generation_config": {"max_output_tokens": 5}}, 5),
        ("cohere_chat", {"max_tokens": 5}, 5),
        ("ollama_chat", {"options": {"num_predict": 5}}, 5),
        ("ollama_chat", {"options": {"num_predict": -1}}, None),
        *((name, {"messages": []}, None) for name in _BOUNDS),
        *(("openai_chat", {"max_tokens": wrong}, None) for wrong in ("5", True, None, 0, -1, [5])),
        ("gemini_generate_content", {"generationConfig": "x"}, None),
    ],
)
def test_bound(dialect: str, body: dict[str, Any], bound: int | None) -> None:
    assert max_output_tokens(dialect, json.dumps(body).encode()) == bound


def test_every_dialect_of_clients_has_a_bound_and_what_is_no_json_has_none() -> None:
    assert _BOUNDS.keys() == {*_PLACES, BEDROCK_INVOCATION.name}
    assert max_output_tokens("openai_chat", b"{") is None


def test_a_picture_is_not_taken_for_text() -> None:
    text = b'{"messages":["' + b"some words " * 1000 + b'"]}'
    assert estimated_tokens(text) == len(text) // 4
    picture = b'{"url":"data:image/png;base64,' + b"A" * 1_000_000 + b'"}'
    assert estimated_tokens(picture) < 1100
