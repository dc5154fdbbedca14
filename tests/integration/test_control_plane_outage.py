"""A config server that goes away: traffic goes on, nodes start from disk, and nothing is sent twice afterwards."""

import aiohttp
import pytest
from janua_client.config_client import ConfigClient

from tests.integration.configuration import admin, apply, ask, pool
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory


async def _connected_nodes(server: ConfigServer) -> set[str]:
    async with ConfigClient(server.address) as client:
        return {node.id for node in (await client.nodes()).nodes if node.connected}


def _times_configured(node: Node) -> int:
    return node.log.count("configuration in use")


async def test_traffic_goes_on_and_nothing_is_resent(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    gateway = await node(config_server)
    await apply(config_server, pool([model.address]))
    async with aiohttp.ClientSession() as session:
        await config_server.kill()
        assert await ask(session, gateway, "still there") == "echo-1 heard: still there"
        async with session.get(f"http://{gateway.admin}/readyz") as response:
            assert response.status == 200

        configured = _times_configured(gateway)
        await config_server.restart()

        async def is_back() -> bool:
            return await _connected_nodes(config_server) == {gateway.name}

        await eventually(is_back)
        assert _times_configured(gateway) == configured
        assert (await admin(session, gateway, "/config_dump"))["rejected"] == []


async def test_a_node_restarted_meanwhile_serves_from_disk(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    gateway = await node(config_server)
    answer = await apply(config_server, pool([model.address]))
    await config_server.stop()
    assert await gateway.stop() == 0

    await gateway.restart()
    assert gateway.ready["revision"] == answer.revision
    async with aiohttp.ClientSession() as session:
        assert await ask(session, gateway, "from disk") == "echo-1 heard: from disk"

        configured = _times_configured(gateway)
        await config_server.restart()

        async def is_back() -> bool:
            return await _connected_nodes(config_server) == {gateway.name}

        await eventually(is_back)
        assert _times_configured(gateway) == configured
        # And changes reach it again.
        resources = pool([model.address])
        resources["services"][0]["models"] = [{"name": "alias", "upstream_name": "echo"}]
        resources["routes"][0]["match"] = {"models": ["echo", "alias"]}
        await apply(config_server, resources)
        assert await ask(session, gateway, "renamed", model="alias") == "echo-1 heard: renamed"


async def test_a_corrupt_copy_on_disk_is_moved_aside(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    gateway = await node(config_server)
    await apply(config_server, pool([model.address]))
    assert await gateway.stop() == 0
    copy = gateway.state_dir / "last-good"
    copy.write_bytes(copy.read_bytes()[:-40])

    await gateway.restart()
    async with aiohttp.ClientSession() as session:
        assert await ask(session, gateway, "from the server") == "echo-1 heard: from the server"
    assert list(gateway.state_dir.glob("last-good.corrupt-*"))


@pytest.mark.parametrize("count", [3])
async def test_every_node_gets_every_change(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory, count: int
) -> None:
    first, second = await echo_models(2)
    gateways = [await node(config_server) for _ in range(count)]
    await apply(config_server, pool([first.address]))
    async with aiohttp.ClientSession() as session:
        assert {await ask(session, gateway, "who") for gateway in gateways} == {"echo-1 heard: who"}
        await apply(config_server, pool([second.address]))
        assert {await ask(session, gateway, "who") for gateway in gateways} == {"echo-2 heard: who"}
