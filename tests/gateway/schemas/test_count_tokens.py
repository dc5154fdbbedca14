"""Counting of tokens, as Anthropic and Gemini have it: requests and answers, to canonical and back."""

import json

import pytest

from gateway.schemas.table import ANTHROPIC_COUNT_TOKENS, GEMINI_COUNT_TOKENS
from gateway.types import ChatRequest, Message, Role, TextPart, TokenCount
from tests.gateway.schemas import recorded_exchanges as recorded

WHOLE = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "safetySettings": []}
HELLO = ChatRequest(model="m", messages=(Message(role=Role.USER, content=(TextPart(text="hello"),)),))


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("anthropic/count-tokens/*"))
def test_recorded_exchange_of_anthropic(name: str) -> None:
    exchange = recorded.load(name)
    model = exchange.request["model"]
    request = ANTHROPIC_COUNT_TOKENS.decode_request(exchange.body, model)
    body = ANTHROPIC_COUNT_TOKENS.encode_request(request, model, drop_unsupported=False)
    assert ANTHROPIC_COUNT_TOKENS.decode_request(body, model) == request
    assert json.loads(body).keys() == exchange.request.keys()
    count = ANTHROPIC_COUNT_TOKENS.decode_answer(exchange.answer)
    assert ANTHROPIC_COUNT_TOKENS.encode_answer(count, request, model) == exchange.answer.replace(b" ", b"")


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("gemini/countTokens/*"))
def test_recorded_exchange_of_gemini(name: str) -> None:
    exchange = recorded.load(name)
    request = GEMINI_COUNT_TOKENS.decode_request(exchange.body, "m")
    sent = json.loads(GEMINI_COUNT_TOKENS.encode_request(request, "m", drop_unsupported=False))
    assert sent == {"generateContentRequest": {"model": "models/m", **exchange.request}}
    told = json.loads(exchange.answer)
    assert GEMINI_COUNT_TOKENS.decode_answer(exchange.answer) == TokenCount(input_tokens=told["totalTokens"])


def test_whole_request_of_gemini_keeps_what_only_gemini_knows() -> None:
    body = json.dumps({"generateContentRequest": WHOLE}).encode()
    request = GEMINI_COUNT_TOKENS.decode_request(body, "m")
    sent = json.loads(GEMINI_COUNT_TOKENS.encode_request(request, "m", drop_unsupported=False))
    assert sent == {"generateContentRequest": {"model": "models/m", **WHOLE}}


def test_cached_tokens_of_gemini() -> None:
    count = TokenCount(input_tokens=9, cached_input_tokens=4)
    body = GEMINI_COUNT_TOKENS.encode_answer(count, HELLO, "m")
    assert json.loads(body) == {"totalTokens": 9, "cachedContentTokenCount": 4}
    assert GEMINI_COUNT_TOKENS.decode_answer(body) == count


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_whole_request_names_the_model_that_is_asked(name: str) -> None:
    twice = b'{"NAME": {"model": "models/x", "model": "models/y", "contents": []}, "NAME": {"m\\u006fdel": "models/z"}}'
    body = GEMINI_COUNT_TOKENS.with_request_model(twice.replace(b"NAME", name.encode()), "asked", "sent")
    assert json.loads(body) == {name: {"model": "models/sent"}}
    assert body.count(b"models/") == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"contents": []}'])
def test_body_that_names_no_model_is_left_as_it_is(body: bytes) -> None:
    assert GEMINI_COUNT_TOKENS.with_request_model(body, "asked", "sent") == body


def test_counting_is_not_using() -> None:
    assert ANTHROPIC_COUNT_TOKENS.read_usage(b'{"input_tokens": 9}') is None
    assert GEMINI_COUNT_TOKENS.read_usage(b'{"totalTokens": 9}') is None
