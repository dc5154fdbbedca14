"""Rules of the state-of-the-world variant, and those of all streams on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc import aio
from janua.config.v1.config_service_pb2 import GetRolloutRequest, ListNodesRequest, NodeRollout
from janua.config.v1.route_pb2 import Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.discovery.v3.ads_pb2 import DiscoveryResponse

from tests.config_server.ads_client import let_pushes_go
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.state_client import StateClient, state_client, unpacked
from tests.config_server.worlds import (
    ROUTE,
    SECRET,
    SERVICE,
    UPSTREAM,
    delete,
    proxy_service,
    route,
    secret,
    service,
    upstream,
)

UNKNOWN = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"


@pytest.fixture
async def state(filled: RunningServer) -> AsyncIterator[StateClient]:
    """A stream to the filled server on which nothing has been asked yet."""
    async with state_client(filled.channel) as connected:
        yield connected


def routes(response: DiscoveryResponse) -> list[str]:
    assert response.type_url == ROUTE
    return [each.name for each in unpacked(response, Route)]


async def test_h71_every_response_has_all_that_is_subscribed_to(filled: RunningServer, state: StateClient) -> None:
    assert routes(await state.ask(ROUTE)) == ["a", "b"]
    await filled.apply(route("b", description="changed"))
    response = await state.receive()
    assert [each.description for each in unpacked(response, Route)] == ["", "changed"]
    await state.ack(response)
    await filled.apply(route("c"))
    assert routes(await state.receive()) == ["a", "b", "c"]


async def test_h71_what_is_deleted_is_absent_from_the_next_response(filled: RunningServer, state: StateClient) -> None:
    await state.ask(ROUTE)
    await filled.apply(delete("route", "a"))
    response = await state.receive()
    assert routes(response) == ["b"]
    await state.ack(response)
    await filled.apply(delete("route", "b"))
    assert routes(await state.receive()) == []


async def test_h71_an_explicit_wildcard_is_all_as_well(state: StateClient) -> None:
    assert routes(await state.ask(ROUTE, ["*"])) == ["a", "b"]


async def test_h71_after_names_an_empty_list_is_nothing(filled: RunningServer, state: StateClient) -> None:
    response = await state.ask(ROUTE, ["a"])
    assert routes(response) == ["a"]
    await state.send(ROUTE, [], nonce=response.nonce)
    await filled.apply(route("a", description="changed"))
    await let_pushes_go(filled)
    await state.expect_no_answer()


async def test_h71_names_that_are_not_subscribed_to_any_more_are_left_out(
    filled: RunningServer, state: StateClient
) -> None:
    response = await state.ask(ROUTE, ["a", "b"])
    await state.send(ROUTE, ["b"], nonce=response.nonce)
    await filled.apply(route("a", description="changed"))
    await let_pushes_go(filled)
    await state.expect_no_answer()
    await filled.apply(route("b", description="changed"))
    assert routes(await state.receive()) == ["b"]


async def test_h72_a_request_with_a_stale_nonce_is_as_if_it_were_not_there(
    filled: RunningServer, state: StateClient
) -> None:
    first = await state.ask(ROUTE, ["a"])
    await filled.apply(route("a", description="changed"))
    second = await state.receive()
    await state.send(ROUTE, ["a", "b"], nonce=first.nonce)
    await state.expect_no_answer()
    # Nor is it an answer to the second: what has changed since waits for that.
    await filled.apply(route("a", description="again"))
    await let_pushes_go(filled)
    await state.expect_no_answer()
    await state.ack(second, ["a", "b"])
    assert routes(await state.receive()) == ["a", "b"]


async def test_h73_a_new_name_is_sent_with_all_the_others(state: StateClient) -> None:
    response = await state.ask(ROUTE, ["a"])
    await state.send(ROUTE, ["a", "b"], nonce=response.nonce)
    assert routes(await state.receive()) == ["a", "b"]


async def test_h73_a_name_that_comes_back_is_sent_again(state: StateClient) -> None:
    response = await state.ask(ROUTE, ["a", "b"])
    await state.send(ROUTE, ["b"], nonce=response.nonce)
    await state.send(ROUTE, ["a", "b"], nonce=response.nonce)
    assert routes(await state.receive()) == ["a", "b"]


async def test_h73_names_of_a_new_stream_are_sent_whatever_version_the_client_has(filled: RunningServer) -> None:
    async with state_client(filled.channel) as client:
        before = await client.ask(ROUTE, ["a"])
    async with state_client(filled.channel) as client:
        await client.send(ROUTE, ["a"], version=before.version_info)
        again = await client.receive()
    assert (routes(again), again.version_info) == (["a"], before.version_info)


async def test_h73_names_may_be_added_before_the_first_response_is_read(state: StateClient) -> None:
    await state.send(ROUTE, ["a"])
    await state.send(ROUTE, ["a", "b"])
    response = await state.receive()
    if routes(response) == ["a"]:  # the answer to the first request was on its way already
        await state.ack(response, ["a", "b"])
        response = await state.receive()
    assert routes(response) == ["a", "b"]


async def test_h74_a_type_without_resources_is_answered(state: StateClient) -> None:
    response = await state.ask(SECRET)
    assert (response.type_url, len(response.resources)) == (SECRET, 0)
    await state.expect_no_answer()


async def test_h74_names_that_do_not_exist_are_answered_by_their_absence_and_sent_once_they_do(
    filled: RunningServer, state: StateClient
) -> None:
    assert routes(await state.ask(ROUTE, ["later"])) == []
    await filled.apply(route("later"))
    assert routes(await state.receive()) == ["later"]


async def test_h74_of_endpoints_and_routes_nothing_is_said_until_they_are_there(state: StateClient) -> None:
    await state.send(ENDPOINTS, ["another"])
    await state.expect_no_answer()
    response = await state.ask(LISTENERS, ["another"])
    assert len(response.resources) == 0


async def test_a3_a_request_without_a_type_is_invalid(state: StateClient) -> None:
    await state.send("")
    assert (await state.end()).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a4_an_unknown_type_gets_one_empty_response(filled: RunningServer, state: StateClient) -> None:
    for names in ([], ["one"]):
        async with state_client(filled.channel) as client:
            assert len((await client.ask(UNKNOWN, names)).resources) == 0
            await client.expect_no_answer()
    await filled.apply(route("a", description="changed"))
    await state.expect_no_answer()


async def test_a5_a_nonce_of_one_type_says_nothing_of_another(filled: RunningServer, state: StateClient) -> None:
    of_route = await state.ask(ROUTE, ["a"])
    await state.ask(SERVICE)
    await state.send(SERVICE, [], nonce=of_route.nonce)
    await state.expect_no_answer()
    await filled.apply(service("s", description="changed"))
    assert [each.description for each in unpacked(await state.receive(), Service)] == ["changed"]


async def test_a6_a12_every_nonce_is_another_and_the_replica_is_named(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path / "config.db", replica_id="replica-7") as server,
        state_client(server.channel) as client,
    ):
        responses = [await client.ask(type_url) for type_url in (UPSTREAM, SERVICE, ROUTE)]
        await server.apply(upstream("u"))
        responses.append(await client.receive())
    assert len({response.nonce for response in responses}) == 4
    assert {response.control_plane.identifier for response in responses} == {"replica-7"}


async def test_a10_a_version_depends_on_content_alone(tmp_path: Path) -> None:
    versions = []
    for replica in ("one", "two"):
        async with running_server(tmp_path / f"{replica}.db") as server:
            if replica == "two":  # other revisions, another order
                await server.apply(upstream("v"))
            await server.apply(upstream("u"), upstream("v"))
            async with state_client(server.channel) as client:
                versions.append((await client.ask(UPSTREAM)).version_info)
                await server.apply(upstream("u", description="changed"))
                versions.append((await client.receive()).version_info)
    assert versions[:2] == versions[2:]
    assert versions[0] != versions[1]


async def test_a15_a_store_that_was_never_written_to_does_not_empty_a_client(server: RunningServer) -> None:
    async with state_client(server.channel) as client:
        await client.send(ROUTE, version="some-version")
        assert (await client.end()).code() is grpc.StatusCode.UNAVAILABLE


async def test_b22b_secrets_are_sent_by_name_only(filled: RunningServer, state: StateClient) -> None:
    await filled.apply(secret("used"), secret("unused"), proxy_service("p", secret="used"))
    response = await state.ask(SECRET)
    assert len(response.resources) == 0
    await state.send(SECRET, ["used", "unused"], nonce=response.nonce)
    assert [each.name for each in unpacked(await state.receive(), Secret)] == ["used"]


async def test_d46_a_refused_version_is_not_sent_again(filled: RunningServer, state: StateClient) -> None:
    await state.send(ROUTE)
    await state.nack(await state.receive())
    await state.expect_no_answer()
    await filled.apply(route("a", description="better"))
    assert routes(await state.receive()) == ["a", "b"]


async def test_d49_what_a_client_has_accepted_or_refused_is_recorded(filled: RunningServer, state: StateClient) -> None:
    response = await state.ask(ROUTE)
    await state.expect_no_answer()
    (node,) = (await filled.config.ListNodes(ListNodesRequest())).nodes
    recorded = {kept.type_url: kept for kept in node.types}[ROUTE]
    assert (recorded.sent_revision, recorded.acked_revision) == (1, 1)
    await filled.apply(route("a", description="bad"))
    response = await state.receive()
    await state.nack(response, message="not this one")
    await state.expect_no_answer()
    (rollout,) = (await filled.config.GetRollout(GetRolloutRequest())).nodes
    assert rollout.state == NodeRollout.STATE_ERROR
    assert {rejection.message for rejection in rollout.rejections} == {"not this one"}
    await filled.apply(delete("route", "a"))
    await state.ack(await state.receive())
    await state.expect_no_answer()
    (rollout,) = (await filled.config.GetRollout(GetRolloutRequest())).nodes
    assert (rollout.state, list(rollout.rejections)) == (NodeRollout.STATE_SYNCED, [])


async def test_d49d_one_response_of_a_type_is_under_way(filled: RunningServer, state: StateClient) -> None:
    await state.send(ROUTE)
    response = await state.receive()
    for text in ("one", "two"):
        await filled.apply(route("a", description=text))
    await let_pushes_go(filled)
    await state.expect_no_answer()
    await state.ack(response)
    assert [each.description for each in unpacked(await state.receive(), Route)] == ["two", ""]


async def test_f59_what_is_named_comes_before_what_names_it(filled: RunningServer, state: StateClient) -> None:
    for type_url in (ROUTE, SERVICE, UPSTREAM):
        await state.ask(type_url)
    await filled.apply(upstream("v"), service("t", upstream="v"), route("c", service="t"))
    order = []
    for _ in range(3):
        response = await state.receive()
        order.append(response.type_url)
        await state.ack(response)
    assert order == [UPSTREAM, SERVICE, ROUTE]


async def test_g67_what_changes_back_is_not_sent(filled: RunningServer, state: StateClient) -> None:
    await state.send(ROUTE)
    response = await state.receive()
    await filled.apply(route("a", description="changed"))
    await filled.apply(route("a"))
    await state.ack(response)
    await let_pushes_go(filled)
    await state.expect_no_answer()


async def test_g70_a_drain_ends_the_stream_with_unavailable(filled: RunningServer, state: StateClient) -> None:
    await state.ask(ROUTE)
    filled.stop.set()
    assert (await state.end()).code() is grpc.StatusCode.UNAVAILABLE


async def test_too_many_names_end_the_stream(state: StateClient) -> None:
    await state.send(ROUTE, [f"n{number}" for number in range(100_001)])
    assert (await state.end()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_request_end_the_stream(filled: RunningServer) -> None:
    call: aio.StreamStreamCall[bytes, bytes] = filled.channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    )()
    await call.write(b"\xff\xff")
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
