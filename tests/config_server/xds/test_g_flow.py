"""Rules of flow: send on change only, in pages, coalesced, without waiting for others; and the end of a stream."""

import asyncio
from pathlib import Path

import grpc
from janua.config.v1.config_service_pb2 import ListNodesRequest
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryResponse

from config_server.push_schedule import Debounce
from tests.config_server.ads_client import AdsClient, ads_client, names, versions
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import CONSUMER, ROUTE, SERVICE, UPSTREAM, batch, consumer, delete, route, upstream

MIB = 1024 * 1024


async def test_g67_an_apply_without_changes_sends_nothing(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    response = await filled.apply(route("a"), route("b"))
    assert response.revision == 1
    await filled.apply(route("b", description="changed"))
    assert names(await client.receive_and_ack()) == ["b"]


async def test_g67_only_what_changed_is_sent(filled: RunningServer, client: AdsClient) -> None:
    for type_url in (UPSTREAM, SERVICE, ROUTE):
        await client.ask(type_url)
    await filled.apply(route("a", description="changed"), route("b"), upstream("u"))
    response = await client.receive_and_ack()
    assert (response.type_url, names(response)) == (ROUTE, ["a"])
    await client.expect_no_answer()


async def test_g67_moving_to_another_set_is_no_news_to_nodes(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    request = batch(route("a"))
    request.set = "files"
    assert (await filled.apply_request(request)).revision == 2
    await filled.apply(route("b", description="changed"))
    assert names(await client.receive()) == ["b"]


async def test_g68_a_sync_comes_in_pages_of_500(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(*(consumer(f"c{number:04}") for number in range(1234)))
    await client.send(CONSUMER)
    pages = [await client.receive_and_ack() for _ in range(3)]
    assert [len(page.resources) for page in pages] == [500, 500, 234]
    assert len(versions(*pages)) == 1234
    await client.expect_no_answer()


async def test_g68_a_page_has_at_most_a_mebibyte(filled: RunningServer, client: AdsClient) -> None:
    text = "x" * 1000
    many = [
        consumer(f"c{number:04}", keys=[f"{number * 1000 + key:064x}" for key in range(300)]) for number in range(100)
    ]
    for each in many:
        each.description = text
    await filled.apply(*many)
    await client.send(CONSUMER)
    pages: list[DeltaDiscoveryResponse] = []
    while sum(len(page.resources) for page in pages) < 100:
        pages.append(await client.receive_and_ack())
    assert max(page.ByteSize() for page in pages) <= MIB
    # Pages are filled: no more of them than the size calls for.
    assert len(pages) == -(-sum(page.ByteSize() for page in pages) // (MIB - 30_000))
    await client.expect_no_answer()


async def test_g68_removals_come_in_pages_too(filled: RunningServer, client: AdsClient) -> None:
    made = [consumer(f"c{number:04}") for number in range(600)]
    await filled.apply(*made)
    await client.send(CONSUMER)
    for _ in range(2):
        await client.receive_and_ack()
    await filled.apply(*(delete("consumer", each.name) for each in made))
    pages = [await client.receive_and_ack() for _ in range(2)]
    assert [len(page.removed_resources) for page in pages] == [500, 100]


async def test_g68_what_changes_during_a_sync_is_not_sent_twice(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(*(consumer(f"c{number:04}") for number in range(1000)))
    await client.send(CONSUMER)
    first = await client.receive()
    await filled.apply(
        consumer("c0001", description="behind"), consumer("c0999", description="ahead"), consumer("c0999x")
    )
    await filled.apply(delete("consumer", "c0998"))
    await client.ack(first)
    second = await client.receive_and_ack()
    assert {"c0999", "c0999x"} <= set(names(second))
    assert "c0998" not in names(second)
    third = await client.receive_and_ack()
    assert (names(third), list(third.removed_resources)) == (["c0001"], [])
    await client.expect_no_answer()


async def test_g69_changes_that_come_close_together_go_as_one(tmp_path: Path) -> None:
    debounce = Debounce(quiet_s=0.2, longest_s=5)
    path = tmp_path / "config.db"
    async with running_server(path, debounce=debounce) as server, ads_client(server.channel) as client:
        await client.ask(UPSTREAM)
        for number in range(5):
            await server.apply(upstream(f"u{number}"))
        await server.apply(upstream("u0", description="changed"))
        await server.apply(delete("upstream", "u1"))
        assert names(await client.receive()) == ["u0", "u2", "u3", "u4"]


async def test_g69_a_node_that_does_not_read_delays_no_other(filled: RunningServer) -> None:
    big = "x" * 1024
    made = [consumer(f"c{number:04}", description=big) for number in range(4000)]
    await filled.apply(*made)
    async with ads_client(filled.channel, "slow") as slow, ads_client(filled.channel, "quick") as quick:
        await slow.send(CONSUMER)  # and reads nothing of it
        await quick.ask(ROUTE)
        for number in range(20):
            await filled.apply(route("a", description=str(number)))
            assert names(await quick.receive_and_ack()) == ["a"]
        nodes = (await filled.config.ListNodes(ListNodesRequest())).nodes
        assert [node.connected for node in nodes] == [True, True]


async def test_g69_a_node_that_does_not_answer_gets_the_last_state_when_it_does(
    filled: RunningServer, client: AdsClient
) -> None:
    await client.send(ROUTE)
    first = await client.receive()
    for number in range(30):
        await filled.apply(route("a", description=str(number)))
    await client.ack(first)
    response = await client.receive_and_ack()
    assert names(response) == ["a"]
    assert response.system_version_info == "31"
    await client.expect_no_answer()


async def test_g70_a_drain_ends_streams_with_unavailable(tmp_path: Path) -> None:
    async with running_server(tmp_path / "config.db") as server:
        await server.apply(upstream("u"))
        async with ads_client(server.channel, "one") as one, ads_client(server.channel, "two") as two:
            await one.ask(UPSTREAM)
            await two.ask(UPSTREAM)
            server.stop.set()
            errors = await asyncio.gather(one.end(), two.end())
            assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
        await server.task
