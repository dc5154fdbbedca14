"""A cache that finds by meaning, from the config server on: what may be applied, and what nodes do with it."""

from typing import Any

import aiohttp
import pytest
from janua.config.v1.config_service_pb2 import Change
from janua.config.v1.resource_pb2 import KIND_SERVICE, ResourceKey
from janua_client.config_client import ConfigClient
from janua_client.errors import JanuaError

from tests.integration.configuration import KEY, apply, changes, pool
from tests.support.embedding_model import vectors
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory

SEMANTIC = {"service": "embedder", "model": "vectors"}


def configured(model: str, embedder: str, **semantic: Any) -> dict[str, list[dict[str, Any]]]:
    config = pool([model])
    config["upstreams"].append({"name": "embedders", "endpoints": [{"address": embedder}]})
    config["services"].append({"name": "embedder", "upstream_service": {"upstream": "embedders"}})
    config["policies"].append({"name": "kept", "cache": {"ttl": "300s", "semantic": {**SEMANTIC, **semantic}}})
    config["routes"][0]["policies"].append("kept")
    return config


async def ask(session: aiohttp.ClientSession, node: Node, text: str) -> tuple[str, str]:
    """What the cache did, and the answer."""
    body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
    url, headers = f"http://{node.http}/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
    async with session.post(url, json=body, headers=headers) as reply:
        assert reply.status == 200, await reply.text()
        return reply.headers["x-janua-cache"], (await reply.json())["choices"][0]["message"]["content"]


async def test_nodes_find_by_meaning_also_after_changes_and_without_the_embedder(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory, faulty_upstream: FaultyUpstream
) -> None:
    (model,) = await echo_models(1)
    faulty_upstream.script = vectors()
    serving = await node(config_server)
    config = configured(model.address, faulty_upstream.address)
    await apply(config_server, config)
    async with aiohttp.ClientSession() as session:
        first = await ask(session, serving, "weather in Oslo")
        assert first[0] == "miss"
        assert await ask(session, serving, "weather for Oslo") == ("hit", first[1])

        # A model that others make gives up what was kept by the vectors of before.
        config["services"][1]["models"] = [{"name": "vectors", "upstream_name": "vectors-2"}]
        await apply(config_server, config)
        assert (await ask(session, serving, "weather for Oslo"))[0] == "miss"
        assert (await ask(session, serving, "weather at Oslo"))[0] == "hit"

        # Without it and without a config server the node serves on.
        await faulty_upstream.stop()
        await config_server.stop()
        assert (await ask(session, serving, "weather near Oslo"))[0] == "miss"
        assert (await ask(session, serving, "weather near Oslo"))[0] == "hit"
        await serving.stop()
        await serving.restart()

        async def is_kept() -> bool:
            return (await ask(session, serving, "weather near Oslo"))[0] == "hit"

        await eventually(is_kept)


async def test_config_server_refuses_what_cannot_be(
    config_server: ConfigServer, echo_models: EchoFactory, faulty_upstream: FaultyUpstream
) -> None:
    (model,) = await echo_models(1)
    config = configured(model.address, faulty_upstream.address)
    async with ConfigClient(config_server.address) as client:

        async def refusal(*changed: Change) -> str:
            with pytest.raises(JanuaError) as refused:
                await client.apply(changed)
            return str(refused.value)

        without = {**config, "services": config["services"][:1]}
        assert ".upsert.policy.cache.semantic.service: service 'embedder' does not exist" in await refusal(
            *changes(without)
        )
        cyclic = {**config, "services": [config["services"][0], {**config["services"][1], "policies": ["kept"]}]}
        assert "which is for routes, not for a service" in await refusal(*changes(cyclic))
        shared = configured(model.address, faulty_upstream.address)
        shared["policies"][1]["cache"]["store"] = "STORE_SHARED"
        assert "is for store MEMORY" in await refusal(*changes(shared))

        await client.apply(changes(config))
        removed = Change(delete=ResourceKey(kind=KIND_SERVICE, name="embedder"))
        assert "embedder" in await refusal(removed)
