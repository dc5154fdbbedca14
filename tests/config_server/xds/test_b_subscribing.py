"""Rules of subscribing: names, wildcards, legacy wildcards, secrets."""

from tests.config_server.ads_client import AdsClient, ads_client, let_pushes_go, names, versions
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import (
    POLICY,
    ROUTE,
    SECRET,
    delete,
    proxy_service,
    route,
    secret,
    upstream,
)


async def test_b17_subscribe_adds(filled: RunningServer, client: AdsClient) -> None:
    assert names(await client.ask(ROUTE, subscribe=["a"])) == ["a"]
    assert names(await client.ask(ROUTE, subscribe=["b"])) == ["b"]
    await filled.apply(route("a", description="changed"), route("b", description="changed"))
    assert names(await client.receive()) == ["a", "b"]


async def test_b17_unsubscribe_takes_away(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a", "b"])
    await client.send(ROUTE, unsubscribe=["a"])
    await filled.apply(route("a", description="changed"), route("b", description="changed"))
    assert names(await client.receive()) == ["b"]


async def test_b17_empty_lists_change_nothing(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE)
    await client.expect_no_answer()
    await filled.apply(route("a", description="changed"), route("b", description="changed"))
    assert names(await client.receive()) == ["a"]


async def test_b18_subscribe_comes_before_unsubscribe(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE, subscribe=["b"], unsubscribe=["b"])
    await client.expect_no_answer()
    await filled.apply(route("a", description="changed"), route("b", description="changed"))
    assert names(await client.receive()) == ["a"]


async def test_b18_in_a_first_request_too(client: AdsClient) -> None:
    await client.send(ROUTE, subscribe=["a", "b"], unsubscribe=["b"])
    assert names(await client.receive()) == ["a"]


async def test_b19_an_acknowledgement_may_carry_a_subscription(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE, subscribe=["a"])
    response = await client.receive()
    await client.ack(response, subscribe=["b"])
    assert names(await client.receive_and_ack()) == ["b"]
    await filled.apply(route("a", description="changed"))
    assert names(await client.receive()) == ["a"]


async def test_b20_a_star_is_everything(filled: RunningServer, client: AdsClient) -> None:
    assert names(await client.ask(ROUTE, subscribe=["*"])) == ["a", "b"]
    await filled.apply(route("c"))
    assert names(await client.receive()) == ["c"]


async def test_b21_never_naming_anything_is_the_wildcard(filled: RunningServer, client: AdsClient) -> None:
    assert names(await client.ask(ROUTE)) == ["a", "b"]
    await filled.apply(route("c"))
    assert names(await client.receive()) == ["c"]


async def test_b21_the_first_name_keeps_the_legacy_wildcard(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    assert names(await client.ask(ROUTE, subscribe=["a"])) == ["a"]
    await filled.apply(route("b", description="changed"))
    assert names(await client.receive()) == ["b"]


async def test_b21_until_the_star_is_unsubscribed(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE, unsubscribe=["*"])
    await filled.apply(route("a", description="changed"), route("b", description="changed"))
    assert names(await client.receive()) == ["a"]


async def test_b22_after_a_subscribe_an_empty_interest_means_nothing(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["a"])
    await client.send(ROUTE, unsubscribe=["a"])
    await client.send(ROUTE)
    await filled.apply(route("a", description="changed"))
    await let_pushes_go(filled)
    await client.expect_no_answer()


async def test_b22b_a_wildcard_gives_no_secret(filled: RunningServer) -> None:
    await filled.apply(secret("used"), proxy_service("p", secret="used"))
    for subscribe in ([], ["*"]):
        async with ads_client(filled.channel) as client:
            response = await client.ask(SECRET, subscribe=subscribe)
            assert (names(response), list(response.removed_resources)) == ([], [])
            await filled.apply(secret("used", env=f"KEY{len(subscribe)}"))
            await let_pushes_go(filled)
            await client.expect_no_answer()


async def test_b22b_a_secret_is_answered_by_name_if_a_service_uses_it(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(secret("used"), secret("unused"), proxy_service("p", secret="used"))
    response = await client.ask(SECRET, subscribe=["used", "unused"])
    assert names(response) == ["used"]
    assert list(response.removed_resources) == ["unused"]


async def test_b22b_a_secret_appears_with_its_first_use_and_goes_with_its_last(
    filled: RunningServer, client: AdsClient
) -> None:
    await filled.apply(secret("key"))
    assert list((await client.ask(SECRET, subscribe=["key"])).removed_resources) == ["key"]
    await filled.apply(proxy_service("p", secret="key"))
    await filled.apply(proxy_service("q", secret="key"))
    assert names(await client.receive_and_ack()) == ["key"]
    await filled.apply(delete("service", "p"))
    await let_pushes_go(filled)
    await client.expect_no_answer()
    await filled.apply(delete("service", "q"))
    response = await client.receive()
    assert (names(response), list(response.removed_resources)) == ([], ["key"])


async def test_b22b_secrets_held_under_a_wildcard_are_removed(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(secret("used"), proxy_service("p", secret="used"))
    assert names(await client.ask(SECRET, initial={"used": "some-version"})) == []
    assert list((await client.receive()).removed_resources) == ["used"]


async def test_b22b_a_type_without_any_name_counts_as_received(filled: RunningServer, client: AdsClient) -> None:
    assert names(await client.ask(POLICY)) == []
    await client.expect_no_answer()


async def test_b23_a_name_that_does_not_exist_is_answered_as_removed(client: AdsClient) -> None:
    response = await client.ask(ROUTE, subscribe=["nowhere"])
    assert (names(response), list(response.removed_resources)) == ([], ["nowhere"])


async def test_b24_and_is_pushed_when_it_is_made(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE, subscribe=["later"])
    await filled.apply(route("other"))
    await filled.apply(route("later"))
    assert names(await client.receive()) == ["later"]


async def test_b25_a_name_subscribed_again_is_answered_unchanged(client: AdsClient) -> None:
    first = await client.ask(ROUTE, subscribe=["a"])
    again = await client.ask(ROUTE, subscribe=["a"])
    assert versions(again) == versions(first)
    assert list((await client.ask(ROUTE, subscribe=["gone"])).removed_resources) == ["gone"]
    assert list((await client.ask(ROUTE, subscribe=["gone"])).removed_resources) == ["gone"]


async def test_b25_so_is_the_wildcard(client: AdsClient) -> None:
    await client.ask(ROUTE)
    assert names(await client.ask(ROUTE, subscribe=["*"])) == ["a", "b"]


async def test_b25_a_name_that_the_wildcard_covers_too(client: AdsClient) -> None:
    await client.ask(ROUTE)
    assert names(await client.ask(ROUTE, subscribe=["b"])) == ["b"]


async def test_b26_a_first_request_is_not_answered_with_what_is_held(filled: RunningServer, client: AdsClient) -> None:
    held = versions(await client.ask(ROUTE))
    async with ads_client(filled.channel, "again") as again:
        await again.send(ROUTE, subscribe=["a", "b", "gone"], initial={"a": held["a"], "b": "old"})
        response = await again.receive_and_ack()
        assert (names(response), list(response.removed_resources)) == (["b"], ["gone"])
    async with ads_client(filled.channel, "up-to-date") as again:
        await again.send(ROUTE, subscribe=["a"], initial={"a": held["a"]})
        await again.expect_no_answer()
        await filled.apply(route("a", description="changed"))
        assert names(await again.receive()) == ["a"]


async def test_b32_names_may_be_added_without_a_nonce_at_any_time(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE, subscribe=["a"])
    first = await client.receive()
    await client.send(ROUTE, subscribe=["b"])  # while the first response is not acknowledged
    await client.expect_no_answer()  # one response of a type at a time
    await client.ack(first)
    assert names(await client.receive()) == ["b"]


async def test_b_an_upstream_is_a_type_like_any_other(filled: RunningServer, client: AdsClient) -> None:
    await filled.apply(upstream("v"))
    response = await client.ask("type.googleapis.com/janua.config.v1.Upstream", subscribe=["v"])
    assert names(response) == ["v"]
