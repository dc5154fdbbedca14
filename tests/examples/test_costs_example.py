"""`examples/costs.yaml`: text goes to the small model for free, pictures and tools to the big one, which costs."""

from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.examples.test_examples import KEY, start
from tests.support.processes import EchoFactory, Node, NodeFactory

TEXT = {"role": "user", "content": "hello there"}
PICTURE = {
    "role": "user",
    "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
        {"type": "text", "text": "?"},
    ],
}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


async def ask(node: Node, **fields: Any) -> tuple[int, str, Any]:
    """Status, service and answer."""
    body = {"model": "assistant", "messages": [TEXT], **fields}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{node.http}/v1/chat/completions", json=body, headers=KEY) as reply,
    ):
        return reply.status, reply.headers.get("x-janua-service", ""), await reply.json()


async def cost(node: Node, service: str) -> float | None:
    """The dollars that the service's models have cost; None before they are counted at all."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{node.admin}/metrics") as reply:
        families = text_string_to_metric_families(await reply.text())
    samples = [sample for family in families for sample in family.samples if sample.name == "janua_cost_usd_total"]
    return next((sample.value for sample in samples if sample.labels["service"] == service), None)


async def test_requests_go_where_they_can_be_answered_and_cost_what_the_file_says(
    node: NodeFactory, echo_models: EchoFactory
) -> None:
    small, big = await echo_models(2, "--models", "assistant")
    gateway = await start(node, "costs.yaml", SMALL=small.address, BIG=big.address, OPENAI_API_KEY="sk-made-up")

    assert (await ask(gateway))[:2] == (200, "small")
    assert (await cost(gateway, "small"), await cost(gateway, "big")) == (0, None)

    dollars = 0.0
    for fields in ({"messages": [PICTURE]}, {"tools": TOOLS}):
        status, service, answer = await ask(gateway, **fields)
        assert (status, service) == (200, "big")
        usage = answer["usage"]
        dollars += (usage["prompt_tokens"] * 0.5 + usage["completion_tokens"] * 2) / 1e6 + 0.0001
    assert await cost(gateway, "big") == pytest.approx(dollars)
    assert await cost(gateway, "small") == 0
