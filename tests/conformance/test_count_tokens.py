"""Tokens of a conversation counted, asked as Anthropic and as Gemini do, by backends of both."""

from typing import Any

import anthropic
import pytest
from google import genai
from google.genai import errors, types

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.dialects import MODEL, TOOL_PARAMETERS, UPSTREAM_MODEL, Json, Node
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer, fail

ANTHROPIC_PATH = "/v1/messages/count_tokens"
GEMINI_PATH = f"/v1beta/models/{MODEL}:countTokens"

ANTHROPIC: Json = {
    "model": MODEL,
    "system": "Be short.",
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [{"name": "weather", "input_schema": TOOL_PARAMETERS}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
WHOLE: Json = {
    "model": f"models/{MODEL}",
    "systemInstruction": {"parts": [{"text": "Be short."}]},
    "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
    "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": TOOL_PARAMETERS}]}],
    "generationConfig": {"maxOutputTokens": 9, "temperature": 2, "thinkingConfig": {"thinkingBudget": 1024}},
}
GEMINI: Json = {"generateContentRequest": WHOLE}


async def configure(gateway: Gateway, upstream: FaultyUpstream, schema: str, **service: Any) -> None:
    target = {"upstream": "pool", "schema": schema}
    models = [{"name": MODEL, "upstream_name": UPSTREAM_MODEL}]
    route = {"match": {"models": [MODEL]}}
    service = {"upstream_service": target, "models": models, **service}
    await gateway.apply(one_pool(upstream.address, service=service, route=route))


async def post(node: Node, path: str, body: Json, **headers: str) -> tuple[int, Json]:
    async with node.session.post(f"http://{node.http}{path}", json=body, headers=headers) as response:
        found: Json = await response.json()
        return response.status, found


async def test_anthropics_own_way(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node) -> None:
    await configure(gateway, upstream, "ANTHROPIC")
    upstream.script = answer(json_response(200, {"input_tokens": 14, "new": True}))
    asked = {**ANTHROPIC, "unheard_of": 7}
    assert await post(inference_node, ANTHROPIC_PATH, asked) == (200, {"input_tokens": 14, "new": True})
    (request,) = upstream.requests
    assert request.target == ANTHROPIC_PATH
    assert request.json() == {**asked, "model": UPSTREAM_MODEL}
    assert request.header("anthropic-version") == "2023-06-01"


@pytest.mark.parametrize("path", [GEMINI_PATH, GEMINI_PATH.replace("v1beta", "v1")])
async def test_geminis_own_way(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str) -> None:
    await configure(gateway, upstream, "GEMINI")
    told = {"totalTokens": 5, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}]}
    upstream.script = answer(json_response(200, told))
    assert await post(inference_node, path, GEMINI) == (200, told)
    (request,) = upstream.requests
    assert request.target == f"/v1beta/models/{UPSTREAM_MODEL}:countTokens"
    assert request.json() == {"generateContentRequest": {**WHOLE, "model": f"models/{UPSTREAM_MODEL}"}}


async def test_contents_alone_pass_as_they_are(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node
) -> None:
    await configure(gateway, upstream, "GEMINI")
    upstream.script = answer(json_response(200, {"totalTokens": 5}))
    asked = {"contents": WHOLE["contents"]}
    assert await post(inference_node, GEMINI_PATH, asked) == (200, {"totalTokens": 5})
    assert upstream.requests[0].json() == asked


async def test_anthropics_way_before_gemini(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node) -> None:
    await configure(gateway, upstream, "GEMINI")
    upstream.script = answer(json_response(200, {"totalTokens": 14, "cachedContentTokenCount": 3}))
    assert await post(inference_node, ANTHROPIC_PATH, ANTHROPIC) == (200, {"input_tokens": 14})
    (request,) = upstream.requests
    assert request.target == f"/v1beta/models/{UPSTREAM_MODEL}:countTokens"
    sent = request.json()["generateContentRequest"]
    assert sent["model"] == f"models/{UPSTREAM_MODEL}"
    assert (sent["systemInstruction"], sent["contents"]) == (WHOLE["systemInstruction"], WHOLE["contents"])
    assert sent["tools"] == WHOLE["tools"]


