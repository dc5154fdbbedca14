"""A canary over several config servers: begun at one, tried by nodes of another, ended at any."""

import pytest
from grpc import aio
from janua.config.v1.config_service_pb2 import Canary, CanaryOptions, NodeSelector, PromoteCanaryRequest
from janua_client.errors import FailedPreconditionError

from tests.config_server.ads_client import ads_client, names, versions
from tests.config_server.worlds import UPSTREAM, upsert, upstream
from tests.integration.replicas import Fleet, state
from tests.support.polling import eventually

pytestmark = pytest.mark.component("postgres")

EDGE = CanaryOptions(nodes=NodeSelector(clusters=["edge"]))


async def written(fleet: Fleet) -> None:
    """Writes an upstream at the first server; the third has it."""
    async with fleet.client(0) as first, fleet.client(2) as third:
        await state(third, (await first.apply([upsert(upstream("u"))])).revision)


async def known(fleet: Fleet, node_id: str) -> None:
    """Waits until the first two servers have heard of a node of the third."""
    for index in (0, 1):
        async with fleet.client(index) as client:

            async def is_known() -> bool:
                return any(node.connected for node in (await client.nodes()).nodes if node.id == node_id)

            await eventually(is_known)


async def test_promoted_at_another_server_than_begun(fleet: Fleet) -> None:
    async with (
        fleet.client(0) as first,
        fleet.client(1) as second,
        aio.insecure_channel(fleet.servers[2].address) as at,
    ):
        await written(fleet)
        async with ads_client(at, "n", cluster="edge") as node:
            await node.ask(UPSTREAM)
            await known(fleet, "n")
            begun = await first.apply([upsert(upstream("u", description="new"))], canary=EDGE)
            tried = await node.receive_and_ack()
            assert names(tried) == ["u"]
            with pytest.raises(FailedPreconditionError, match="a canary runs since revision 2"):
                await second.apply([upsert(upstream("v"))])
            done = await second.wait_for_rollout(begun.revision, connected_at_commit=begun.connected_nodes)
            assert [each.node_id for each in done.synced] == ["n"]
            promoted = await second.promote_canary(PromoteCanaryRequest())
            await first.wait_for_rollout(promoted.revision)
            await node.expect_no_answer()
        async with ads_client(at, "m") as other:
            assert versions(await other.ask(UPSTREAM)) == versions(tried)


async def test_a_refusal_at_any_server_ends_it(fleet: Fleet) -> None:
    async with fleet.client(0) as first, aio.insecure_channel(fleet.servers[2].address) as at:
        await written(fleet)
        async with ads_client(at, "n", cluster="edge") as node:
            shown = versions(await node.ask(UPSTREAM))
            await first.apply([upsert(upstream("u", description="bad"))], canary=EDGE)
            await node.nack(await node.receive())
            assert versions(await node.receive_and_ack()) == shown

        async def is_aborted() -> bool:
            return (await first.canary()).canary.state == Canary.STATE_ABORTED

        await eventually(is_aborted)
        assert (await first.canary()).canary.end_reason.startswith("n refuses upstream u")
        await first.apply([upsert(upstream("v"))])
