"""`examples/translation.yaml`: clients of five dialects before one real server of OpenAI's."""

from typing import Any

import aiohttp
import pytest

from tests.examples.test_examples import start
from tests.support.processes import EchoFactory, NodeFactory

HELLO = "hello there"
MESSAGES = [{"role": "user", "content": HELLO}]

KEYS = {f"{provider}_API_KEY": "made-up" for provider in ("ANTHROPIC", "GEMINI", "COHERE")}


@pytest.mark.parametrize(
    ("path", "headers", "body", "place"),
    [
        (
            "/v1/chat/completions",
            {"authorization": "Bearer janua-demo-key"},
            {"model": "local", "messages": MESSAGES},
            ("choices", 0, "message", "content"),
        ),
        (
            "/v1/messages",
            {"x-api-key": "janua-demo-key"},
            {"model": "local", "max_tokens": 100, "messages": MESSAGES},
            ("content", 0, "text"),
        ),
        (
            "/v1beta/models/local:generateContent?key=janua-demo-key",
            {},
            {"contents": [{"parts": [{"text": HELLO}]}]},
            ("candidates", 0, "content", "parts", 0, "text"),
        ),
        (
            "/v2/chat",
            {"authorization": "Bearer janua-demo-key"},
            {"model": "local", "messages": MESSAGES},
            ("message", "content", 0, "text"),
        ),
        (
            "/api/chat",
            {"authorization": "Bearer janua-demo-key"},
            {"model": "local", "stream": False, "messages": MESSAGES},
            ("message", "content"),
        ),
    ],
    ids=["openai", "anthropic", "gemini", "cohere", "ollama"],
)
async def test_clients_of_five_dialects_reach_one_server(
    node: NodeFactory,
    echo_models: EchoFactory,
    path: str,
    headers: dict[str, str],
    body: dict[str, Any],
    place: tuple[str | int, ...],
) -> None:
    (model,) = await echo_models(1, "--models", "local")
    gateway = await start(node, "translation.yaml", MODEL=model.address, **KEYS)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.http}{path}", json=body, headers=headers) as reply,
    ):
        found: Any = await reply.json()
        assert reply.status == 200, found
        for step in place:
            found = found[step]
        assert HELLO in found
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.http}{path.replace('demo', 'wrong')}", json=body) as reply,
    ):
        assert reply.status == 401


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "/v1/messages/count_tokens",
            {"model": "local", "messages": MESSAGES},
            "service local speaks OPENAI, which has no counting of tokens",
        ),
        (
            "/v1/rerank",
            {"model": "claude-x", "query": "x", "documents": ["y"]},
            "service anthropic speaks ANTHROPIC, which has no rerank",
        ),
    ],
)
async def test_who_asks_a_service_for_what_it_cannot_do_is_told_so(
    node: NodeFactory, path: str, body: dict[str, Any], told: str
) -> None:
    gateway = await start(node, "translation.yaml", **KEYS)
    headers = {"authorization": "Bearer janua-demo-key"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.http}{path}", json=body, headers=headers) as reply,
    ):
        assert (reply.status, told in await reply.text()) == (400, True)