@pytest.mark.parametrize(
    "asked",
    [
        GEMINI,
        {"generate_content_request": {**WHOLE, "system_instruction": WHOLE["systemInstruction"]}},
        {name: value for name, value in WHOLE.items() if name != "model"},
    ],
    ids=["whole request", "snake case", "fields of a request"],
)
async def test_geminis_way_before_anthropic(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, asked: Json
) -> None:
    await configure(gateway, upstream, "ANTHROPIC")
    upstream.script = answer(json_response(200, {"input_tokens": 14}))
    assert await post(inference_node, GEMINI_PATH, asked) == (200, {"totalTokens": 14})
    (request,) = upstream.requests
    assert request.target == ANTHROPIC_PATH
    sent = request.json()
    # Nothing that only an answer needs: the API would refuse it.
    assert sent.keys() == {"model", "system", "messages", "tools", "thinking"}
    assert (sent["model"], sent["system"]) == (UPSTREAM_MODEL, "Be short.")
    assert sent["messages"] == [{"role": "user", "content": "hello"}]
    assert sent["tools"] == ANTHROPIC["tools"]


@pytest.mark.parametrize(("path", "told"), [(ANTHROPIC_PATH, {"input_tokens": 14}), (GEMINI_PATH, {"totalTokens": 14})])
async def test_bedrock_counts_for_clients_of_both(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, told: Json
) -> None:
    await configure(gateway, upstream, "BEDROCK")
    upstream.script = answer(json_response(200, {"inputTokens": 14}))
    asked = ANTHROPIC if path == ANTHROPIC_PATH else GEMINI
    assert await post(inference_node, path, asked) == (200, told)
    (request,) = upstream.requests
    assert request.target == f"/model/{UPSTREAM_MODEL}/count-tokens"
    sent = request.json()["input"]["converse"]
    # `ConverseTokensRequest` has no other fields.
    assert sent.keys() <= {"messages", "system", "toolConfig", "additionalModelRequestFields"}
    assert (sent["system"], sent["messages"]) == (
        [{"text": "Be short."}],
        [{"role": "user", "content": [{"text": "hello"}]}],
    )
    (tool,) = sent["toolConfig"]["tools"]
    assert tool["toolSpec"]["inputSchema"] == {"json": TOOL_PARAMETERS}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (ANTHROPIC_PATH, ANTHROPIC, {"input_tokens": 14}),
        (GEMINI_PATH, GEMINI, {"totalTokens": 14}),
        (GEMINI_PATH, {name: value for name, value in WHOLE.items() if name != "model"}, {"totalTokens": 14}),
    ],
    ids=["anthropic", "whole request of gemini", "fields of gemini"],
)
async def test_vertex_ai_counts_for_clients_of_both(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, body: Json, told: Json
) -> None:
    proxy = {"provider": "vertex_ai", "base_url": upstream.url, "project": "p", "region": "europe-west4"}
    models = [{"name": MODEL, "upstream_name": UPSTREAM_MODEL}]
    await gateway.apply(
        {
            "services": [{"name": "vertex", "proxy_service": proxy, "models": models}],
            "routes": [{"name": "all", "match": {"models": [MODEL]}, "backends": [{"service": "vertex"}]}],
        }
    )
    upstream.script = answer(json_response(200, {"totalTokens": 14, "totalBillableCharacters": 20}))
    assert await post(inference_node, path, body) == (200, told)
    (request,) = upstream.requests
    place = "/v1/projects/p/locations/europe-west4/publishers/google/models"
    assert request.target == f"{place}/{UPSTREAM_MODEL}:countTokens"
    sent = request.json()
    # Nothing stands in a whole request there, and what says how to answer is not known.
    assert sent.keys() <= {"contents", "systemInstruction", "tools", "generationConfig"}
    assert (sent["systemInstruction"], sent["contents"]) == (WHOLE["systemInstruction"], WHOLE["contents"])
    assert sent["tools"] == WHOLE["tools"]


