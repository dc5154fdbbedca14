"""Rules of acknowledgements, refusals and the end of the first sync."""

import pytest
from janua.config.v1.config_service_pb2 import GetRolloutRequest, ListNodesRequest, NodeRollout, NodeType, Rejection
from janua.config.v1.sync_state_pb2 import SyncState
from janua_resources.kinds import SYNC_STATE_NAME, SYNC_STATE_TYPE_URL

from tests.config_server.ads_client import AdsClient, ads_client, let_pushes_go, names, versions
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import CONSUMER, ROUTE, SERVICE, UPSTREAM, consumer, route, service


async def node_type(server: RunningServer, type_url: str) -> NodeType:
    (node,) = (await server.config.ListNodes(ListNodesRequest())).nodes
    return next(kept for kept in node.types if kept.type_url == type_url)


async def test_d44_a_stale_nonce_does_not_undo_a_subscription(client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE, subscribe=["b"], nonce="of another stream")
    assert names(await client.receive()) == ["b"]


async def test_d44_a_stale_nonce_acknowledges_nothing(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    await client.receive()
    await client.send(ROUTE, nonce="of another stream")
    await client.expect_no_answer()
    kept = await node_type(filled, ROUTE)
    assert (kept.sent_revision, kept.acked_revision) == (1, 0)


async def test_d45_a_refusal_is_one_by_its_error_alone(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    await client.nack(await client.receive(), "cannot compile")
    await client.expect_no_answer()
    kept = await node_type(filled, ROUTE)
    assert (kept.acked_revision, kept.nacked_revision) == (0, 1)
    assert kept.error_message == "cannot compile"


async def test_d46_a_refused_version_is_not_sent_again(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    await client.nack(await client.receive())
    await client.expect_no_answer()
    await filled.apply(route("b", description="changed"))
    assert names(await client.receive_and_ack()) == ["b"]
    await filled.apply(route("a", description="better"))
    assert names(await client.receive()) == ["a"]


async def test_d46_the_version_before_it_is(filled: RunningServer, client: AdsClient) -> None:
    accepted = versions(await client.ask(ROUTE))["a"]
    await filled.apply(route("a", description="bad"))
    await client.nack(await client.receive())
    await filled.apply(route("a"))
    assert versions(await client.receive()) == {"a": accepted}


async def test_d49_what_was_sent_acknowledged_and_refused_is_recorded(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(SERVICE)
    await client.ask(ROUTE)
    await filled.apply(route("a", description="bad"))
    response = await client.receive()
    rejection = Rejection(
        type_url=ROUTE, name="a", version=versions(response)["a"], reason="INVALID_FIELD", field="match", message="no"
    )
    await client.nack(response, "a: no", [rejection])
    await client.expect_no_answer()
    kept = await node_type(filled, ROUTE)
    assert (kept.sent_revision, kept.acked_revision, kept.nacked_revision) == (2, 1, 2)
    assert list(kept.rejections) == [rejection]
    # Of the services there was nothing to send: the node has them at the current revision.
    assert (await node_type(filled, SERVICE)).acked_revision == 2


async def test_d49_an_accepted_response_ends_the_rejection(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    await client.nack(await client.receive(), "no", [Rejection(type_url=ROUTE, name="a")])
    await filled.apply(route("a", description="better"))
    await client.receive_and_ack()
    await client.expect_no_answer()
    kept = await node_type(filled, ROUTE)
    assert not kept.rejections
    assert kept.error_message == ""
    assert (kept.acked_revision, kept.nacked_revision) == (2, 1)


async def test_d49_an_error_is_kept_up_to_4_kib(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    await client.nack(await client.receive(), "é" * 5000)
    await client.expect_no_answer()
    assert (await node_type(filled, ROUTE)).error_message == "é" * 2048


async def test_d49_a_refusal_never_closes_the_stream(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    response = await client.receive()
    for number in range(50):
        await client.nack(response)
        await filled.apply(route("a", description=str(number)))
        response = await client.receive()
    await client.ack(response)
    await client.expect_no_answer()


async def test_d49d_one_response_of_a_type_is_under_way(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(CONSUMER)
    await client.send(ROUTE)
    first = await client.receive()
    await filled.apply(route("a", description="one"))
    await filled.apply(route("a", description="two"), route("b", description="two"))
    await let_pushes_go(filled)
    await client.expect_no_answer()
    await client.ack(first)
    assert names(await client.receive_and_ack()) == ["a", "b"]
    await client.expect_no_answer()


async def test_d49d_a_node_that_does_not_answer_is_stale_and_stays(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await filled.apply(route("a", description="changed"))
    response = await client.receive()
    (node,) = (await filled.config.GetRollout(GetRolloutRequest())).nodes
    assert (node.state, node.connected) == (NodeRollout.STATE_STALE, True)
    await client.ack(response)
    await client.expect_no_answer()
    (node,) = (await filled.config.GetRollout(GetRolloutRequest())).nodes
    assert node.state == NodeRollout.STATE_SYNCED


async def test_d49e_the_sync_state_ends_the_first_sync(filled: RunningServer, client: AdsClient) -> None:
    for type_url in (UPSTREAM, SERVICE, ROUTE):
        await client.send(type_url)
    await client.send(SYNC_STATE_TYPE_URL)
    responses = [await client.receive() for _ in range(4)]
    assert [response.type_url for response in responses] == [UPSTREAM, SERVICE, ROUTE, SYNC_STATE_TYPE_URL]
    (resource,) = responses[-1].resources
    assert resource.name == SYNC_STATE_NAME
    state = SyncState()
    assert resource.resource.Unpack(state)
    assert state.revision == 1
    assert state.epoch


async def test_d49e_it_comes_after_all_pages(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(*(consumer(f"c{number:04}") for number in range(1200)))
    await client.send(CONSUMER)
    await client.send(SYNC_STATE_TYPE_URL)
    for _ in range(3):
        assert (await client.receive_and_ack()).type_url == CONSUMER
    assert (await client.receive()).type_url == SYNC_STATE_TYPE_URL


async def test_d49e_it_comes_after_removals(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE, initial={"gone": "v"})
    await client.send(SYNC_STATE_TYPE_URL)
    assert names(await client.receive_and_ack()) == ["a", "b"]
    assert list((await client.receive_and_ack()).removed_resources) == ["gone"]
    assert (await client.receive()).type_url == SYNC_STATE_TYPE_URL


async def test_d49e_it_comes_once(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await client.ask(SYNC_STATE_TYPE_URL)
    await filled.apply(route("a", description="changed"))
    assert (await client.receive_and_ack()).type_url == ROUTE
    await client.ask(CONSUMER)
    await client.expect_no_answer()


@pytest.mark.parametrize("subscribe", [[], ["*"], ["sync"]])
async def test_d49e_it_comes_on_every_stream_even_if_it_is_held(
    filled: RunningServer, client: AdsClient, subscribe: list[str]
) -> None:
    held = versions(await client.ask(SYNC_STATE_TYPE_URL))
    await filled.apply(service("s", description="changed"))
    async with ads_client(filled.channel, "again") as again:
        response = await again.ask(SYNC_STATE_TYPE_URL, subscribe=subscribe, initial=held)
        # A later revision is no other epoch.
        assert versions(response) == held
        assert SyncState.FromString(response.resources[0].resource.value).revision == 2


async def test_d49e_a_first_node_gets_it_before_the_first_apply(server: RunningServer) -> None:
    async with ads_client(server.channel) as client:
        assert names(await client.ask(ROUTE)) == []
        assert names(await client.ask(SYNC_STATE_TYPE_URL)) == [SYNC_STATE_NAME]
    async with ads_client(server.channel) as again:
        assert names(await again.ask(SYNC_STATE_TYPE_URL, initial={SYNC_STATE_NAME: "v"})) == [SYNC_STATE_NAME]
