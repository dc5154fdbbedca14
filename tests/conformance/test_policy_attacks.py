"""Requests that are made to get round policies: none does."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.conformance.caching import ALICE, BOB, cached
from tests.conformance.calls import Caller, Question, ask
from tests.conformance.configuration import Configuration, api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, sse
from tests.support.scripts import Exchange, answer, chat

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
ANN = "ann@example.com"
MASKING = {"rules": [{"pii": ["EMAIL"], "action": "MASK"}], "on": ["REQUEST", "RESPONSE"]}


async def post(gateway: Gateway, body: Any, path: str = CHAT, headers: Mapping[str, str] | None = None) -> Any:
    """Status, text and headers of the answer; bytes are sent as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"http://{gateway.addresses.http}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as response:
        return response.status, await response.text(), response.headers


def said(text: Any = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text}], "max_tokens": 5, **fields}


def under(upstream: FaultyUpstream, policy: Mapping[str, Any], **service: Any) -> Configuration:
    """One pool under one policy."""
    return one_pool(
        upstream.address, policies=[{"name": "p", **policy}], route={"policies": ["p"]}, service=service or None
    )


# Models that the caller may not use


@pytest.mark.parametrize(
    "more",
    ['"Model": "big"', '"MODEL": "big"', '"\\u004dodel": "big"', '"model": "big"', '"m\\u006fdel": "big"'],
)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/moderations"])
async def test_no_second_spelling_of_the_model_reaches_a_backend(
    gateway: Gateway, upstream: FaultyUpstream, more: str, first: bool, path: str
) -> None:
    """A server written in Go takes `MODEL` for `model`, and the last that comes."""
    await gateway.apply(under(upstream, {"authorization": {"allow": [{"models": ["small"]}]}}))
    rest = '"input": "hi", "messages": [{"role": "user", "content": "hi"}]'
    fields = [more, '"model": "small"', rest] if first else ['"model": "small"', rest, more]
    await post(gateway, f"{{{', '.join(fields)}}}".encode(), path)
    for request in upstream.requests:
        named = [value for name, value in json.loads(request.body, object_pairs_hook=list) if name.lower() == "model"]
        assert named == ["small"]


GEMINI_LIMIT, OLLAMA_LIMIT = {"maxOutputTokens": 1000}, {"num_predict": 1000}
# By the backend's dialect: a path, what is asked there, and ways round a limit of tokens. More are in the unit tests.
WALKS: dict[str, list[tuple[str, dict[str, Any], list[dict[str, Any]]]]] = {
    "OPENAI": [
        (CHAT, {"messages": [{"role": "user", "content": "hi"}]}, [{"max_completion_tokens": 1000}, {"n_predict": -1}]),
        ("/v1/completions", {"prompt": "hi"}, [{"n_predict": 1000}, {"Max_Tokens": 1000}]),
        ("/v1/responses", {"input": "hi"}, [{"max_output_tokens": 1000}, {"Max_Output_Tokens": 1000}]),
    ],
    "ANTHROPIC": [
        (MESSAGES, {"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}, [{"MAX_TOKENS": 1000}])
    ],
    "GEMINI": [
        (
            "/v1beta/models/small:generateContent",
            {"contents": [{"parts": [{"text": "hi"}]}]},
            [
                {"generation_config": {"max_output_tokens": 1000}},
                {"generationConfig.maxOutputTokens": 1000},
                {"GenerationConfig": GEMINI_LIMIT},
            ],
        )
    ],
    "COHERE": [("/v2/chat", {"messages": [{"role": "user", "content": "hi"}]}, [{"max_tokens": 1000}])],
    "OLLAMA": [
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "hi"}], "stream": False},
            [
                {"options": OLLAMA_LIMIT},
                {"options.num_predict": 1000},
                {"Options": OLLAMA_LIMIT},
                {"options": {"num_predict": -1}},
            ],
        )
    ],
}


@pytest.mark.parametrize("schema", WALKS)
async def test_no_way_round_a_limit_of_tokens(gateway: Gateway, upstream: FaultyUpstream, schema: str) -> None:
    target = {"upstream_service": {"upstream": "pool", "schema": schema}}
    clamp = {"transform": {"request": {"clamp": {"max_tokens": {"max": 10}}}}}
    await gateway.apply(under(upstream, clamp, **target))
    upstream.script = answer(json_response(200, {}))
    for path, asked, walks in WALKS[schema]:
        before = len(upstream.requests)
        for more in ({}, *walks):
            await post(gateway, {"model": "small", **asked, **more}, path)
        sent = [request.body for request in upstream.requests[before:]]
        assert sent
        for body in sent:
            numbers = re.findall(r'"[a-z_]*(?:max|predict)[a-z_]*": ?(-?[0-9]+)', body.decode(), re.IGNORECASE)
            assert numbers
            assert all(1 <= int(number) <= 10 for number in numbers), body


