"""Texts ranked, asked in both forms, by backends of both forms."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance.configuration import one_pool
from tests.conformance.dialects import MODEL, UPSTREAM_MODEL, Json, Node
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer, fail

ASKED: Json = {"model": MODEL, "query": "capital?", "documents": ["Oslo", "fish", "Rome"], "top_n": 2}

COHERE: Mapping[str, Any] = {
    "id": "rerank-1",
    "results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.5}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 3}},
}
# All of them, and not in order, as some servers answer.
OPENAI: Mapping[str, Any] = {
    "id": "rerank-1",
    "model": UPSTREAM_MODEL,
    "results": [
        {"index": 0, "relevance_score": 0.5, "document": {"text": "Oslo"}},
        {"index": 1, "relevance_score": 0.1, "document": {"text": "fish"}},
        {"index": 2, "relevance_score": 0.9, "document": {"text": "Rome"}},
    ],
    "usage": {"total_tokens": 20},
}
SORTED = [(2, 0.9), (0, 0.5)]

paths = pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
schemas = pytest.mark.parametrize(
    ("schema", "target", "body"), [("OPENAI", "/v1/rerank", OPENAI), ("COHERE", "/v2/rerank", COHERE)]
)


async def configure(gateway: Gateway, upstream: FaultyUpstream, schema: str, **service: Any) -> None:
    target = {"upstream": "pool", "schema": schema}
    models = [{"name": MODEL, "upstream_name": UPSTREAM_MODEL}]
    service = {"upstream_service": target, "models": models, **service}
    route = {"match": {"models": [MODEL]}}
    await gateway.apply(one_pool(upstream.address, service=service, route=route))


async def post(node: Node, path: str, body: Json) -> tuple[int, Json]:
    async with node.session.post(f"http://{node.http}{path}", json=body) as response:
        found: Json = await response.json()
        return response.status, found


@paths
@schemas
async def test_texts_are_ranked(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    path: str,
    schema: str,
    target: str,
    body: Json,
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, body))
    status, got = await post(inference_node, path, ASKED)
    assert status == 200, got
    results = [(each["index"], each["relevance_score"]) for each in got["results"]]
    assert results == ([(each["index"], each["relevance_score"]) for each in body["results"]], SORTED)[path != target]
    (request,) = upstream.requests
    assert request.target == target
    assert request.json() == {**ASKED, "model": UPSTREAM_MODEL}
    if path == "/v1/rerank" and schema == "OPENAI":
        assert got["model"] == MODEL


@schemas
async def test_texts_come_back_where_they_are_asked_for(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, schema: str, target: str, body: Json
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, body))
    documents = [{"text": text} for text in ASKED["documents"]]
    _, got = await post(inference_node, "/v1/rerank", {**ASKED, "documents": documents, "return_documents": True})
    assert {each["index"]: each["document"]["text"] for each in got["results"]}[2] == "Rome"


@paths
@schemas
async def test_usage_is_accounted_for(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    path: str,
    schema: str,
    target: str,
    body: Json,
) -> None:
    await configure(gateway, upstream, schema)
    name = "janua_tokens_total" if schema == "OPENAI" else "janua_search_units_total"
    labels = {"service": "llm", "kind": "input"} if schema == "OPENAI" else {"service": "llm"}
    before = await gateway.metric(name, labels)
    upstream.script = answer(json_response(200, body))
    _, got = await post(inference_node, path, ASKED)
    await gateway.wait_until_idle()
    assert await gateway.metric(name, labels) - before == (20 if schema == "OPENAI" else 3)
    if path == "/v2/rerank" and schema == "OPENAI":
        assert got["meta"]["tokens"]["input_tokens"] == 20
    if path == "/v1/rerank" and schema == "COHERE":
        assert got["meta"]["billed_units"] == {"search_units": 3}


@pytest.mark.parametrize(
    ("path", "schema", "changes", "param"),
    [
        ("/v1/rerank", "COHERE", {"documents": []}, "documents"),
        ("/v1/rerank", "COHERE", {"documents": [{"image": "x"}]}, "documents[0].text"),
        ("/v1/rerank", "COHERE", {"query": 7}, "query"),
        ("/v1/rerank", "COHERE", {"top_n": 0}, "top_n"),
        ("/v1/rerank", "COHERE", {"rank_fields": ["title"]}, "rank_fields"),
        ("/v2/rerank", "OPENAI", {"documents": ["x", 7]}, "documents[1]"),
        ("/v2/rerank", "OPENAI", {"query": None}, "query"),
        ("/v2/rerank", "OPENAI", {"max_tokens_per_doc": 10}, "max_tokens_per_doc"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    path: str,
    schema: str,
    changes: Json,
    param: str,
) -> None:
    await configure(gateway, upstream, schema)
    status, got = await post(inference_node, path, {**ASKED, **changes})
    assert status == 400
    if path == "/v1/rerank":
        assert got["error"]["param"] == param
    else:
        assert param in got["message"]
    assert upstream.requests == []


async def test_field_of_another_form_is_left_out_where_the_service_says_so(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node
) -> None:
    await configure(gateway, upstream, "OPENAI", unsupported_fields="DROP")
    upstream.script = answer(json_response(200, OPENAI))
    status, _ = await post(inference_node, "/v2/rerank", {**ASKED, "max_tokens_per_doc": 10})
    assert status == 200
    assert "max_tokens_per_doc" not in upstream.requests[0].json()


@paths
async def test_service_that_cannot_rank_says_so(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str
) -> None:
    await configure(gateway, upstream, "ANTHROPIC")
    status, got = await post(inference_node, path, ASKED)
    text = got["message"] if path == "/v2/rerank" else got["error"]["message"]
    assert (status, "speaks ANTHROPIC, which has no rerank" in text) == (400, True)
    assert upstream.requests == []


@pytest.mark.parametrize(("path", "schema"), [("/v1/rerank", "COHERE"), ("/v2/rerank", "OPENAI")])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"results": [{"index": 0}]},
        {"results": [{"index": 3, "relevance_score": 1.0}]},
        {"results": [{"index": -1, "relevance_score": 1.0}]},
    ],
)
async def test_answer_that_makes_no_sense_is_the_backends_fault(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, schema: str, body: Json
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, body))
    status, got = await post(inference_node, path, ASKED)
    text = got["message"] if path == "/v2/rerank" else got["error"]["message"]
    assert (status, "cannot be understood" in text) == (502, True)


@pytest.mark.parametrize(("path", "schema"), [("/v1/rerank", "COHERE"), ("/v2/rerank", "OPENAI")])
async def test_error_of_the_backend_is_told_in_the_dialect_of_the_caller(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, schema: str
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = fail(429, "slow down")
    status, got = await post(inference_node, path, ASKED)
    assert status == 429
    assert isinstance(got.get("message"), str) is (path == "/v2/rerank")
