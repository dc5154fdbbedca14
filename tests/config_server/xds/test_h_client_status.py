"""Rule 75: what the server tells by the client status service of its clients. Rule 76: what it does not offer."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import aio
from janua.config.v1.config_service_pb2 import Rejection
from janua.discovery.v3.client_resource_status_pb2 import ClientResourceStatus
from janua.discovery.v3.csds_pb2 import ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus
from janua.discovery.v3.csds_pb2_grpc import ClientStatusDiscoveryServiceStub
from janua.discovery.v3.matcher_pb2 import NodeMatcher, RegexMatcher, StringMatcher, StructMatcher

from config_server import client_status
from tests.config_server.ads_client import AdsClient, ads_client, let_pushes_go, versions
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer
from tests.config_server.state_client import StateClient, state_client
from tests.config_server.worlds import ROUTE, SERVICE, delete, route

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.discovery.v3.csds_pb2_grpc import ClientStatusDiscoveryServiceAsyncStub


@pytest.fixture
def csds(server: RunningServer) -> "ClientStatusDiscoveryServiceAsyncStub":
    return ClientStatusDiscoveryServiceStub(server.channel)


@pytest.fixture
async def state(filled: RunningServer) -> AsyncIterator[StateClient]:
    async with state_client(filled.channel, "node-1") as connected:
        yield connected


def statuses(config: ClientConfig) -> dict[str, tuple[str, str]]:
    """By the names of resources."""
    return {
        resource.name: (
            ConfigStatus.Name(resource.config_status),
            ClientResourceStatus.Name(resource.client_status),
        )
        for resource in config.generic_xds_configs
    }


async def of_node(csds: "ClientStatusDiscoveryServiceAsyncStub", node_id: str = "node-1") -> ClientConfig:
    matcher = NodeMatcher(node_id=StringMatcher(exact=node_id))
    (config,) = (await csds.FetchClientStatus(ClientStatusRequest(node_matchers=[matcher]))).config
    return config


async def test_h75_a_resource_goes_from_sent_to_accepted(
    csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient
) -> None:
    await client.send(ROUTE)
    response = await client.receive()
    assert statuses(await of_node(csds)) == dict.fromkeys("ab", ("STALE", "REQUESTED"))
    await client.ack(response)
    await client.expect_no_answer()
    config = await of_node(csds)
    routes = [resource for resource in config.generic_xds_configs if resource.type_url == ROUTE]
    assert {resource.name: resource.version_info for resource in routes} == versions(response)
    assert {statuses(config)[resource.name] for resource in routes} == {("SYNCED", "ACKED")}


async def test_h75_what_waits_for_an_acknowledgement_has_not_been_sent(
    filled: RunningServer, csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient
) -> None:
    await client.send(ROUTE)
    response = await client.receive()
    await filled.apply(route("a", description="changed"), route("c"), delete("route", "b"))
    expected = {"a": ("NOT_SENT", "REQUESTED"), "b": ("NOT_SENT", "REQUESTED"), "c": ("NOT_SENT", "REQUESTED")}
    await let_pushes_go(filled)
    assert statuses(await of_node(csds)) == expected
    await client.ack(response)
    await client.receive_and_ack()
    assert statuses(await of_node(csds))["b"] in (("NOT_SENT", "REQUESTED"), ("STALE", "REQUESTED"))
    await client.receive_and_ack()  # the removal
    await client.expect_no_answer()
    assert "b" not in statuses(await of_node(csds))


async def test_h75_what_is_refused_is_told_with_the_reason(
    filled: RunningServer, csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient
) -> None:
    await client.send(ROUTE)
    response = await client.receive()
    version = versions(response)["a"]
    rejection = Rejection(type_url=ROUTE, name="a", reason="BAD_FIELD", field="match", message="cannot be")
    await client.nack(response, rejections=[rejection])
    await client.expect_no_answer()
    config = await of_node(csds)
    assert statuses(config)["a"] == ("ERROR", "NACKED")
    assert statuses(config)["b"] == ("SYNCED", "ACKED")
    (refused_one,) = [resource for resource in config.generic_xds_configs if resource.HasField("error_state")]
    assert refused_one.error_state.details == "BAD_FIELD: match: cannot be"
    assert refused_one.error_state.version_info == version
    await filled.apply(route("a", description="better"))
    better = await client.receive()
    config = await of_node(csds)
    assert statuses(config)["a"] == ("STALE", "REQUESTED")
    await client.ack(better)
    await client.expect_no_answer()
    config = await of_node(csds)
    assert statuses(config)["a"] == ("SYNCED", "ACKED")
    assert not any(resource.HasField("error_state") for resource in config.generic_xds_configs)


async def test_h75_a_name_that_does_not_exist_is_told_as_such(
    csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient
) -> None:
    await client.ask(ROUTE, subscribe=["a", "gone"])
    await client.expect_no_answer()
    told = statuses(await of_node(csds))
    assert told["gone"] == ("SYNCED", "DOES_NOT_EXIST")
    assert "b" not in told


async def test_h75_state_of_the_world_is_told_in_the_same_way(
    filled: RunningServer, csds: "ClientStatusDiscoveryServiceAsyncStub", state: StateClient
) -> None:
    await state.send(ROUTE, ["a", "gone"])
    response = await state.receive()
    assert statuses(await of_node(csds))["a"] == ("STALE", "REQUESTED")
    await state.ack(response, ["a", "gone"])
    await state.expect_no_answer()
    told = statuses(await of_node(csds))
    assert (told["a"], told["gone"]) == (("SYNCED", "ACKED"), ("SYNCED", "DOES_NOT_EXIST"))
    await filled.apply(route("a", description="changed"))
    await state.nack(await state.receive(), ["a", "gone"])
    await state.expect_no_answer()
    assert statuses(await of_node(csds))["a"] == ("ERROR", "NACKED")


async def test_h75_nothing_is_told_of_contents(
    csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient
) -> None:
    await client.ask(ROUTE)
    response = await csds.FetchClientStatus(ClientStatusRequest())
    assert b"model-a" not in response.SerializeToString()  # which is what the route matches


async def test_h75_clients_are_those_that_are_connected_by_their_ids(
    filled: RunningServer, csds: "ClientStatusDiscoveryServiceAsyncStub"
) -> None:
    async with ads_client(filled.channel, "b", cluster="edge", version="1.0") as b, ads_client(filled.channel) as a:
        await b.ask(ROUTE)
        await a.ask(SERVICE)
        configs = (await csds.FetchClientStatus(ClientStatusRequest())).config
        assert [(each.node.id, each.node.cluster) for each in configs] == [("b", "edge"), ("node-1", "")]
        assert configs[0].node.metadata["janua.version"] == "1.0"
        await b.close()
        await a.expect_no_answer()
        configs = (await csds.FetchClientStatus(ClientStatusRequest())).config
        assert [each.node.id for each in configs] == ["node-1"]


async def test_h75_a_stream_answers_each_question(
    csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient
) -> None:
    await client.ask(ROUTE, subscribe=["a"])
    await client.expect_no_answer()
    call = csds.StreamClientStatus()
    for matcher, count in (("node-1", 1), ("another", 0)):
        await call.write(ClientStatusRequest(node_matchers=[NodeMatcher(node_id=StringMatcher(exact=matcher))]))
        response = await call.read()
        assert isinstance(response, ClientStatusResponse)
        assert len(response.config) == count
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("matcher", "is_match"),
    [
        (StringMatcher(prefix="node"), True),
        (StringMatcher(prefix="NODE"), False),
        (StringMatcher(prefix="NODE", ignore_case=True), True),
        (StringMatcher(suffix="-1"), True),
        (StringMatcher(suffix="-2"), False),
        (StringMatcher(contains="ode"), True),
        (StringMatcher(contains="x"), False),
        (StringMatcher(safe_regex=RegexMatcher(regex="node-[0-9]")), True),
        (StringMatcher(safe_regex=RegexMatcher(regex="node")), False),
    ],
)
async def test_h75_nodes_are_matched_by_their_ids(
    csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient, matcher: StringMatcher, is_match: bool
) -> None:
    await client.ask(ROUTE)
    request = ClientStatusRequest(node_matchers=[NodeMatcher(node_id=matcher)])
    assert len((await csds.FetchClientStatus(request)).config) == is_match


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (NodeMatcher(node_metadatas=[StructMatcher()]), "use node_id"),
        (NodeMatcher(node_id=StringMatcher()), "give one of exact"),
        (NodeMatcher(node_id=StringMatcher(safe_regex=RegexMatcher(regex="("))), "not an RE2 expression"),
    ],
)
async def test_h75_a_matcher_that_cannot_be_kept_is_refused(
    csds: "ClientStatusDiscoveryServiceAsyncStub", matcher: NodeMatcher, text: str
) -> None:
    refusal = await refused(csds.FetchClientStatus(ClientStatusRequest(node_matchers=[matcher])))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NODE_MATCHER_INVALID")
    assert text in refusal.text


async def test_h75_more_than_fits_one_answer_is_refused(
    csds: "ClientStatusDiscoveryServiceAsyncStub", client: AdsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.ask(ROUTE)
    monkeypatch.setattr(client_status, "MAX_RESOURCES", 1)
    refusal = await refused(csds.FetchClientStatus(ClientStatusRequest()))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "node_matchers" in refusal.text


async def test_h76_no_resource_runs_out_and_load_is_not_reported(server: RunningServer, client: AdsClient) -> None:
    """Both are optional. A client that reports load is told by the code that it need not try again."""
    assert not any(resource.HasField("ttl") for resource in (await client.ask(ROUTE)).resources)
    path = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
    call: aio.StreamStreamCall[bytes, bytes] = server.channel.stream_stream(path)()
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_h75_bytes_that_are_no_request_are_refused(server: RunningServer) -> None:
    for method in ("FetchClientStatus", "StreamClientStatus"):
        path = f"/envoy.service.status.v3.ClientStatusDiscoveryService/{method}"
        call: aio.StreamStreamCall[bytes, bytes] = server.channel.stream_stream(path)()
        await call.write(b"\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