# Callers who say that they come from elsewhere

ELSEWHERE = "192.0.2.1"
CLAIMS = {
    **dict.fromkeys(("x-forwarded-for", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip"), ELSEWHERE),
    "forwarded": f"for={ELSEWHERE};proto=https",
}


async def test_an_address_that_a_header_claims_is_not_believed(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    """Nor is one hop of several: the address is that of the connection."""
    claiming = Question(headers=CLAIMS)
    several = Question(headers={**CLAIMS, "x-forwarded-for": f"{ELSEWHERE}, 127.0.0.1, {ELSEWHERE}"})
    for rule, is_allowed in (({"allow": [f"{ELSEWHERE}/32"]}, False), ({"deny": [f"{ELSEWHERE}/32"]}, True)):
        await gateway.apply(under(upstream, {"ip_filter": rule}))
        for question in (claiming, several):
            told = await ask(caller, question)
            assert (told.failure is None) == is_allowed
    limit = {"unit": "REQUESTS", "limit": 2, "window": "60s", "key": "IP"}
    await gateway.apply(under(upstream, {"rate_limit": {"limits": [limit]}}))
    headers = ({"x-forwarded-for": f"192.0.2.{number}", "forwarded": f"for=192.0.2.{number}"} for number in range(3))
    answers = [await ask(caller, Question(headers=each)) for each in headers]
    assert [each.failure is None for each in answers] == [True, True, False]


# Texts that a guardrail must find


def documents(text: str) -> list[dict[str, Any]]:
    """Blocks of Anthropic's that bring a text along."""
    plain = {"type": "text", "media_type": "text/plain", "data": text}
    pieces = {"type": "content", "content": [{"type": "text", "text": text}]}
    found = {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": text}]}
    return [
        {"type": "document", "source": plain},
        {"type": "document", "source": pieces},
        {"type": "document", "source": plain, "context": text, "title": text},
        found,
        {"type": "unheard_of", "words": text},
        {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "document", "source": plain}]},
    ]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("schema", ["ANTHROPIC", "OPENAI"])
async def test_text_in_a_document_is_masked(
    gateway: Gateway, upstream: FaultyUpstream, number: int, schema: str
) -> None:
    target = {"upstream_service": {"upstream": "pool", "schema": schema}}
    await gateway.apply(under(upstream, {"guardrail": MASKING}, **target, unsupported_fields="DROP"))
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}
    block = documents(ANN)[number]
    asked: list[Any] = [{"role": "user", "content": "hi"}, call] if block["type"] == "tool_result" else []
    await post(gateway, said() | {"messages": [*asked, {"role": "user", "content": [block]}]}, MESSAGES)
    assert upstream.requests
    assert ANN.encode() not in upstream.requests[0].body
    # Nor in base64.
    assert b"YW5uQGV4YW1wbGUuY29t" not in upstream.requests[0].body


async def test_text_in_a_file_is_masked(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(under(upstream, {"guardrail": MASKING}))
    file = {"filename": "a.txt", "file_data": "data:text/plain;base64,YW5uQGV4YW1wbGUuY29t"}
    await post(gateway, said([{"type": "file", "file": file}]))
    assert b"YW5uQGV4YW1wbGUuY29t" not in upstream.requests[0].body


@pytest.mark.parametrize("streamed", [False, True])
async def test_escapes_in_arguments_of_an_answer_hide_nothing(
    gateway: Gateway, upstream: FaultyUpstream, streamed: bool
) -> None:
    arguments = '{"to": "\\u0061nn\\u0040example\\u002ecom", "n": "a\\nb"}'
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}

    async def script(exchange: Exchange) -> None:
        if streamed:
            pieces = [{"index": 0, "function": {"arguments": each}} for each in arguments]
            first = {**call, "function": {"name": "f", "arguments": ""}}
            deltas: list[Any] = [{"role": "assistant"}, *({"tool_calls": [each]} for each in (first, *pieces))]
            events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
            await exchange.send(chunked_response(sse(*events, end)))
        else:
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            await exchange.send(json_response(200, {"id": "a", "choices": [choice]}))

    upstream.script = script
    await gateway.apply(under(upstream, {"guardrail": MASKING}))
    status, text, _ = await post(gateway, said(stream=streamed))
    assert status == 200
    assert "[EMAIL]" in text
    if streamed:
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        calls = [
            call for event in events for choice in event["choices"] for call in choice["delta"].get("tool_calls", ())
        ]
        told = "".join(call["function"].get("arguments", "") for call in calls)
    else:
        told = json.loads(text)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(told) == {"to": "[EMAIL]", "n": "a\nb"}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
async def test_tokens_instead_of_text_do_not_pass_a_guardrail(
    gateway: Gateway, upstream: FaultyUpstream, path: str
) -> None:
    await gateway.apply(under(upstream, {"guardrail": MASKING}))
    for tokens in ([1, 2, 3], [[1, 2, 3]]):
        status, _, _ = await post(gateway, {"model": "small", "prompt": tokens, "input": tokens}, path)
        assert status == 400
    assert upstream.requests == []


# Answers of others, and what they were asked


@pytest.mark.parametrize(
    "headers",
    [
        {"x-consumer": "alice"},
        {"x-janua-consumer": "alice"},
        {"x-forwarded-user": "alice"},
        {"x-api-key": ALICE, "authorization": f"Bearer {BOB}"},
        {"authorization": f"Bearer {BOB}", "x-request-id": "of-alice"},
        {"x-janua-cache": "hit"},
        {"host": "other.example"},
    ],
    ids=str,
)
async def test_no_header_gets_the_answer_of_another(
    gateway: Gateway, upstream: FaultyUpstream, headers: Mapping[str, str]
) -> None:
    await gateway.apply(cached(upstream.address))
    await gateway.post("/cache/purge")
    upstream.script = chat("the secret of alice")
    await post(gateway, said(), headers={"authorization": f"Bearer {ALICE}", "x-request-id": "of-alice"})
    upstream.script = chat("for anybody")
    _, text, told = await post(gateway, said(), headers=headers)
    assert "secret" not in text
    assert told["x-janua-cache"] == "miss"


@pytest.mark.parametrize("query", ["?user=evil", "?api-version=evil", "?model=evil"])
async def test_query_that_is_not_in_the_key_reaches_no_backend(
    gateway: Gateway, upstream: FaultyUpstream, query: str
) -> None:
    await gateway.apply(cached(upstream.address, {"scope": "ROUTE"}))
    await gateway.post("/cache/purge")
    await post(gateway, said(), CHAT + query)
    assert "evil" not in upstream.requests[0].target


# Requests that are made to take long, or much memory


async def test_no_text_makes_an_expression_take_long(gateway: Gateway, upstream: FaultyUpstream) -> None:
    evil = {"name": "evil", "regex": "(a+)+$|(?:a|aa)*b|(.*)*x", "action": "DENY"}
    await gateway.apply(under(upstream, {"guardrail": {"rules": [evil]}}))
    async with asyncio.timeout(30):
        await post(gateway, said("a" * 100_000 + "!"))
    # Nor where a caller is authorized, or a route chosen.
    allowed = under(upstream, {"authorization": {"expression": '!request.headers["x-a"].matches("^(a+)+$")'}})
    routes = [{**allowed["routes"][0], "match": {"headers": [{"name": "x-a", "regex": "(a|a?)+b|(a+)+!"}]}}]
    await gateway.apply({**allowed, "routes": routes})
    async with asyncio.timeout(30):
        assert (await post(gateway, said(), headers={"x-a": "a" * 8000 + "!"}))[0] == 200
        assert (await post(gateway, said(), headers={"x-a": "a" * 8000 + "?"}))[0] == 404


async def test_deep_and_wide_values_are_no_matter_for_expressions(gateway: Gateway, upstream: FaultyUpstream) -> None:
    expression = 'request.query["a"] == "1" && request.headers["x-deep"].size() > 0'
    await gateway.apply(under(upstream, {"authorization": {"expression": expression}}))
    query = "&".join(["a=1", *(f"k{number}={number}" for number in range(1000))])
    status, _, _ = await post(gateway, said(), f"{CHAT}?{query}", {"x-deep": "[" * 7000})
    assert status == 200
    deep = b'{"model":"small","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await post(gateway, deep, f"{CHAT}?a=1", {"x-deep": "x"}))[0] == 400


async def test_many_keys_of_a_limit_share_what_one_gets(gateway: Gateway, upstream: FaultyUpstream) -> None:
    limit = {"unit": "REQUESTS", "limit": 1, "window": "60s", "key": "HEADER", "header": "x-team"}
    config = dict(with_keys(one_pool(upstream.address), api_key(ALICE)))
    config["policies"].append({"name": "p", "rate_limit": {"limits": [limit]}})
    config["routes"][0]["policies"].append("p")
    await gateway.apply(config)
    headers = {"authorization": f"Bearer {ALICE}"}
    for team in ("red", "x" * 5000):
        assert (await post(gateway, said(), headers={**headers, "x-team": team}))[0] == 200
        assert (await post(gateway, said(), headers={**headers, "x-team": team}))[0] == 429
