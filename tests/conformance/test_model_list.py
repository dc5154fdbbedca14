"""The models that a caller may ask for, in each dialect, raw and by the official clients."""

from collections.abc import Mapping
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import types

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.dialects import Json, Node
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream

# Google's client subclasses what aiohttp would rather not have subclassed.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

KEY = "sk-alice"
ANTHROPIC = {"anthropic-version": "2023-06-01", "x-api-key": KEY}
GEMINI = {"x-goog-api-key": KEY}
BEARER = {"authorization": f"Bearer {KEY}"}
NAMES = ["gemma-3", "gemma3:270m"]


@pytest.fixture
async def node(gateway: Gateway, upstream: FaultyUpstream, inference_node: Node) -> Node:
    """A node with two models, behind keys, and a route that would take every path."""
    route = {"match": {"models": [*NAMES, "hidden-*"]}}
    configuration: dict[str, Any] = {**one_pool(upstream.address, route=route)}
    configuration["routes"] = [
        *configuration["routes"],
        {"name": "all", "match": {"path": {"prefix": "/"}}, "backends": [{"service": "llm"}]},
    ]
    await gateway.apply(with_keys(configuration, api_key(KEY)))
    return inference_node


async def get(node: Node, path: str, headers: Mapping[str, str]) -> tuple[int, Json]:
    async with node.session.get(f"http://{node.http}{path}", headers=headers) as response:
        assert response.headers["x-request-id"]
        assert response.content_type == "application/json"
        body: Json = await response.json()
        return response.status, body


async def test_as_openai_writes_it(node: Node) -> None:
    status, body = await get(node, "/v1/models", BEARER)
    assert (status, body["object"]) == (200, "list")
    assert [(each["id"], each["object"], each["owned_by"]) for each in body["data"]] == [
        (name, "model", "llm") for name in NAMES
    ]
    assert await get(node, "/v1/models/gemma3:270m", BEARER) == (200, body["data"][1])


async def test_as_anthropic_writes_it(node: Node) -> None:
    status, body = await get(node, "/v1/models?limit=20", ANTHROPIC)
    assert status == 200
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, *NAMES)
    assert [(each["type"], each["id"], each["display_name"]) for each in body["data"]] == [
        ("model", name, name) for name in NAMES
    ]
    assert await get(node, "/v1/models/gemma-3", ANTHROPIC) == (200, body["data"][0])


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/models", GEMINI), ("/v1beta/models", GEMINI), ("/v1beta/models?pageSize=9", BEARER)],
)
async def test_as_gemini_writes_it(node: Node, path: str, headers: Mapping[str, str]) -> None:
    status, body = await get(node, path, headers)
    assert (status, [each["name"] for each in body["models"]]) == (200, [f"models/{name}" for name in NAMES])
    one = path.partition("?")[0]
    assert await get(node, f"{one}/gemma-3", headers) == (200, body["models"][0])


async def test_key_of_gemini_may_stand_in_the_query(node: Node) -> None:
    assert (await get(node, f"/v1beta/models?key={KEY}", {}))[0] == 200
    assert (await get(node, f"/v1beta/models/gemma-3?key={KEY}", {}))[0] == 200
    assert (await get(node, f"/v1/models?key={KEY}", {}))[0] == 401


async def test_as_ollama_writes_it(node: Node) -> None:
    status, body = await get(node, "/api/tags", BEARER)
    assert status == 200
    assert [(each["name"], each["model"]) for each in body["models"]] == [(name, name) for name in NAMES]


@pytest.mark.parametrize(
    ("path", "headers", "place"),
    [
        ("/v1/models", {}, ("error", "code")),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, ("error", "type")),
        ("/v1beta/models", {}, ("error", "status")),
        ("/v1/models", {"x-goog-api-key": "sk-wrong"}, ("error", "status")),
        ("/api/tags", {}, ("error",)),
    ],
)
async def test_errors_are_of_the_dialect(
    node: Node, path: str, headers: Mapping[str, str], place: tuple[str, ...]
) -> None:
    status, body = await get(node, path, headers)
    assert status == 401
    told: Any = body
    for name in place:
        told = told[name]
    expected = {"code": ("missing_api_key",), "type": ("authentication_error",), "status": ("UNAUTHENTICATED",)}
    assert told in expected.get(place[-1], (told,))
    assert isinstance(told, str)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/models/none", BEARER), ("/v1/models/none", ANTHROPIC), ("/v1beta/models/none", GEMINI)],
)
async def test_model_that_is_not_there(node: Node, path: str, headers: Mapping[str, str]) -> None:
    status, body = await get(node, path, headers)
    assert (status, "there is no model 'none'" in body["error"]["message"]) == (404, True)


async def test_openai_client(node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://{node.http}/v1", api_key=KEY, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == NAMES
        assert (await client.models.retrieve("gemma-3")).owned_by == "llm"


async def test_anthropic_client(node: Node) -> None:
    async with anthropic.AsyncAnthropic(base_url=f"http://{node.http}", api_key=KEY, max_retries=0) as client:
        models = [model async for model in client.models.list()]
        assert [model.id for model in models] == NAMES
        assert models[0].created_at.year >= 2026
        assert (await client.models.retrieve("gemma-3")).display_name == "gemma-3"
        with pytest.raises(anthropic.NotFoundError, match="there is no model"):
            await client.models.retrieve("none")


async def test_gemini_client(node: Node) -> None:
    options = types.HttpOptions(base_url=f"http://{node.http}", timeout=20_000)
    async with genai.Client(api_key=KEY, http_options=options).aio as client:
        models = [model async for model in await client.models.list()]
        assert [model.name for model in models] == [f"models/{name}" for name in NAMES]
        assert (await client.models.get(model="gemma-3")).display_name == "gemma-3"


async def test_ollama_client(node: Node) -> None:
    async with ollama.AsyncClient(host=f"http://{node.http}", headers=BEARER, timeout=20) as client:
        assert [model.model for model in (await client.list()).models] == NAMES
