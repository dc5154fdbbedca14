"""A real Envoy before the nodes: it learns of them by discovery, of either variant, and spreads calls over them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.fleet_load import gets_requests, load
from tests.support.envoy import Envoy, running_envoy
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, Node, NodeFactory

pytestmark = pytest.mark.component("envoy")


@pytest.fixture(params=["GRPC", "DELTA_GRPC"])
async def envoy(
    request: pytest.FixtureRequest, config_server: ConfigServer, nodes: list[Node], tmp_path: Path
) -> AsyncIterator[Envoy]:
    """One that knows both nodes."""
    async with running_envoy(config_server.address, api_type=request.param, folder=tmp_path) as envoy:
        await knows(envoy, *nodes)
        yield envoy


async def knows(envoy: Envoy, *nodes: Node) -> None:
    expected = sorted(node.grpc for node in nodes)

    async def is_so() -> bool:
        return await envoy.endpoints() == expected

    await eventually(is_so)


async def test_envoy_has_what_the_nodes_are_shown_as(envoy: Envoy, nodes: list[Node]) -> None:
    (cluster,) = await envoy.dynamic("cluster")
    assert (cluster["name"], cluster["type"], cluster.get("lb_policy", "ROUND_ROBIN")) == (
        "janua",
        "EDS",
        "ROUND_ROBIN",
    )
    (routes,) = await envoy.dynamic("route_config")
    assert routes["virtual_hosts"][0]["routes"][0]["route"] == {"cluster": "janua", "timeout": "0s"}


async def test_envoy_refuses_nothing_and_stays_connected(envoy: Envoy) -> None:
    async def has_all() -> bool:
        stats = await envoy.stats()
        kinds = ("cluster_manager.cds", "listener_manager.lds", "http.grpc.rds.janua", "cluster.janua")
        return all(stats.get(f"{kind}.update_success", 0) for kind in kinds)

    await eventually(has_all)
    before = await envoy.stats()
    await asyncio.sleep(1)  # long enough for a loop of answers and ACKs, or a reconnect, to show itself
    stats = await envoy.stats()
    for name, value in stats.items():
        if name.endswith("update_success"):
            assert value == before[name], name
        if name.endswith(("update_rejected", "update_failure")):
            assert value == 0, name
    for name in ("cluster_manager.cds.update_success", "listener_manager.lds.update_success"):
        assert stats[name] == 1
    assert stats["control_plane.connected_state"] == 1
    assert stats["cluster.config_server.upstream_cx_total"] == 1


async def test_calls_are_spread_over_the_nodes(envoy: Envoy, nodes: list[Node]) -> None:
    async with load(await envoy.address()) as results:
        for node in nodes:
            await gets_requests(node)
    assert set(results) == {"ok"}


async def test_no_call_fails_while_nodes_drain_and_restart(envoy: Envoy, nodes: list[Node]) -> None:
    async with load(await envoy.address()) as results:
        for node in nodes:
            assert await node.stop() == 0
            await node.restart()
            await knows(envoy, *nodes)
            await gets_requests(node)
    assert set(results) == {"ok"}


async def test_a_node_that_is_killed_leaves_and_one_that_joins_is_used(
    envoy: Envoy, nodes: list[Node], config_server: ConfigServer, node: NodeFactory
) -> None:
    await nodes[0].kill()
    await knows(envoy, nodes[1])
    joined = await node(config_server)
    await knows(envoy, nodes[1], joined)
    async with load(await envoy.address()) as results:
        await gets_requests(joined)
        await gets_requests(nodes[1])
    assert set(results) == {"ok"}


async def test_envoy_keeps_the_nodes_while_the_config_server_restarts(
    envoy: Envoy, nodes: list[Node], config_server: ConfigServer
) -> None:
    async with load(await envoy.address()) as results:
        for end in (config_server.stop, config_server.kill):
            await end()
            await config_server.restart()

            async def is_back() -> bool:
                return (await envoy.stats())["control_plane.connected_state"] == 1

            await eventually(is_back)
            for node in nodes:
                await gets_requests(node)
            await knows(envoy, *nodes)
    assert set(results) == {"ok"}
