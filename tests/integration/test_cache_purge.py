"""`janua cache purge`: all nodes forget what they keep."""

import json

import aiohttp

from tests.clients.janua_client.cli_runner import janua
from tests.integration.configuration import KEY, apply, pool
from tests.integration.limit_load import post
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, NodeFactory


async def test_all_nodes_forget(config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory) -> None:
    (model,) = await echo_models(1)
    nodes = [await node(config_server) for _ in range(2)]
    config = pool([model.address])
    config["policies"].append({"name": "kept", "cache": {"ttl": "300s"}})
    config["routes"][0]["policies"].append("kept")
    await apply(config_server, config)

    async def purge(*words: str) -> dict[str, int]:
        finished = await janua("cache", "purge", *words, "-o", "json", "--server", config_server.address)
        assert finished.code == 0, finished.err
        return {each["id"]: each["purged"] for each in json.loads(finished.out)["nodes"]}

    async with aiohttp.ClientSession() as session:

        async def results() -> list[str]:
            return [(await post(session, each)).headers["x-janua-cache"] for each in nodes]

        assert await results() == ["miss", "miss"]

        async def are_known() -> bool:
            """Nodes tell where they are a moment after they have connected."""
            asked = await janua("cache", "purge", "--route", "other", "--server", config_server.address)
            return asked.code == 0

        await eventually(are_known)
        assert await results() == ["hit", "hit"]
        assert set((await purge("--route", "other", "--consumer", "alice")).values()) == {0}
        assert await results() == ["hit", "hit"]
        assert set((await purge("--route", "chat", "--consumer", "alice")).values()) == {1}
        assert await results() == ["miss", "miss"]
        table = await janua("cache", "purge", "--server", config_server.address)
        assert (table.code, table.out.split()[:2]) == (0, ["NODE", "PURGED"])
        assert await results() == ["miss", "miss"]
        assert KEY not in table.out


async def test_no_node_is_an_error(config_server: ConfigServer) -> None:
    finished = await janua("cache", "purge", "--server", config_server.address)
    assert finished.code == 1
    assert "no node is connected" in finished.err
