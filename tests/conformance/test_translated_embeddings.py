"""Vectors in every dialect of clients that has them, from every dialect of backends that has them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from janua.inference.v1 import embeddings_pb2
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

from tests.conformance.configuration import one_pool
from tests.conformance.dialects import MODEL, UPSTREAM_MODEL, Json, Node
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer, fail

TEXTS = ["one", "two"]
VECTORS = [[0.5, -1.0], [1.0, 2.0]]

Embed = Callable[[Node, int | None], Awaitable[tuple[str, Sequence[Sequence[float]], int]]]
"""Asks for vectors, of so many numbers if they are given: the model, the vectors, and the tokens read."""


async def over_openai(inference_node: Node, dimensions: int | None) -> tuple[str, Sequence[Sequence[float]], int]:
    body = await _post(inference_node, "/v1/embeddings", {"model": MODEL, "input": TEXTS}, dimensions)
    assert [item["index"] for item in body["data"]] == [0, 1]
    return body["model"], [item["embedding"] for item in body["data"]], body["usage"]["prompt_tokens"]


async def over_ollama(inference_node: Node, dimensions: int | None) -> tuple[str, Sequence[Sequence[float]], int]:
    body = await _post(inference_node, "/api/embed", {"model": MODEL, "input": TEXTS}, dimensions)
    return body["model"], body["embeddings"], body["prompt_eval_count"]


async def over_gemini(inference_node: Node, dimensions: int | None) -> tuple[str, Sequence[Sequence[float]], int]:
    settings = {} if dimensions is None else {"outputDimensionality": dimensions}
    asked = {"requests": [{"content": {"parts": [{"text": text}]}, **settings} for text in TEXTS]}
    body = await _post(inference_node, f"/v1beta/models/{MODEL}:batchEmbedContents", asked, None)
    # Its answers name no model.
    return MODEL, [item["values"] for item in body["embeddings"]], body["usageMetadata"]["promptTokenCount"]


async def over_cohere(inference_node: Node, dimensions: int | None) -> tuple[str, Sequence[Sequence[float]], int]:
    settings = {} if dimensions is None else {"output_dimension": dimensions}
    asked = {"model": MODEL, "texts": TEXTS, "input_type": "search_query", "embedding_types": ["float"], **settings}
    body = await _post(inference_node, "/v2/embed", asked, None)
    return MODEL, body["embeddings"]["float"], body["meta"]["billed_units"]["input_tokens"]


async def over_grpc(inference_node: Node, dimensions: int | None) -> tuple[str, Sequence[Sequence[float]], int]:
    request = embeddings_pb2.CreateEmbeddingsRequest(model=MODEL, input=TEXTS, dimensions=dimensions)
    got = await InferenceServiceStub(inference_node.channel).CreateEmbeddings(request)
    return got.model, [list(item.values) for item in got.embeddings], got.usage.input_tokens


async def _post(inference_node: Node, path: str, body: Json, dimensions: int | None) -> Json:
    asked = body if dimensions is None else {**body, "dimensions": dimensions}
    async with inference_node.session.post(f"http://{inference_node.http}{path}", json=asked) as response:
        found: Json = await response.json()
        assert response.status == 200, found
        return found


OPENAI: Mapping[str, Any] = {
    "object": "list",
    "model": UPSTREAM_MODEL,
    "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(VECTORS)],
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}
OLLAMA: Mapping[str, Any] = {"model": UPSTREAM_MODEL, "embeddings": VECTORS, "prompt_eval_count": 5}

clients = pytest.mark.parametrize(
    "embed",
    [over_openai, over_ollama, over_gemini, over_cohere, over_grpc],
    ids=["openai", "ollama", "gemini", "cohere", "grpc"],
)
backends = pytest.mark.parametrize(
    ("schema", "path", "body"),
    [("OPENAI", "/v1/embeddings", OPENAI), ("OLLAMA", "/api/embed", OLLAMA)],
    ids=["to-openai", "to-ollama"],
)


async def configure(gateway: Gateway, upstream: FaultyUpstream, schema: str) -> None:
    target = {"upstream": "pool", "schema": schema}
    models = [{"name": MODEL, "upstream_name": UPSTREAM_MODEL}]
    await gateway.apply(one_pool(upstream.address, service={"upstream_service": target, "models": models}))


GEMINI: Mapping[str, Any] = {
    "embeddings": [{"values": vector} for vector in VECTORS],
    "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5},
}


@clients
async def test_vectors_of_gemini(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, embed: Embed
) -> None:
    await configure(gateway, upstream, "GEMINI")
    upstream.script = answer(json_response(200, GEMINI))
    assert await embed(inference_node, 2) == (MODEL, VECTORS, 5)
    (request,) = upstream.requests
    assert request.target == f"/v1beta/models/{UPSTREAM_MODEL}:batchEmbedContents"
    texts = request.json()["requests"]
    assert [each["content"]["parts"] for each in texts] == [[{"text": text}] for text in TEXTS]
    assert {each["outputDimensionality"] for each in texts} == {2}


async def configure_provider(gateway: Gateway, upstream: FaultyUpstream, upstream_name: str, **proxy: Any) -> None:
    service = {
        "name": "it",
        "proxy_service": {"base_url": upstream.url, **proxy},
        "models": [{"name": MODEL, "upstream_name": upstream_name}],
    }
    route = {"name": "all", "match": {"models": [MODEL]}, "backends": [{"service": "it"}]}
    await gateway.apply({"services": [service], "routes": [route]})


@clients
async def test_vectors_of_vertex_ai(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, embed: Embed
) -> None:
    await configure_provider(
        gateway, upstream, "text-embedding-005", provider="vertex_ai", project="p", region="europe-west4"
    )
    counts = iter((2, 3))
    predictions = [{"embeddings": {"values": each, "statistics": {"token_count": next(counts)}}} for each in VECTORS]
    upstream.script = answer(json_response(200, {"predictions": predictions}))
    assert await embed(inference_node, 2) == (MODEL, VECTORS, 5)
    (request,) = upstream.requests
    models = "/v1/projects/p/locations/europe-west4/publishers/google/models"
    assert request.target == f"{models}/text-embedding-005:predict"
    assert [each["content"] for each in request.json()["instances"]] == TEXTS
    assert request.json()["parameters"] == {"outputDimensionality": 2}


@clients
async def test_vectors_of_cohere_on_bedrock(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, embed: Embed
) -> None:
    await configure_provider(gateway, upstream, "eu.cohere.embed-v4:0", provider="bedrock", region="eu-west-1")
    told = {"embeddings": {"float": VECTORS}, "id": "1", "texts": TEXTS}
    counted = [("x-amzn-bedrock-input-token-count", "5")]
    upstream.script = answer(json_response(200, told, headers=counted))
    assert await embed(inference_node, 2) == (MODEL, VECTORS, 5)
    (request,) = upstream.requests
    assert request.target == "/model/eu.cohere.embed-v4%3A0/invoke"
    sent = request.json()
    assert (sent["texts"], sent["output_dimension"], "model" in sent) == (TEXTS, 2, False)


async def test_one_vector_of_titan_on_bedrock(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node) -> None:
    await configure_provider(gateway, upstream, "amazon.titan-embed-text-v2:0", provider="bedrock", region="eu-west-1")
    upstream.script = answer(json_response(200, {"embedding": VECTORS[0], "inputTextTokenCount": 5}))
    body = await _post(inference_node, "/v1/embeddings", {"model": MODEL, "input": "one"}, 256)
    assert (body["data"][0]["embedding"], body["usage"]["prompt_tokens"]) == (VECTORS[0], 5)
    (request,) = upstream.requests
    assert request.target == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert request.json() == {"inputText": "one", "dimensions": 256}

    two = {"model": MODEL, "input": TEXTS}
    async with inference_node.session.post(f"http://{inference_node.http}/v1/embeddings", json=two) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported_field", "input")
    assert len(upstream.requests) == 1


async def test_error_of_bedrock_is_told_in_the_dialect_of_the_caller(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node
) -> None:
    await configure_provider(gateway, upstream, "cohere.embed-english-v3", provider="bedrock", region="eu-west-1")
    upstream.script = answer(json_response(429, {"message": "Too many requests, please wait."}))
    body = {"model": MODEL, "input": TEXTS}
    async with inference_node.session.post(f"http://{inference_node.http}/v1/embeddings", json=body) as response:
        error = (await response.json())["error"]
    assert response.status == 429
    assert "Too many requests" in error["message"]


@pytest.mark.parametrize(("schema", "body"), [("GEMINI", {"embedding": {"values": VECTORS[0]}}), ("OPENAI", OPENAI)])
async def test_one_vector_for_a_client_of_gemini(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, schema: str, body: Json
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, body))
    asked = {"content": {"parts": [{"text": "one"}]}}
    got = await _post(inference_node, f"/v1beta/models/{MODEL}:embedContent", asked, None)
    assert got["embedding"] == {"values": VECTORS[0]}


@clients
@backends
@pytest.mark.parametrize("dimensions", [None, 2])
async def test_vectors(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    embed: Embed,
    schema: str,
    path: str,
    body: Json,
    dimensions: int | None,
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = answer(json_response(200, body))
    assert await embed(inference_node, dimensions) == (MODEL, VECTORS, 5)
    (request,) = upstream.requests
    assert request.target == path
    sent = request.json()
    assert (sent["model"], sent["input"], sent.get("dimensions")) == (UPSTREAM_MODEL, TEXTS, dimensions)


@pytest.mark.parametrize(("path", "schema"), [("/api/embed", "OPENAI"), ("/v1/embeddings", "OLLAMA")])
async def test_error_of_a_backend_is_told_in_the_dialect_of_the_caller(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, path: str, schema: str
) -> None:
    await configure(gateway, upstream, schema)
    upstream.script = fail(429, "slow down")
    async with inference_node.session.post(
        f"http://{inference_node.http}{path}", json={"model": MODEL, "input": TEXTS}
    ) as response:
        error = (await response.json())["error"]
    assert response.status == 429
    assert isinstance(error, str) is (path == "/api/embed")


async def test_service_without_embeddings_says_so(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node
) -> None:
    await configure(gateway, upstream, "ANTHROPIC")
    body = {"model": MODEL, "input": TEXTS}
    async with inference_node.session.post(f"http://{inference_node.http}/v1/embeddings", json=body) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported_by_service", "model")
    assert upstream.requests == []
