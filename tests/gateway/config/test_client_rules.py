"""The client's rules of delta discovery, one test or more for each, named by its number in the protocol notes."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
import pytest
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest, Resource
from janua_resources.kinds import KINDS, SYNC_STATE_TYPE_URL

from gateway.config.resources import (
    CONSUMER,
    POLICY,
    RESOURCE_TYPES,
    ROUTE,
    SECRET,
    SERVICE,
    SYNC_STATE,
    UPSTREAM,
    ReceivedResource,
)
from gateway.config.subscriber import Subscriber
from tests.gateway.config.recording_sink import NODE, Pauses, RecordingSink, running
from tests.gateway.config.scripted_server import (
    WILDCARD_TYPES,
    ScriptedServer,
    ServerStream,
    is_ack,
    rejections,
    resource,
    scripted_server,
    versions,
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running_server:
        yield running_server


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
async def subscriber(server: ScriptedServer, sink: RecordingSink) -> AsyncIterator[Subscriber]:
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses(), random=lambda: 0.5)) as subscriber:
        yield subscriber


@pytest.fixture
async def stream(server: ScriptedServer, subscriber: Subscriber) -> ServerStream:
    """A stream on which the client has asked for everything that it asks for by wildcard."""
    stream = await server.next_stream()
    await stream.receive_opening()
    return stream


async def test_rule_1_the_node_stands_in_the_first_request_only(server: ScriptedServer, subscriber: Subscriber) -> None:
    first, *rest = await (await server.next_stream()).receive_opening()
    assert (first.node.id, first.node.cluster) == ("node-1", "edge")
    assert (first.node.user_agent_name, first.node.user_agent_version) == ("janua", "1.2.3")
    assert first.node.metadata["janua.version"] == "1.2.3"
    assert not any(request.HasField("node") for request in rest)


async def test_rule_5_each_type_is_answered_with_its_own_nonce(stream: ServerStream, sink: RecordingSink) -> None:
    gate = sink.gates[UPSTREAM] = asyncio.Event()
    of_upstreams = await stream.send(UPSTREAM, [resource(UPSTREAM, "a")])
    of_policies = await stream.send(POLICY, [resource(POLICY, "a")])
    first = await stream.receive()
    gate.set()
    second = await stream.receive()
    assert (first.type_url, first.response_nonce) == (POLICY, of_policies)
    assert (second.type_url, second.response_nonce) == (UPSTREAM, of_upstreams)


async def test_rule_7_a_response_with_a_resource_of_another_type_is_refused_whole(
    stream: ServerStream, sink: RecordingSink
) -> None:
    answer = await stream.exchange(UPSTREAM, [resource(UPSTREAM, "good"), resource(ROUTE, "stray", "v7")])
    (rejection,) = rejections(answer)
    assert (rejection.type_url, rejection.name, rejection.version) == (UPSTREAM, "stray", "v7")
    assert rejection.reason == "TYPE_MISMATCH"
    assert "Route" in rejection.message
    assert not sink.updates


async def test_rule_7_holds_for_the_mark_of_the_syncs_end(stream: ServerStream, sink: RecordingSink) -> None:
    answer = await stream.exchange(SYNC_STATE, [resource(ROUTE, "sync", value=b"\xff")])
    assert [rejection.reason for rejection in rejections(answer)] == ["TYPE_MISMATCH"]
    assert sink.syncs.empty()


@pytest.mark.parametrize(
    ("names", "removed"), [(["a", "b", "a"], []), (["a", "b"], ["a"]), (["b"], ["a", "a"])], ids=str
)
async def test_rule_8_a_response_with_a_name_twice_is_refused_whole(
    stream: ServerStream, sink: RecordingSink, names: list[str], removed: list[str]
) -> None:
    answer = await stream.exchange(UPSTREAM, [resource(UPSTREAM, name) for name in names], removed)
    (rejection,) = rejections(answer)
    assert (rejection.name, rejection.reason) == ("a", "DUPLICATE")
    assert not sink.updates


async def test_an_undecodable_resource_refuses_the_response_whole(stream: ServerStream, sink: RecordingSink) -> None:
    answer = await stream.exchange(
        UPSTREAM, [resource(UPSTREAM, "good"), resource(UPSTREAM, "bad", "v3", value=b"\x0a\xff")]
    )
    (rejection,) = rejections(answer)
    assert (rejection.name, rejection.version, rejection.reason) == ("bad", "v3", "UNDECODABLE")
    assert not sink.updates


async def test_rule_9_the_revision_is_passed_on_as_it_is(stream: ServerStream, sink: RecordingSink) -> None:
    await stream.send(UPSTREAM, [resource(UPSTREAM, "a")], revision="not a number")
    assert (await sink.next_update()).revision == "not a number"
    assert is_ack(await stream.receive())


async def test_rule_20_all_types_but_secrets_are_asked_for_by_explicit_wildcard(
    server: ScriptedServer, subscriber: Subscriber
) -> None:
    requests = await (await server.next_stream()).receive_opening(
        (UPSTREAM, POLICY, SERVICE, CONSUMER, ROUTE, SYNC_STATE)
    )
    assert all(list(request.resource_names_subscribe) == ["*"] for request in requests)


async def test_rule_22b_secrets_are_asked_for_by_name(server: ScriptedServer, sink: RecordingSink) -> None:
    sink.secrets = {"openai", "mistral"}
    async with running(Subscriber([server.address], NODE, sink, sleep=Pauses())):
        stream = await server.next_stream()
        first, *_ = await stream.receive_opening((SECRET, *WILDCARD_TYPES, SYNC_STATE))
        assert list(first.resource_names_subscribe) == ["mistral", "openai"]


async def test_rule_22b_secrets_follow_what_the_services_name(stream: ServerStream, sink: RecordingSink) -> None:
    sink.secrets = {"a", "b"}
    request = await _send_services(stream, [resource(SERVICE, "one")])
    assert request.response_nonce == ""
    assert list(request.resource_names_subscribe) == ["a", "b"]

    sink.secrets = {"b", "c"}
    request = await _send_services(stream, [resource(SERVICE, "one", "v2")])
    assert list(request.resource_names_subscribe) == ["c"]
    assert list(request.resource_names_unsubscribe) == ["a"]

    sink.secrets = set()
    request = await _send_services(stream, removed=["one"])
    assert list(request.resource_names_unsubscribe) == ["b", "c"]
    assert not request.resource_names_subscribe


async def test_a_service_that_waits_for_its_secret_does_not_keep_it_from_coming(
    stream: ServerStream, sink: RecordingSink, subscriber: Subscriber
) -> None:
    gate = sink.gates[SERVICE] = asyncio.Event()
    of_service = await stream.send(SERVICE, [resource(SERVICE, "one")])
    await sink.next_update()
    sink.secrets = {"openai"}
    subscriber.refresh_secret_names()
    request = await stream.receive()
    assert (request.type_url, list(request.resource_names_subscribe)) == (SECRET, ["openai"])

    assert is_ack(await stream.exchange(SECRET, [resource(SECRET, "openai")]))
    assert (await sink.next_update()).type_url == SECRET
    gate.set()
    answer = await stream.receive()
    assert answer.response_nonce == of_service
    assert is_ack(answer)


async def test_refreshing_secret_names_without_a_difference_says_nothing(
    stream: ServerStream, sink: RecordingSink, subscriber: Subscriber
) -> None:
    subscriber.refresh_secret_names()
    assert is_ack(await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a")]))


async def test_rule_31_ignores_what_was_not_asked_for(stream: ServerStream, sink: RecordingSink) -> None:
    sink.secrets = {"wanted"}
    await _send_services(stream, [resource(SERVICE, "one")])
    secrets = [resource(SECRET, "wanted"), resource(SECRET, "stray")]
    assert is_ack(await stream.exchange(SECRET, secrets, removed=["other"]))
    (update,) = (update for update in sink.updates if update.type_url == SECRET)
    assert [received.name for received in update.upserts] == ["wanted"]
    assert not update.removals


async def test_rule_31_never_lists_what_was_not_asked_for_as_held(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    for name in ("wanted", "left over"):
        await sink.update(SECRET, "1", [_received(SECRET, name)], [])
    sink.secrets = {"wanted"}
    stream.end()
    first, *_ = await (await server.next_stream()).receive_opening((SECRET, *WILDCARD_TYPES, SYNC_STATE))
    assert versions(first) == {"wanted": "v1"}


async def test_rule_31_accepts_a_type_that_was_not_asked_for_without_asking_for_it(
    stream: ServerStream, sink: RecordingSink
) -> None:
    foreign = resource(ROUTE, "a")
    foreign.resource.type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    answer = await stream.exchange(foreign.resource.type_url, [foreign])
    assert is_ack(answer)
    # Alone, the first request of a type would ask for all of it.
    assert list(answer.resource_names_unsubscribe) == ["*"]
    assert not sink.updates


async def test_rule_31_accepts_secrets_when_none_was_asked_for(stream: ServerStream, sink: RecordingSink) -> None:
    answer = await stream.exchange(SECRET, [resource(SECRET, "stray")])
    assert is_ack(answer)
    assert not answer.resource_names_subscribe
    assert not sink.updates


async def test_rule_39_removal_of_an_unknown_name_is_accepted(stream: ServerStream, sink: RecordingSink) -> None:
    await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a")])
    assert is_ack(await stream.exchange(UPSTREAM, removed=["never seen"]))
    assert sink.held_versions(UPSTREAM) == {"a": "v1"}


@pytest.mark.parametrize("type_url", [*WILDCARD_TYPES, SYNC_STATE])
async def test_rule_42_every_response_is_answered_an_empty_one_too(
    stream: ServerStream, sink: RecordingSink, type_url: str
) -> None:
    for _ in range(3):
        assert is_ack(await stream.exchange(type_url))
    assert not sink.updates


async def test_rule_42_responses_of_one_type_sent_without_waiting_are_answered_in_turn(
    stream: ServerStream, sink: RecordingSink
) -> None:
    nonces = [await stream.send(UPSTREAM, [resource(UPSTREAM, "a", f"v{number}")]) for number in range(20)]
    assert [(await stream.receive()).response_nonce for _ in nonces] == nonces
    assert sink.held_versions(UPSTREAM) == {"a": "v19"}


async def test_rule_43_spontaneous_requests_carry_no_nonce(
    stream: ServerStream, sink: RecordingSink, subscriber: Subscriber
) -> None:
    await stream.exchange(SERVICE, [resource(SERVICE, "one")])
    sink.secrets = {"openai"}
    subscriber.refresh_secret_names()
    assert (await stream.receive()).response_nonce == ""
    subscriber.recover(SERVICE, ["one"])
    assert (await stream.receive()).response_nonce == ""


async def test_rule_47_after_a_nack_the_version_before_stays_in_use_and_is_listed(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a", "v1")])
    sink.refuse(UPSTREAM, "a", "v2")
    sink.refuse(UPSTREAM, "new", "v1")
    answer = await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a", "v2"), resource(UPSTREAM, "new", "v1")])
    assert not is_ack(answer)
    stream.end()
    upstreams, *_ = await (await server.next_stream()).receive_opening()
    assert versions(upstreams) == {"a": "v1"}


async def test_rule_48_takes_the_good_resources_of_a_refused_response_and_names_the_bad(
    stream: ServerStream, sink: RecordingSink
) -> None:
    sink.refuse(UPSTREAM, "bad", "v5")
    answer = await stream.exchange(UPSTREAM, [resource(UPSTREAM, "good"), resource(UPSTREAM, "bad", "v5")])
    assert sink.held_versions(UPSTREAM) == {"good": "v1"}
    assert answer.error_detail.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert answer.error_detail.message == (
        "1 resource refused: bad INVALID_FIELD endpoints[0].address: is not an address"
    )
    (rejection,) = rejections(answer)
    assert (rejection.type_url, rejection.name, rejection.version) == (UPSTREAM, "bad", "v5")
    assert (rejection.reason, rejection.field) == ("INVALID_FIELD", "endpoints[0].address")
    assert rejection.message == "is not an address"


async def test_rule_48_a_refusal_is_bounded_and_its_message_one_line(stream: ServerStream, sink: RecordingSink) -> None:
    names = [f"upstream-{number}" for number in range(300)]
    for name in names:
        sink.refuse(UPSTREAM, name)
    answer = await stream.exchange(UPSTREAM, [resource(UPSTREAM, name) for name in names])
    assert [rejection.name for rejection in rejections(answer)] == names[:100]
    assert answer.error_detail.message.startswith("300 resources refused: ")
    assert len(answer.error_detail.message.encode()) <= 4096
    assert "\n" not in answer.error_detail.message


async def test_rule_49e_the_end_of_the_sync_waits_for_all_that_came_before(
    stream: ServerStream, sink: RecordingSink
) -> None:
    gate = sink.gates[ROUTE] = asyncio.Event()
    of_routes = await stream.send(ROUTE, [resource(ROUTE, "a")])
    of_sync = await stream.send_synced("epoch-1", 42)
    assert is_ack(await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a")]))
    assert sink.syncs.empty()
    gate.set()
    assert await sink.next_sync() == ("epoch-1", 42)
    assert [(await stream.receive()).response_nonce for _ in range(2)] == [of_routes, of_sync]
    assert sink.held_versions(ROUTE) == {"a": "v1"}


async def test_rule_49e_the_end_of_the_sync_is_asked_for_last_and_never_listed_as_held(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    await stream.send_synced()
    await sink.next_sync()
    sink.held[SYNC_STATE]["sync"] = _received(SYNC_STATE, "sync")
    stream.end()
    *_, last = await (await server.next_stream()).receive_opening()
    assert last.type_url == SYNC_STATE
    assert not versions(last)


async def test_rule_49e_an_undecodable_mark_is_refused(stream: ServerStream, sink: RecordingSink) -> None:
    bad = resource(ROUTE, "sync", value=b"\x0a\xff")
    bad.resource.type_url = SYNC_STATE
    assert [rejection.reason for rejection in rejections(await stream.exchange(SYNC_STATE, [bad]))] == ["UNDECODABLE"]
    assert sink.syncs.empty()


async def test_rule_50_a_new_stream_lists_interest_and_what_is_held(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    sink.secrets = {"openai"}
    await _send_services(stream, [resource(SERVICE, "one", "v3")])
    await stream.exchange(SECRET, [resource(SECRET, "openai", "v9")])
    await stream.exchange(ROUTE, [resource(ROUTE, "a"), resource(ROUTE, "b")])
    await stream.exchange(ROUTE, removed=["b"])
    stream.end()
    requests = await (await server.next_stream()).receive_opening((SECRET, *WILDCARD_TYPES, SYNC_STATE))
    asked = {request.type_url: list(request.resource_names_subscribe) for request in requests}
    assert asked == {SECRET: ["openai"]} | {type_url: ["*"] for type_url in (*WILDCARD_TYPES, SYNC_STATE)}
    held = {request.type_url: versions(request) for request in requests if versions(request)}
    assert held == {SECRET: {"openai": "v9"}, SERVICE: {"one": "v3"}, ROUTE: {"a": "v1"}}
    assert [request.HasField("node") for request in requests] == [True] + [False] * 6
    assert not any(request.response_nonce for request in requests)


async def test_rule_50_what_is_still_under_way_from_the_lost_stream_is_waited_for(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    gate = sink.gates[SERVICE] = asyncio.Event()
    await stream.send(SERVICE, [resource(SERVICE, "one")])
    await sink.next_update()
    stream.end()
    second = await server.next_stream()
    await second.receive_opening((UPSTREAM, POLICY, CONSUMER, ROUTE))
    gate.set()
    services, sync = await second.receive_opening((SERVICE, SYNC_STATE))
    assert versions(services) == {"one": "v1"}
    assert list(sync.resource_names_subscribe) == ["*"]


async def test_rule_50_what_a_lost_stream_left_untaken_is_dropped_with_its_end_of_sync(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    gate = sink.gates[SERVICE] = asyncio.Event()
    await stream.send(SERVICE, [resource(SERVICE, "one")])
    await stream.send(SERVICE, [resource(SERVICE, "two")])
    await stream.send_synced("epoch", 1)
    await stream.exchange(UPSTREAM, [resource(UPSTREAM, "a")])
    stream.end()
    second = await server.next_stream()
    await second.receive_opening((UPSTREAM, POLICY, CONSUMER, ROUTE))
    gate.set()
    services, _ = await second.receive_opening((SERVICE, SYNC_STATE))
    assert versions(services) == {"one": "v1"}
    await second.send_synced("epoch", 2)
    assert await sink.next_sync() == ("epoch", 2)


async def test_rule_53_versions_are_listed_in_the_first_request_of_a_type_only(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink, subscriber: Subscriber
) -> None:
    await stream.exchange(ROUTE, [resource(ROUTE, "a")])
    stream.end()
    second = await server.next_stream()
    await second.receive_opening()
    assert not versions(await second.exchange(ROUTE, [resource(ROUTE, "b")]))
    subscriber.recover(ROUTE, ["a"])
    assert not versions(await second.receive())


async def test_rule_54_losing_the_stream_drops_nothing(
    server: ScriptedServer, stream: ServerStream, sink: RecordingSink
) -> None:
    for type_url in WILDCARD_TYPES:
        await stream.exchange(type_url, [resource(type_url, "a")])
    calls = len(sink.updates)
    stream.end()
    await (await server.next_stream()).receive_opening()
    assert all(sink.held_versions(type_url) == {"a": "v1"} for type_url in WILDCARD_TYPES)
    assert len(sink.updates) == calls


async def test_rule_61_an_update_that_waits_holds_up_no_other_type(stream: ServerStream, sink: RecordingSink) -> None:
    gate = sink.gates[ROUTE] = asyncio.Event()
    waiting = await stream.send(ROUTE, [resource(ROUTE, "a")])
    for type_url in (UPSTREAM, POLICY, SERVICE, CONSUMER):
        assert is_ack(await stream.exchange(type_url, [resource(type_url, "a")]))
    gate.set()
    answer = await stream.receive()
    assert answer.response_nonce == waiting
    assert is_ack(answer)


async def test_recover_lets_the_server_hear_the_ack_and_keeps_the_wildcard(
    stream: ServerStream, sink: RecordingSink, subscriber: Subscriber
) -> None:
    sink.refuse(SERVICE, "one")
    assert not is_ack(await stream.exchange(SERVICE, [resource(SERVICE, "one")]))

    sink.refused.clear()
    subscriber.recover(SERVICE, ["one"])
    request = await stream.receive()
    assert (request.type_url, list(request.resource_names_subscribe)) == (SERVICE, ["one"])
    assert (request.response_nonce, list(request.resource_names_unsubscribe)) == ("", [])

    answer = await stream.exchange(SERVICE, [resource(SERVICE, "one")])
    assert is_ack(answer)
    assert list(answer.resource_names_unsubscribe) == ["one"]
    # The server answers that with the resource once more, since the wildcard covers it.
    answer = await stream.exchange(SERVICE, [resource(SERVICE, "one")])
    assert is_ack(answer)
    assert not answer.resource_names_unsubscribe


async def test_recover_of_a_secret_asks_for_it_again_and_goes_on_wanting_it(
    stream: ServerStream, sink: RecordingSink, subscriber: Subscriber
) -> None:
    sink.secrets = {"openai"}
    sink.refuse(SECRET, "openai")
    await _send_services(stream, [resource(SERVICE, "one")])
    assert not is_ack(await stream.exchange(SECRET, [resource(SECRET, "openai")]))
    sink.refused.clear()
    subscriber.recover(SECRET, ["openai", "not wanted"])
    assert list((await stream.receive()).resource_names_subscribe) == ["openai"]
    answer = await stream.exchange(SECRET, [resource(SECRET, "openai")])
    assert is_ack(answer)
    assert not answer.resource_names_unsubscribe


def test_all_types_are_known_in_the_order_of_make_before_break() -> None:
    assert tuple(info.type_url for info in KINDS) == RESOURCE_TYPES
    assert SYNC_STATE_TYPE_URL == SYNC_STATE


async def _send_services(
    stream: ServerStream, resources: Iterable[Resource] = (), removed: Iterable[str] = ()
) -> DeltaDiscoveryRequest:
    """Sends services that change what secrets are named, and gives the request for secrets that follows."""
    nonce = await stream.send(SERVICE, resources, removed)
    request, answer = [await stream.receive() for _ in range(2)]
    assert request.type_url == SECRET
    assert answer.response_nonce == nonce
    assert is_ack(answer)
    return request


def _received(type_url: str, name: str) -> ReceivedResource:
    return ReceivedResource(type_url, name, "v1", b"")
