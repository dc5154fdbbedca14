"""gRPC's own clients dial `xds:///janua`: the config server tells them where the nodes are, with no proxy between."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.configuration import KEY, apply, pool
from tests.integration.fleet_load import gets_requests, requests
from tests.support.client_programs import LineProgram
from tests.support.interop.discovery_clients import node_client, python_client
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory, start_node

python = pytest.param("python", marks=pytest.mark.component("grpc-xds"))
node_js = pytest.param("node", marks=pytest.mark.component("grpc-js-xds"))


@pytest.fixture(params=[python, node_js])
def client(request: pytest.FixtureRequest, config_server: ConfigServer, tmp_path: Path) -> Iterator[LineProgram]:
    """A client whose load lasts until the test stops it."""
    if request.param == "python":
        program = python_client(config_server.address, KEY)
    else:
        folder = tmp_path / "client"
        folder.mkdir()
        program = node_client(config_server.address, KEY, folder)
    yield program
    program.stop()


def no_errors(result: Mapping[str, Any], *, at_least: int) -> None:
    assert result["errors"] == {}
    assert result["ok"] >= at_least


async def test_calls_are_spread_over_the_nodes(client: LineProgram, nodes: list[Node]) -> None:
    await client.ask(do="start", workers=1)
    for node in nodes:
        await gets_requests(node)
    no_errors(await client.ask(do="stop"), at_least=10)
    before = [await requests(node) for node in nodes]
    no_errors(await client.ask(do="call", count=40), at_least=40)
    assert [await requests(node) - had for node, had in zip(nodes, before, strict=True)] == [20, 20]


async def test_no_call_fails_while_nodes_drain_and_restart(client: LineProgram, nodes: list[Node]) -> None:
    await client.ask(do="start", workers=4)
    for node in nodes:
        for each in nodes:
            await gets_requests(each)
        assert await node.stop() == 0
        await node.restart()
        await gets_requests(node)
    no_errors(await client.ask(do="stop"), at_least=50)


async def test_a_killed_node_costs_no_more_than_what_it_was_answering(client: LineProgram, nodes: list[Node]) -> None:
    workers = 4
    await client.ask(do="start", workers=workers)
    for node in nodes:
        await gets_requests(node)
    await nodes[0].kill()
    await gets_requests(nodes[1])
    result = await client.ask(do="stop")
    assert sum(result["errors"].values()) <= workers
    assert {error.partition(":")[0] for error in result["errors"]} <= {"UNAVAILABLE"}
    no_errors(await client.ask(do="call", count=20), at_least=20)


async def test_a_node_that_joins_gets_its_share(
    client: LineProgram, nodes: list[Node], config_server: ConfigServer, node: NodeFactory
) -> None:
    await client.ask(do="start", workers=4)
    await gets_requests(nodes[0])
    joined = await node(config_server)
    await gets_requests(joined)
    no_errors(await client.ask(do="stop"), at_least=10)


async def test_clients_keep_their_nodes_while_the_config_server_restarts(
    client: LineProgram, nodes: list[Node], config_server: ConfigServer
) -> None:
    await client.ask(do="start", workers=2)
    for node in nodes:
        await gets_requests(node)
    assert await config_server.stop() == 0
    await gets_requests(nodes[0])
    await config_server.restart()
    for node in nodes:
        await gets_requests(node)
    await config_server.kill()
    await config_server.restart()
    for node in nodes:
        await gets_requests(node)
    no_errors(await client.ask(do="stop"), at_least=20)


@pytest.mark.component("grpc-xds")
async def test_a_client_tells_by_its_own_status_service_what_it_has(
    nodes: list[Node], config_server: ConfigServer
) -> None:
    client = python_client(config_server.address, KEY)
    try:
        await client.ask(do="call", count=1)
        status = await client.ask(do="status")
        kinds = ("Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment")
        assert status["resources"] == {kind: ["janua", "ACKED"] for kind in kinds}
        assert status["endpoints"] == sorted(node.grpc for node in nodes)

        async def has(*expected: Node) -> None:
            async def is_so() -> bool:
                return bool((await client.ask(do="status"))["endpoints"] == sorted(node.grpc for node in expected))

            await eventually(is_so)

        await nodes[0].kill()
        await has(nodes[1])
        await nodes[0].restart()
        await has(*nodes)
    finally:
        await asyncio.to_thread(client.stop)


@pytest.mark.component("grpc-xds")
async def test_a_node_that_listens_on_all_addresses_says_which_one_to_dial(
    config_server: ConfigServer, running: AsyncExitStack, echo_models: EchoFactory, tmp_path: Path
) -> None:
    (model,) = await echo_models(1)
    source = ("--config-server", config_server.address, "--grpc", "0.0.0.0:0", "--advertise-grpc", "127.0.0.1:0")
    node = await start_node(running, tmp_path / "node", "everywhere", *source)
    await apply(config_server, pool([model.address]))
    client = python_client(config_server.address, KEY)
    try:
        no_errors(await client.ask(do="call", count=3), at_least=3)
        port = node.grpc.rpartition(":")[2]
        assert (await client.ask(do="status"))["endpoints"] == [f"127.0.0.1:{port}"]
    finally:
        await asyncio.to_thread(client.stop)
