"""`examples/translation.yaml`: clients of four dialects before one real server of OpenAI's."""

from typing import Any

import aiohttp
import pytest

from tests.examples.test_examples import start
from tests.support.processes import EchoFactory, NodeFactory

HELLO = "hello there"
MESSAGES = [{"role": "user", "content": HELLO}]


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
            "/api/chat",
            {"authorization": "Bearer janua-demo-key"},
            {"model": "local", "stream": False, "messages": MESSAGES},
            ("message", "content"),
        ),
    ],
    ids=["openai", "anthropic", "gemini", "ollama"],
)
async def test_clients_of_four_dialects_reach_one_server(
    node: NodeFactory,
    echo_models: EchoFactory,
    path: str,
    headers: dict[str, str],
    body: dict[str, Any],
    place: tuple[str | int, ...],
) -> None:
    (model,) = await echo_models(1, "--models", "local")
    environ = {"ANTHROPIC_API_KEY": "made-up", "GEMINI_API_KEY": "made-up"}
    gateway = await start(node, "translation.yaml", MODEL=model.address, **environ)
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
