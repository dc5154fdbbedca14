"""Rules of a stream that follows another."""

from pathlib import Path

from tests.config_server.ads_client import AdsClient, ads_client, names, versions
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import ROUTE, SERVICE, UPSTREAM, delete, route, service, upstream


async def test_e51_what_is_held_is_compared(filled: RunningServer, client: AdsClient) -> None:
    held = versions(await client.ask(ROUTE))
    await filled.apply(route("b", description="changed"), route("c"))
    await filled.apply(delete("route", "a"))
    async with ads_client(filled.channel, "again") as again:
        assert names(await again.ask(ROUTE, initial=held)) == ["b", "c"]
        response = await again.receive_and_ack()
        assert (names(response), list(response.removed_resources)) == ([], ["a"])
        await again.expect_no_answer()


async def test_e52_a_wildcard_is_answered_even_if_there_is_nothing_to_send(
    filled: RunningServer, client: AdsClient
) -> None:
    held = versions(await client.ask(ROUTE))
    async with ads_client(filled.channel, "again") as again:
        response = await again.ask(ROUTE, initial=held)
        assert (names(response), list(response.removed_resources)) == ([], [])
        await again.expect_no_answer()


async def test_e53_held_versions_count_only_in_the_first_request(filled: RunningServer, client: AdsClient) -> None:
    first = await client.ask(ROUTE, subscribe=["a"])
    again = await client.ask(ROUTE, subscribe=["a"], initial={"a": versions(first)["a"], "gone": "v"})
    assert names(again) == ["a"]
    await client.expect_no_answer()


async def test_e57_another_replica_resends_nothing_of_equal_content(tmp_path: Path) -> None:
    held: dict[str, dict[str, str]] = {}
    for replica in ("one", "two"):
        async with running_server(tmp_path / f"{replica}.db", replica_id=replica) as server:
            if replica == "two":
                await server.apply(upstream("before"))
                await server.apply(delete("upstream", "before"))
            await server.apply(upstream("u"), service("s"), route("a"))
            async with ads_client(server.channel) as client:
                for type_url in (UPSTREAM, SERVICE, ROUTE):
                    response = await client.ask(type_url, initial=held.get(type_url))
                    if type_url in held:
                        assert (names(response), list(response.removed_resources)) == ([], [])
                    held[type_url] = versions(response)
                await client.expect_no_answer()


async def test_e57_nor_does_the_same_one_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"), service("s"), *(route(f"r{number}") for number in range(50)))
        async with ads_client(server.channel) as client:
            held = versions(await client.ask(ROUTE))
    async with running_server(path) as server, ads_client(server.channel) as client:
        assert names(await client.ask(ROUTE, initial=held)) == []
        await client.expect_no_answer()
