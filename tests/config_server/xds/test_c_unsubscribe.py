"""Rules of unsubscribing and of deleted resources."""

from tests.config_server.ads_client import AdsClient, let_pushes_go, names, versions
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import ROUTE, SECRET, delete, proxy_service, route, secret


async def test_c33_unsubscribing_what_was_never_subscribed_is_harmless(
    filled: RunningServer, client: AdsClient
) -> None:
    await client.ask(ROUTE)
    await client.send(ROUTE, unsubscribe=["a", "nowhere"])
    await client.expect_no_answer()
    await filled.apply(route("a", description="changed"))
    assert names(await client.receive()) == ["a"]


async def test_c34_unsubscribed_and_subscribed_again_is_sent_in_full(client: AdsClient) -> None:
    first = await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE, unsubscribe=["a"])
    assert versions(await client.ask(ROUTE, subscribe=["a"])) == versions(first)


async def test_c34_so_is_the_wildcard(client: AdsClient) -> None:
    first = await client.ask(ROUTE, subscribe=["*"])
    await client.send(ROUTE, unsubscribe=["*"])
    assert versions(await client.ask(ROUTE, subscribe=["*"])) == versions(first)


async def test_c35_unsubscribing_alone_needs_no_response(client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE, unsubscribe=["a"])
    await client.expect_no_answer()


async def test_c36_a_name_that_the_wildcard_still_covers_is_answered(client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["*", "a"])
    await client.send(ROUTE, unsubscribe=["a"])
    assert names(await client.receive()) == ["a"]


async def test_c36_one_that_does_not_exist_is_answered_as_removed(client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["*", "gone"])
    await client.send(ROUTE, unsubscribe=["gone"])
    response = await client.receive()
    assert (names(response), list(response.removed_resources)) == ([], ["gone"])


async def test_c36_a_wildcard_covers_no_secret(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(secret("key"), proxy_service("p", secret="key"))
    assert names(await client.ask(SECRET, subscribe=["*", "key"])) == ["key"]
    await client.send(SECRET, unsubscribe=["key"])
    assert list((await client.receive()).removed_resources) == ["key"]


async def test_c37_no_updates_come_after_it(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a", "b"])
    await client.send(ROUTE, unsubscribe=["a"])
    await filled.apply(delete("route", "a"))
    await filled.apply(route("b", description="changed"))
    response = await client.receive()
    assert (names(response), list(response.removed_resources)) == (["b"], [])


async def test_c37_nor_what_was_about_to_be_sent(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE, subscribe=["a", "b"])
    first = await client.receive()
    await filled.apply(route("a", description="changed"), route("b", description="changed"))
    await let_pushes_go(filled)
    await client.send(ROUTE, unsubscribe=["a"])
    await client.expect_no_answer()
    await client.ack(first)
    assert names(await client.receive()) == ["b"]


async def test_c38_a_deletion_is_sent_once(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await filled.apply(delete("route", "a"))
    assert list((await client.receive_and_ack()).removed_resources) == ["a"]
    await filled.apply(route("b", description="changed"))
    assert list((await client.receive_and_ack()).removed_resources) == []


async def test_c38_only_to_streams_that_track_the_name(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["b"])
    await filled.apply(delete("route", "a"))
    await filled.apply(delete("route", "b"))
    assert list((await client.receive()).removed_resources) == ["b"]


async def test_c40_delete_and_make_again_may_become_one(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE)
    first = await client.receive()
    await filled.apply(delete("route", "a"))
    await filled.apply(route("a", description="again"))
    await filled.apply(delete("route", "b"))
    await filled.apply(route("b"))
    await let_pushes_go(filled)
    await client.expect_no_answer()
    await client.ack(first)
    response = await client.receive_and_ack()
    # b is what it was: there is nothing to tell.
    assert (names(response), list(response.removed_resources)) == (["a"], [])
    await client.expect_no_answer()