@pytest.mark.parametrize("path", [ANTHROPIC_PATH, GEMINI_PATH])
@pytest.mark.parametrize("schema", ["OPENAI", "OLLAMA", "COHERE"])
async def test_service_that_cannot_count_says_so(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, schema: str
) -> None:
    await configure(gateway, upstream, schema)
    status, got = await post(inference_node, path, ANTHROPIC if path == ANTHROPIC_PATH else GEMINI)
    assert status == 400
    assert f"service llm speaks {schema}, which has no counting of tokens" in got["error"]["message"]
    assert "those that speak GEMINI, ANTHROPIC, BEDROCK have it" in got["error"]["message"]
    if path == ANTHROPIC_PATH:
        assert (got["type"], got["error"]["type"]) == ("error", "invalid_request_error")
    else:
        assert (got["error"]["code"], got["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "schema", "body", "named"),
    [
        (ANTHROPIC_PATH, "GEMINI", {"model": MODEL}, "messages"),
        (ANTHROPIC_PATH, "GEMINI", {**ANTHROPIC, "container": "c"}, "container"),
        (GEMINI_PATH, "ANTHROPIC", {}, "contents"),
        (GEMINI_PATH, "ANTHROPIC", {"generateContentRequest": {"contents": 7}}, "in generateContentRequest: contents"),
        (GEMINI_PATH, "ANTHROPIC", {**GEMINI, "contents": []}, "generateContentRequest"),
    ],
)
async def test_what_cannot_be_counted_is_refused_by_name(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    path: str,
    schema: str,
    body: Json,
    named: str,
) -> None:
    await configure(gateway, upstream, schema)
    status, got = await post(inference_node, path, body)
    assert (status, named in str(got)) == (400, True), got
    assert upstream.requests == []


@pytest.mark.parametrize(("path", "schema"), [(ANTHROPIC_PATH, "GEMINI"), (GEMINI_PATH, "ANTHROPIC")])
async def test_errors_of_backends_are_told_in_the_dialect_of_the_caller(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, schema: str
) -> None:
    await configure(gateway, upstream, schema)
    asked = ANTHROPIC if path == ANTHROPIC_PATH else GEMINI
    upstream.script = answer(json_response(200, {"tokens": "many"}))
    status, got = await post(inference_node, path, asked)
    assert (status, "cannot be understood" in got["error"]["message"]) == (502, True)
    upstream.script = fail(429, "slow down")
    status, got = await post(inference_node, path, asked)
    assert (status, got.get("type")) == (429, "error" if path == ANTHROPIC_PATH else None)


async def test_counting_uses_no_tokens(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node) -> None:
    for schema, told in (("ANTHROPIC", {"input_tokens": 14}), ("GEMINI", {"totalTokens": 14})):
        await configure(gateway, upstream, schema)
        upstream.script = answer(json_response(200, told))
        before = await gateway.metric("janua_tokens_total", {"service": "llm", "kind": "input"})
        assert (await post(inference_node, ANTHROPIC_PATH, ANTHROPIC))[0] == 200
        await gateway.wait_until_idle()
        assert await gateway.metric("janua_tokens_total", {"service": "llm", "kind": "input"}) == before


async def test_keys_are_asked_for(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node) -> None:
    target = {"upstream_service": {"upstream": "pool", "schema": "GEMINI"}}
    await gateway.apply(with_keys(one_pool(upstream.address, service=target), api_key("sk-alice")))
    upstream.script = answer(json_response(200, {"totalTokens": 5}))
    assert (await post(inference_node, ANTHROPIC_PATH, ANTHROPIC))[0] == 401
    assert (await post(inference_node, f"{GEMINI_PATH}?key=sk-alice", GEMINI))[0] == 200
    assert (await post(inference_node, ANTHROPIC_PATH, ANTHROPIC, **{"x-api-key": "sk-alice"}))[0] == 200


@pytest.mark.parametrize(("schema", "told"), [("ANTHROPIC", {"input_tokens": 14}), ("GEMINI", {"totalTokens": 14})])
async def test_anthropic_client(gateway: Gateway, upstream: FaultyUpstream, schema: str, told: Json) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, told))
    url = f"http://{gateway.addresses.http}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-alice", max_retries=0, timeout=20) as client:
        count = await client.messages.count_tokens(
            model=MODEL,
            system="Be short.",
            messages=[{"role": "user", "content": "hello"}],
            tools=[{"name": "weather", "input_schema": TOOL_PARAMETERS}],
        )
        assert count.input_tokens == 14
        await configure(gateway, upstream, "OPENAI")
        with pytest.raises(anthropic.BadRequestError, match="has no counting of tokens"):
            await client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hello"}])


# The client subclasses what aiohttp would rather not have subclassed.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize(("schema", "told"), [("ANTHROPIC", {"input_tokens": 14}), ("GEMINI", {"totalTokens": 14})])
async def test_gemini_client(gateway: Gateway, upstream: FaultyUpstream, schema: str, told: Json) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, told))
    options = types.HttpOptions(base_url=f"http://{gateway.addresses.http}", timeout=20_000)
    async with genai.Client(api_key="sk-alice", http_options=options).aio as client:
        count = await client.models.count_tokens(model=MODEL, contents="hello")
        assert count.total_tokens == 14
        await configure(gateway, upstream, "OPENAI")
        with pytest.raises(errors.ClientError, match="has no counting of tokens"):
            await client.models.count_tokens(model=MODEL, contents="hello")
