"""Rules of the discovery stream and its envelope."""

from pathlib import Path

import grpc
import pytest
from grpc import aio
from janua.config.v1.config_service_pb2 import GetRolloutRequest, ListNodesRequest, NodeRollout
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest, DiscoveryRequest, Node, Resource
from janua.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub

from tests.config_server.ads_client import AdsClient, ads_client, let_pushes_go, names, versions
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import ROUTE, SERVICE, UPSTREAM, delete, route, service, upstream

RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
SCOPED_ROUTES = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"


async def test_a1_only_the_first_request_says_who_asks(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "first") as client:
        await client.ask(ROUTE)
        # The client sends no node from its second request on.
        await client.ask(SERVICE)
        listed = await filled.config.ListNodes(ListNodesRequest())
    assert [node.id for node in listed.nodes] == ["first"]
    assert {kept.type_url for kept in listed.nodes[0].types} == {ROUTE, SERVICE}


async def test_a2_a_first_request_without_a_node_id_is_invalid(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "") as client:
        await client.send(ROUTE)
        error = await client.end()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "node.id" in str(error.details())


async def test_a2_a_node_id_has_a_greatest_length(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "x" * 254) as client:
        await client.send(ROUTE)
        assert (await client.end()).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a2_a_node_id_has_no_control_characters(filled: RunningServer) -> None:
    """It stands in logs and on terminals."""
    async with ads_client(filled.channel, "edge\x1b[2J") as client:
        await client.send(ROUTE)
        error = await client.end()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == r"node.id may have no control characters, as 'edge\x1b[2J' has"


@pytest.mark.parametrize("is_first", [True, False])
async def test_a3_a_request_without_a_type_is_invalid(client: AdsClient, is_first: bool) -> None:
    if not is_first:
        await client.ask(ROUTE)
    await client.send("")
    error = await client.end()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "type_url" in str(error.details())


async def test_a4_an_unknown_type_gets_one_empty_response_for_its_wildcard(client: AdsClient) -> None:
    for type_url in (RUNTIME, SCOPED_ROUTES):
        response = await client.ask(type_url)
        assert response.type_url == type_url
        assert (names(response), list(response.removed_resources)) == ([], [])
    await client.expect_no_answer()


async def test_a4_names_of_an_unknown_type_are_answered_as_removed(client: AdsClient) -> None:
    response = await client.ask(RUNTIME, subscribe=["one", "two"])
    assert sorted(response.removed_resources) == ["one", "two"]
    assert names(response) == []


async def test_a4_an_unknown_type_gets_nothing_when_the_configuration_changes(
    filled: RunningServer, client: AdsClient
) -> None:
    await client.ask(RUNTIME)
    await client.ask(ROUTE)
    await filled.apply(route("a", description="changed"))
    assert (await client.receive_and_ack()).type_url == ROUTE
    await client.expect_no_answer()


async def test_a5_nonces_and_subscriptions_are_per_type(filled: RunningServer, client: AdsClient) -> None:
    await client.send(ROUTE, subscribe=["a"])
    of_route = await client.receive()
    await client.send(SERVICE)
    of_service = await client.receive()
    # An acknowledgement under the other type says nothing about this one.
    await client.send(SERVICE, nonce=of_route.nonce)
    await client.send(ROUTE, nonce=of_service.nonce)
    await filled.apply(route("a", description="changed"))
    await let_pushes_go(filled)
    await client.expect_no_answer()
    await client.ack(of_route)
    assert names(await client.receive()) == ["a"]


async def test_a6_every_nonce_of_a_stream_is_another(filled: RunningServer, client: AdsClient) -> None:
    responses = [await client.ask(type_url) for type_url in (UPSTREAM, SERVICE, ROUTE)]
    for text in ("one", "two"):
        await filled.apply(route("a", description=text))
        responses.append(await client.receive_and_ack())
    nonces = [response.nonce for response in responses]
    assert all(nonces)
    assert len(set(nonces)) == len(nonces)


