"""Canaries with traffic: real nodes serve what is tried, and what all others have."""

from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from janua.config.v1.config_service_pb2 import Canary, CanaryOptions, NodeSelector, PromoteCanaryRequest
from janua_client.config_client import ConfigClient

from tests.integration.configuration import admin, apply, ask, changes, pool
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory

EDGE = NodeSelector(clusters=["edge"])


@pytest.fixture
async def nodes(config_server: ConfigServer, node: NodeFactory) -> Sequence[Node]:
    """One that is in cluster `edge`, and one that is not."""
    return await node(config_server, "--node-cluster", "edge"), await node(config_server, "--node-cluster", "core")


async def propose(server: ConfigServer, resources: Any, *, max_failed: int = 0) -> int:
    """Has it tried on the nodes of `edge`; returns once they have answered."""
    async with ConfigClient(server.address) as client:
        options = CanaryOptions(nodes=EDGE, max_failed_percent=max_failed)
        answer = await client.apply(changes(resources), canary=options)
        await client.wait_for_rollout(answer.revision, connected_at_commit=answer.connected_nodes)
        return answer.revision


async def held(session: aiohttp.ClientSession, node: Node) -> dict[str, str]:
    """The versions that a node has in use."""
    dump = await admin(session, node, "/config_dump")
    return {f"{each['type']}/{each['name']}": each["version"] for each in dump["resources"]}


def resends(node: Node) -> int:
    return node.log.count("configuration in use")


async def test_promoted_without_a_resend(
    config_server: ConfigServer, nodes: Sequence[Node], echo_models: EchoFactory
) -> None:
    old, new = await echo_models(2)
    edge, core = nodes
    await apply(config_server, pool([old.address]))
    await propose(config_server, pool([new.address]))
    async with aiohttp.ClientSession() as session:
        assert await ask(session, edge, "hello") == "echo-2 heard: hello"
        assert await ask(session, core, "hello") == "echo-1 heard: hello"
        # A node that is started meanwhile, or again, is shown the same.
        await edge.stop()
        await edge.restart()
        assert await ask(session, edge, "again") == "echo-2 heard: again"
        configured = resends(edge)
        async with ConfigClient(config_server.address) as client:
            promoted = await client.promote_canary(PromoteCanaryRequest())
            done = await client.wait_for_rollout(promoted.revision, connected_at_commit=promoted.connected_nodes)
        assert [node.node_id for node in done.synced] == ["node-1", "node-2"]
        assert await ask(session, core, "hello") == "echo-2 heard: hello"
        assert resends(edge) == configured


async def test_too_many_failures_end_it(
    config_server: ConfigServer, nodes: Sequence[Node], echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    edge, core = nodes
    good = pool([model.address], health_checks=[])
    await apply(config_server, good)
    # Nobody listens there.
    revision = await propose(config_server, pool(["127.0.0.1:1"], health_checks=[]), max_failed=20)
    async with aiohttp.ClientSession() as session, ConfigClient(config_server.address) as client:

        async def is_aborted() -> bool:
            with pytest.raises(RuntimeError, match="status 50"):
                await ask(session, edge, "fails")
            assert await ask(session, core, "hello") == "echo-1 heard: hello"
            return bool((await client.canary()).canary.state == Canary.STATE_ABORTED)

        async def is_aborted_or_serves() -> bool:
            try:
                return await is_aborted()
            except pytest.fail.Exception:  # it serves again: taken back
                return True

        await eventually(is_aborted_or_serves)
        told = (await client.canary()).canary
        assert (told.revision, told.state) == (revision, Canary.STATE_ABORTED)
        assert told.end_reason.endswith("requests failed on its nodes, more than 20%")

        async def serves_again() -> bool:
            try:
                return await ask(session, edge, "hello") == "echo-1 heard: hello"
            except RuntimeError:
                return False

        await eventually(serves_again)


async def test_a_refusal_leaves_the_node_serving(
    config_server: ConfigServer, nodes: Sequence[Node], echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    edge, _ = nodes
    good = pool([model.address])
    await apply(config_server, {**good, "secrets": [{"name": "key", "env": "NOT_SET_ANYWHERE"}]})
    bad = {
        "services": [{"name": "llm", "proxy_service": {"provider": "openai", "credentials": [{"secret": "key"}]}}],
        "policies": [{"name": "other-keys", "api_key_auth": {}}],
    }
    await propose(config_server, bad)
    async with ConfigClient(config_server.address) as client, aiohttp.ClientSession() as session:

        async def is_aborted() -> bool:
            return bool((await client.canary()).canary.state == Canary.STATE_ABORTED)

        await eventually(is_aborted)
        assert (await client.canary()).canary.end_reason.startswith("node-1 refuses ")
        assert await ask(session, edge, "hello") == "echo-1 heard: hello"

        async def is_clean() -> bool:
            (node, _) = (await client.nodes()).nodes
            dump = await admin(session, edge, "/config_dump")
            return not dump["rejected"] and not any(each.rejections for each in node.types)

        await eventually(is_clean)
