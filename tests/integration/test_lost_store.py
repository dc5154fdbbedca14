"""The store of the config server is lost, and a new one takes its place: a real node, and the command line."""

import json
from pathlib import Path

import aiohttp
from janua_client.config_client import ConfigClient

from tests.clients.janua_client.cli_runner import run_janua
from tests.integration.configuration import admin, apply, ask, pool
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory


def lose(store: Path) -> None:
    for file in store.parent.glob(f"{store.name}*"):
        file.unlink()


async def is_refused(gateway: Node) -> bool:
    async with aiohttp.ClientSession() as session:
        return "you hold one" in ((await admin(session, gateway, "/config_dump"))["last_error"] or "")


async def test_a_lost_store_empties_no_node(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory, tmp_path: Path
) -> None:
    (model,) = await echo_models(1)
    gateway = await node(config_server)
    await apply(config_server, pool([model.address]))
    await config_server.stop()
    lose(config_server.store)
    await config_server.restart()
    await eventually(lambda: is_refused(gateway))
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"upstreams": [{"name": "new", "endpoints": [{"address": model.address}]}]}))
    arguments = ("apply", "-f", str(file), "--server", config_server.address)
    done = await run_janua(*arguments)
    assert done.code == 1
    assert "(node-1)" in done.err
    assert "--accept-new-epoch" in done.err
    async with aiohttp.ClientSession() as session:
        assert await ask(session, gateway, "still there") == "echo-1 heard: still there"

    done = await run_janua(*arguments, "--accept-new-epoch")
    assert done.code == 0, done.err
    async with ConfigClient(config_server.address) as client:
        progress = await client.wait_for_rollout(1, connected_at_commit=1, timeout=30)
    assert [each.node_id for each in progress.synced] == ["node-1"]


async def test_nor_does_a_store_that_took_its_place_while_the_node_was_away(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    gateway = await node(config_server)
    await apply(config_server, pool([model.address]))
    await gateway.stop()
    await config_server.stop()
    lose(config_server.store)
    await config_server.restart()
    other = {"upstreams": [{"name": "other", "endpoints": [{"address": model.address}]}]}
    await apply(config_server, other)

    await gateway.restart()
    await eventually(lambda: is_refused(gateway))
    async with aiohttp.ClientSession() as session:
        assert await ask(session, gateway, "from disk") == "echo-1 heard: from disk"