async def test_a7_the_type_of_a_response_is_that_of_its_resources(client: AdsClient) -> None:
    for type_url in (UPSTREAM, SERVICE, ROUTE):
        response = await client.ask(type_url)
        assert response.type_url == type_url
        assert response.resources
        assert {resource.resource.type_url for resource in response.resources} == {type_url}


async def test_a8_no_name_occurs_twice_in_a_response(filled: RunningServer, client: AdsClient) -> None:
    response = await client.ask(ROUTE, subscribe=["*", "a", "a", "gone", "b"])
    mentioned = [*names(response), *response.removed_resources]
    assert sorted(mentioned) == ["a", "b", "gone"]


async def test_a8_what_is_deleted_and_made_again_is_not_both_added_and_removed(
    filled: RunningServer, client: AdsClient
) -> None:
    first = await client.ask(ROUTE)
    await filled.apply(delete("route", "a"))
    await filled.apply(route("a", description="new"))
    response = await client.receive()
    if names(response) == []:  # the deletion was pushed on its own
        await client.ack(response)
        response = await client.receive()
    assert names(response) == ["a"]
    assert list(response.removed_resources) == []
    assert versions(response) != versions(first)


async def test_a9_the_revision_is_shown_to_people(filled: RunningServer, client: AdsClient) -> None:
    assert (await client.ask(ROUTE)).system_version_info == "1"
    await filled.apply(route("a", description="changed"))
    assert (await client.receive()).system_version_info == "2"


async def test_a10_versions_depend_on_content_alone(tmp_path: Path) -> None:
    seen = []
    for replica in ("one", "two"):
        async with running_server(tmp_path / f"{replica}.db", replica_id=replica) as server:
            if replica == "two":  # other revisions, other times, another order
                await server.apply(upstream("other"))
                await server.apply(service("s", upstream="other", description="before"))
            await server.apply(upstream("u"), service("s"), route("a"))
            async with ads_client(server.channel) as client:
                seen.append(versions(await client.ask(SERVICE), await client.ask(ROUTE)))
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 2


async def test_a10_versions_are_the_same_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"))
        async with ads_client(server.channel) as client:
            before = versions(await client.ask(UPSTREAM))
    async with running_server(path) as server, ads_client(server.channel) as client:
        assert versions(await client.ask(UPSTREAM)) == before


async def test_a10_a_resource_that_becomes_what_it_was_has_its_old_version(
    filled: RunningServer, client: AdsClient
) -> None:
    before = versions(await client.ask(ROUTE))["a"]
    await filled.apply(route("a", description="changed"))
    changed = versions(await client.receive_and_ack())["a"]
    await filled.apply(route("a"))
    assert changed != before
    assert versions(await client.receive())["a"] == before


async def test_a11_a_resource_has_a_name_and_no_other_form_of_it(client: AdsClient) -> None:
    for resource in (await client.ask(ROUTE)).resources:
        assert {field.name for field, _ in resource.ListFields()} == {"name", "version", "resource"}
        # Field 3 is `name`; `resource_name` would be an unknown field here.
        assert Resource.FromString(resource.SerializeToString()) == resource


async def test_a12_a_response_names_the_replica(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path, replica_id="replica-7") as server, ads_client(server.channel) as client:
        assert (await client.ask(ROUTE)).control_plane.identifier == "replica-7"


async def test_a13_streams_of_one_node_are_apart_and_the_newest_counts(filled: RunningServer) -> None:
    async with ads_client(filled.channel, "node") as old:
        await old.ask(ROUTE, subscribe=["a"])
        async with ads_client(filled.channel, "node") as new:
            await new.send(ROUTE, subscribe=["b"])
            assert names(await new.receive()) == ["b"]
            rollout = await filled.config.GetRollout(GetRolloutRequest())
            assert [node.state for node in rollout.nodes] == [NodeRollout.STATE_STALE]
            await filled.apply(route("a", description="changed"))
            assert names(await old.receive_and_ack()) == ["a"]
            listed = await filled.config.ListNodes(ListNodesRequest())
            assert [node.connected for node in listed.nodes] == [True]
            assert listed.nodes[0].types[0].acked_revision == 0
        # The older stream counts again once the newer one is gone.
        await old.expect_no_answer()
        while (listed := await filled.config.ListNodes(ListNodesRequest())).nodes[0].types[0].acked_revision != 2:
            pass
        assert listed.nodes[0].connected


