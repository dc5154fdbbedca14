"""A store that is not the one that nodes have their configuration of takes nothing from them, until it is told to."""

from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status
from janua.config.v1.config_service_pb2 import ApplyRequest
from janua.config.v1.sync_state_pb2 import SyncState

from tests.config_server.ads_client import AdsClient, ads_client, names
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import ROUTE, batch, upstream

SYNC = "type.googleapis.com/janua.config.v1.SyncState"
HELD = {"a": "some-version", "gone": "some-version"}


async def epoch_of(server: RunningServer) -> str:
    async with ads_client(server.channel, "asks") as client:
        response = await client.ask(SYNC)
        return SyncState.FromString(response.resources[0].resource.value).epoch


async def refusal(server: RunningServer, epoch: str = "another") -> str:
    async with ads_client(server.channel, epoch=epoch) as client:
        await client.send(ROUTE, initial=HELD)
        error = await client.end()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    return str(error.details())


async def removed(client: AdsClient) -> list[str]:
    """What a node that holds something of another store is told to let go of."""
    await client.ask(ROUTE, initial=HELD)
    return sorted((await client.receive_and_ack()).removed_resources)


def accepting(request: ApplyRequest) -> ApplyRequest:
    request.accept_new_epoch = True
    return request


async def test_a_node_of_another_store_is_not_served(filled: RunningServer) -> None:
    assert await refusal(filled) == (
        "this config server has the configuration of another store, and you hold one: restore its store, or apply with"
        " --accept-new-epoch"
    )
    # Nobody else is troubled by it.
    await filled.apply(upstream("v"))
    async with ads_client(filled.channel, epoch=await epoch_of(filled)) as client:
        assert names(await client.ask(ROUTE, initial=HELD)) == ["a", "b"]


async def test_a_node_that_holds_nothing_is_served_wherever_it_was(filled: RunningServer) -> None:
    async with ads_client(filled.channel, epoch="another") as client:
        assert names(await client.ask(ROUTE)) == ["a", "b"]


async def test_a_new_epoch_is_accepted_for_good(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"))
        await refusal(server)
        answer = await server.apply_request(accepting(batch(upstream("u"))))
        assert answer.revision == 2, "what is accepted is a revision, although no resource has changed"
        again = await server.apply_request(accepting(batch(upstream("u"))))
        assert again.revision == 2
        async with ads_client(server.channel, epoch="another") as client:
            assert await removed(client) == ["a", "gone"]
    async with running_server(path) as server, ads_client(server.channel, epoch="another") as client:
        assert await removed(client) == ["a", "gone"]


@pytest.mark.parametrize("epoch", ["another", ""])
async def test_an_empty_store_takes_its_first_apply_in_words_if_nodes_hold_more(
    server: RunningServer, epoch: str
) -> None:
    await refusal(server, epoch)
    with pytest.raises(aio.AioRpcError) as raised:
        await server.apply(upstream("u"))
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type]
    info = ErrorInfo()
    status.details[0].Unpack(info)
    assert (raised.value.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OTHER_EPOCH")
    assert raised.value.details() == (
        "this store is empty, and nodes hold a configuration (node-1): restore the store from a backup, or apply all of"
        " the configuration with --accept-new-epoch, which takes from them what it does not have"
    )
    assert (await server.apply_request(accepting(batch(upstream("u"))))).revision == 1
    async with ads_client(server.channel, epoch=epoch) as client:
        assert await removed(client) == ["a", "gone"]


async def test_a_node_that_has_let_go_of_what_it_held_stands_against_nothing(server: RunningServer) -> None:
    await refusal(server)
    async with ads_client(server.channel) as client:
        await client.ask(ROUTE)
        assert (await server.apply(upstream("u"))).revision == 1
