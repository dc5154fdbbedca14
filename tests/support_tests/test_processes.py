"""Fixtures that start real processes: each comes up, can be killed, and comes back where it was."""

import aiohttp

from tests.support.processes import ConfigServer, EchoFactory, NodeFactory


async def get(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


async def test_echo_servers_come_back_where_they_were(echo_models: EchoFactory) -> None:
    first, second = await echo_models(2, "--models", "gemma")
    assert first.address != second.address
    await first.kill()
    await first.restart()
    assert await get(f"http://{first.address}/health") == 200
    assert await get(f"http://{second.address}/health") == 200
    assert first.child.log_tail()


async def test_node_follows_a_config_server_and_both_come_back(config_server: ConfigServer, node: NodeFactory) -> None:
    gateway = await node(config_server)
    assert await get(f"http://{gateway.admin}/readyz") == 200
    await config_server.kill()
    assert await gateway.stop() == 0
    await config_server.restart()
    await gateway.restart()
    assert await get(f"http://{gateway.admin}/readyz") == 200
    assert gateway.ready["node_id"] == "node-1"