async def test_a15_a_store_that_was_never_written_to_does_not_empty_a_node(server: RunningServer) -> None:
    async with ads_client(server.channel) as client:
        await client.send(ROUTE, initial={"a": "some-version"})
        error = await client.end()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "no configuration" in str(error.details())


async def test_a15_a_node_that_holds_nothing_may_start_before_the_first_apply(server: RunningServer) -> None:
    async with ads_client(server.channel) as client:
        response = await client.ask(UPSTREAM)
        assert (names(response), list(response.removed_resources)) == ([], [])
        await server.apply(upstream("u"))
        assert names(await client.receive()) == ["u"]


async def test_a15_after_the_first_apply_the_world_is_served(filled: RunningServer, client: AdsClient) -> None:
    response = await client.ask(ROUTE, initial={"a": "other", "gone": "some-version"})
    assert names(response) == ["a", "b"]
    removal = await client.receive()
    assert list(removal.removed_resources) == ["gone"]


async def test_a_stream_that_the_client_closes_ends_well(client: AdsClient) -> None:
    await client.ask(ROUTE)
    await client.close()


async def test_what_was_asked_before_the_client_closed_is_answered(filled: RunningServer) -> None:
    stub = AggregatedDiscoveryServiceStub(filled.channel)
    calls = (
        stub.DeltaAggregatedResources(iter([DeltaDiscoveryRequest(node=Node(id="n"), type_url=ROUTE)])),
        stub.StreamAggregatedResources(iter([DiscoveryRequest(node=Node(id="n"), type_url=ROUTE)])),
    )
    for call in calls:
        (response,) = [response async for response in call]
        assert len(response.resources) == 2
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_without_any_request_ends_well(filled: RunningServer) -> None:
    call = AggregatedDiscoveryServiceStub(filled.channel).DeltaAggregatedResources()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_too_many_types_end_the_stream(client: AdsClient) -> None:
    for number in range(65):
        await client.send(f"type.googleapis.com/test.Type{number}")
    assert (await client.end()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_many_names_end_the_stream(client: AdsClient) -> None:
    for start in range(0, 100_001, 25_000):
        await client.send(ROUTE, subscribe=[f"n{start + number}" for number in range(25_000)])
    assert (await client.end()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_unknown_fields_of_other_clients_are_ignored(filled: RunningServer) -> None:
    # Field 8 of the request (`resource_locators_subscribe`) and field 4 of the node (`locality`) are Envoy's.
    node = b"\x0a\x05envoy\x22\x03\x0a\x01r"
    raw = b"\x0a" + bytes([len(node)]) + node + b"\x12" + bytes([len(ROUTE)]) + ROUTE.encode() + b"\x42\x00"
    call: aio.StreamStreamCall[bytes, bytes] = filled.channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        request_serializer=lambda data: data,
    )()
    await call.write(raw)
    assert DeltaDiscoveryRequest.FromString(raw).node.id == "envoy"
    assert await call.read() is not None
    call.cancel()


@pytest.mark.parametrize("is_first", [True, False])
async def test_bytes_that_are_no_request_end_the_stream(filled: RunningServer, is_first: bool) -> None:
    call: aio.StreamStreamCall[bytes, bytes] = filled.channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    )()
    if not is_first:
        await call.write(DeltaDiscoveryRequest(node=Node(id="n"), type_url=ROUTE).SerializeToString())
        await call.read()
    await call.write(b"\xff\xff")
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
