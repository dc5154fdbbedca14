"""Rules of order: make before break, answers before pushes."""

from tests.config_server.ads_client import AdsClient, let_pushes_go, names
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import (
    CONSUMER,
    POLICY,
    ROUTE,
    SECRET,
    SERVICE,
    UPSTREAM,
    consumer,
    delete,
    policy,
    proxy_service,
    route,
    secret,
    service,
    upstream,
)

MAKE_BEFORE_BREAK = (SECRET, UPSTREAM, POLICY, SERVICE, CONSUMER, ROUTE)


async def subscribe_to_all(client: AdsClient) -> None:
    """In an order that is not the one of the answers to come."""
    await client.ask(SECRET, subscribe=["key"])
    for type_url in (ROUTE, CONSUMER, SERVICE, POLICY, UPSTREAM):
        await client.ask(type_url)


async def make_one_of_each(server: RunningServer) -> None:
    await server.apply(
        route("new", service="new", policies=["new"]),
        consumer("new"),
        proxy_service("new", secret="key"),
        policy("new"),
        upstream("new"),
        secret("key"),
    )


async def test_f59_what_is_new_comes_before_what_names_it(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    await make_one_of_each(filled)
    responses = [await client.receive_and_ack() for _ in MAKE_BEFORE_BREAK]
    assert [response.type_url for response in responses] == list(MAKE_BEFORE_BREAK)
    assert [names(response) for response in responses] == [["key"], *[["new"]] * 5]


async def test_f59_what_is_gone_comes_after_what_named_it(filled: RunningServer, client: AdsClient) -> None:
    await make_one_of_each(filled)
    await subscribe_to_all(client)
    await filled.apply(
        delete("secret", "key"),
        *(delete(word, "new") for word in ("upstream", "policy", "service", "consumer", "route")),
    )
    responses = [await client.receive_and_ack() for _ in MAKE_BEFORE_BREAK]
    assert [response.type_url for response in responses] == list(reversed(MAKE_BEFORE_BREAK))
    assert [list(response.removed_resources) for response in responses] == [*[["new"]] * 5, ["key"]]


async def test_f59_a_move_makes_the_new_before_it_breaks_the_old(filled: RunningServer, client: AdsClient) -> None:
    await subscribe_to_all(client)
    await filled.apply(
        delete("upstream", "u"),
        delete("service", "s"),
        upstream("v"),
        service("t", upstream="v"),
        route("a", service="t"),
        route("b", service="t"),
    )
    responses = [await client.receive_and_ack() for _ in range(5)]
    steps = [(response.type_url, names(response), list(response.removed_resources)) for response in responses]
    assert steps == [
        (UPSTREAM, ["v"], []),
        (SERVICE, ["t"], []),
        (ROUTE, ["a", "b"], []),
        (SERVICE, [], ["s"]),
        (UPSTREAM, [], ["u"]),
    ]


async def test_f59_a_type_that_must_wait_holds_up_those_behind_it(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await client.ask(CONSUMER)
    await client.send(UPSTREAM)
    unanswered = await client.receive()
    await filled.apply(upstream("v"), service("t", upstream="v"), route("a", service="t"))
    await let_pushes_go(filled)
    await client.expect_no_answer()
    await client.ack(unanswered)
    assert [(await client.receive_and_ack()).type_url for _ in range(2)] == [UPSTREAM, ROUTE]


async def test_f59_removals_of_a_first_sync_are_in_order_too(filled: RunningServer, client: AdsClient) -> None:
    for type_url in (UPSTREAM, SERVICE, ROUTE):
        await client.send(type_url, initial={"old": "v"})
    for type_url in (UPSTREAM, SERVICE, ROUTE):
        response = await client.receive_and_ack()
        assert (response.type_url, list(response.removed_resources)) == (type_url, [])
    for type_url in (ROUTE, SERVICE, UPSTREAM):
        response = await client.receive_and_ack()
        assert (response.type_url, list(response.removed_resources)) == (type_url, ["old"])


async def test_f60_answers_come_before_pushes(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(UPSTREAM)
    await client.send(ROUTE)
    first = await client.receive()
    await filled.apply(route("a", description="changed"))
    await let_pushes_go(filled)
    # The change waits for the acknowledgement, and the answer that is asked for with it goes before.
    await client.ack(first, subscribe=["b"])
    assert names(await client.receive_and_ack()) == ["b"]
    assert names(await client.receive_and_ack()) == ["a"]


async def test_f63_changes_of_one_apply_go_in_one_response(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await filled.apply(*(route(f"r{number:03}") for number in range(300)))
    assert len((await client.receive_and_ack()).resources) == 300
    await client.expect_no_answer()


async def test_f63_deletions_too(filled: RunningServer, client: AdsClient) -> None:
    await client.ask(ROUTE)
    await filled.apply(delete("route", "a"), delete("route", "b"))
    assert sorted((await client.receive()).removed_resources) == ["a", "b"]
