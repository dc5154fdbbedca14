"""The guard, over real connections: what each role may call, and what happens to those who may not any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1 import node_service_pb2
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.node_service_pb2_grpc import NodeServiceStub
from janua.config.v1.resource_pb2 import KIND_SECRET, ResourceKey
from janua.config.v1.secret_pb2 import Secret
from janua.discovery.v3 import ads_pb2, csds_pb2
from janua_resources.kinds import ConfigMessage
from janua_resources.sealing import make_key
from janua_resources.secret_values import KEPT_VALUE
from structlog.testing import capture_logs

from config_server.access.permissions import may_call
from config_server.access.principal import Role
from config_server.encryption_keys import encryption_keys
from tests.config_server.access.principals import TOKENS, channel, entry, write
from tests.config_server.ads_client import ads_client
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import TYPE, batch, route, secret, service, upstream
from tests.support.polling import eventually

# The roles that may call each method of our own services, by the last part of its name.
READERS: Final = {"admin", "editor", "viewer"}
WRITERS: Final = {"admin", "editor"}
WRITES: Final = {
    *("Apply", "DeleteResource", "Rollback", "PromoteCanary", "AbortCanary", "CreateApiKey", "RevokeApiKey"),
}
ROUTE: Final = TYPE["route"]
SERVICES: Final = (
    pb.DESCRIPTOR.services_by_name["ConfigService"],
    node_service_pb2.DESCRIPTOR.services_by_name["NodeService"],
    csds_pb2.DESCRIPTOR.services_by_name["ClientStatusDiscoveryService"],
    ads_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"],
)


def allowed(service: ServiceDescriptor, method: str) -> set[str]:
    match service.name:
        case "ConfigService":
            return WRITERS if method in WRITES else READERS
        case "ClientStatusDiscoveryService":
            return READERS
        case "NodeService":
            return {"node"}
        case _:
            return {"node", "client"}


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    return write(tmp_path / "access.yaml")


@pytest.fixture
async def server(tmp_path: Path, access_file: Path) -> AsyncIterator[RunningServer]:
    """A guarded server: its own stubs show no credentials."""
    async with running_server(tmp_path / "config.db", access_file=access_file) as running:
        yield running


def refusal(error: aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Code and reason."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an error is a call too
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return error.code(), info.reason


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def apply(address: str, token: str, *changes: ConfigMessage, **fields: Any) -> pb.ApplyResponse:
    request = batch(*changes)
    request.MergeFrom(pb.ApplyRequest(**fields))
    async with channel(address, token) as opened:
        return await ConfigServiceStub(opened).Apply(request)


async def code_of(opened: Any, full: str, method: MethodDescriptor) -> str:
    """The name of the code that a call of a method ends with, OK if it is answered. May raise it."""
    call: Any
    if method.client_streaming:
        # Nothing is written: grpcio makes INTERNAL of the code of a stream that ends in the middle of a write.
        call = opened.stream_stream(full)()
        await call.wait_for_connection()
        with suppress(aio.InternalError):
            await call.done_writing()
        return str((await call.code()).name)
    request = GetMessageClass(method.input_type)().SerializeToString()
    if method.server_streaming:
        call = opened.unary_stream(full)(request)
        await call.read()
        call.cancel()
    else:
        call = opened.unary_unary(full)(request)
        await call
    return "OK"


METHODS = [(service, method.name) for service in SERVICES for method in service.methods]


@pytest.mark.parametrize(("service", "method"), METHODS, ids=lambda each: getattr(each, "name", each))
async def test_each_method_is_for_its_roles(server: RunningServer, service: ServiceDescriptor, method: str) -> None:
    """Over the wire, with an empty request, or with none on a stream: whoever may call comes as far as being told what
    is wrong with it."""
    full = f"/{service.full_name}/{method}"

    async def outcome(token: str) -> str:
        async with channel(server.address, token) as opened:
            try:
                return await code_of(opened, full, service.methods_by_name[method])
            except aio.AioRpcError as error:
                return error.code().name

    tokens = {**TOKENS, "nobody": "", "a stranger": "wrong"}
    found = dict(zip(tokens, await asyncio.gather(*map(outcome, tokens.values())), strict=True))
    assert found.pop("nobody") == found.pop("a stranger") == "UNAUTHENTICATED"
    admitted = {role for role, code in found.items() if code != "PERMISSION_DENIED"}
    assert admitted == allowed(service, method)
    assert admitted == {role.value for role in Role if may_call(role, full)}


async def test_health_needs_no_credentials_and_reflection_any(server: RunningServer) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.channel)  # its published types have no methods
    health = await stub.Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    for token, code in (("", grpc.StatusCode.UNAUTHENTICATED), (TOKENS["viewer"], grpc.StatusCode.OK)):
        async with channel(server.address, token) as opened:
            stub = reflection_pb2_grpc.ServerReflectionStub(opened)  # type: ignore[arg-type]  # its stubs know no asyncio
            call = stub.ServerReflectionInfo(iter([request]))
            if code is grpc.StatusCode.OK:
                assert len((await call.read()).list_services_response.service) >= 5
            assert await call.code() is code


async def test_an_unknown_method_is_unimplemented_and_not_refused(server: RunningServer) -> None:
    nothing: Any = server.channel.unary_unary("/janua.config.v1.ConfigService/Nothing")
    with pytest.raises(aio.AioRpcError) as caught:
        await nothing(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_is_missing_is_said(server: RunningServer) -> None:
    missing = await refused(server.config.ListNodes(pb.ListNodesRequest()))
    assert missing == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")
    async with channel(server.address, "guessed") as opened:
        wrong = await refused(ConfigServiceStub(opened).ListNodes(pb.ListNodesRequest()))
        assert wrong == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_NOT_KNOWN")
    denied = await refused(apply(server.address, TOKENS["viewer"], upstream("u")))
    assert denied == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_SUFFICIENT")


@pytest.mark.parametrize("token", ["", "guessed"])
async def test_requests_of_strangers_are_not_read(server: RunningServer, token: str) -> None:
    """One that is too large to be received is refused for its sender, not for its size."""
    async with channel(server.address, token) as opened:
        call: Any = opened.unary_unary("/janua.config.v1.ConfigService/Apply")
        code, _ = await refused(call(bytes(33 << 20)))
    assert code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {}", "{}"])
async def test_forms_of_a_token(server: RunningServer, header: str) -> None:
    metadata = (("authorization", header.format(TOKENS["viewer"])),)
    answer = await server.config.ListNodes(pb.ListNodesRequest(), metadata=metadata)
    assert answer.revision == 0


async def test_who_made_a_change_is_whose_token_it_was(server: RunningServer) -> None:
    await apply(server.address, TOKENS["editor"], upstream("u"), author="the-admin")
    await apply(server.address, TOKENS["editor"], upstream("v"))
    async with channel(server.address, TOKENS["viewer"]) as opened:
        revisions = (await ConfigServiceStub(opened).ListRevisions(pb.ListRevisionsRequest())).revisions
    assert [revision.author for revision in revisions] == ["the-editor", "the-editor (the-admin)"]


async def test_a_request_id_of_somebody_else_gives_no_answer(server: RunningServer) -> None:
    await apply(server.address, TOKENS["admin"], upstream("u"), request_id="r")
    replayed = await refused(apply(server.address, TOKENS["editor"], upstream("u"), request_id="r"))
    assert replayed == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_an_editor_changes_no_secrets(server: RunningServer) -> None:
    kept = secret("key")
    await apply(server.address, TOKENS["admin"], kept)
    # As part of a whole configuration that leaves them as they are.
    await apply(server.address, TOKENS["editor"], kept, upstream("u"))
    changed = secret("key")
    changed.allowed_hosts.append("elsewhere.example")
    refusals = [
        await refused(apply(server.address, TOKENS["editor"], secret("other"))),
        await refused(apply(server.address, TOKENS["editor"], changed, upstream("u2"))),
        await refused(apply(server.address, TOKENS["editor"], changed, validate_only=True)),
    ]
    async with channel(server.address, TOKENS["editor"]) as opened:
        stub = ConfigServiceStub(opened)
        key = ResourceKey(kind=KIND_SECRET, name="key")
        refusals.append(await refused(stub.DeleteResource(pb.DeleteResourceRequest(key=key))))
        refusals.append(await refused(stub.Rollback(pb.RollbackRequest(undo_revision=1, include_secrets=True))))
        listed = await stub.ListResources(pb.ListResourcesRequest())
    assert set(refusals) == {(grpc.StatusCode.PERMISSION_DENIED, "SECRETS_NEED_ADMIN")}
    assert [each.resource.WhichOneof("kind") for each in listed.resources] == ["upstream", "secret"]


async def test_an_editor_is_not_told_whether_a_guess_at_a_value_is_right(tmp_path: Path) -> None:
    access, keys = write(tmp_path / "access.yaml"), encryption_keys(None, make_key())
    async with running_server(tmp_path / "config.db", access_file=access, encryption_keys=keys) as server:
        await apply(server.address, TOKENS["admin"], Secret(name="key", value="right"))
        answers = set()
        for value in ("right", "wrong"):
            for fields in ({"validate_only": True}, {}, {"canary": pb.CanaryOptions(nodes=pb.NodeSelector(ids=["n"]))}):
                with pytest.raises(aio.AioRpcError) as caught:
                    await apply(server.address, TOKENS["editor"], Secret(name="key", value=value), **fields)
                answers.add((*refusal(caught.value), caught.value.details()))
        ((code, reason, text),) = answers
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "SECRETS_NEED_ADMIN")
        assert "right" not in str(text)
        # As part of a whole configuration that was read here.
        await apply(server.address, TOKENS["editor"], Secret(name="key", value=KEPT_VALUE), upstream("u"))


async def test_14_a_node_is_who_its_credentials_say(server: RunningServer, access_file: Path) -> None:
    del access_file
    async with channel(server.address, TOKENS["node"]) as opened:
        for node_id in ("the-node", "the-node-1"):
            async with ads_client(opened, node_id=node_id) as client:
                await client.send(ROUTE)
                assert (await client.receive()).type_url == ROUTE
            status = node_service_pb2.ReportStatusRequest(node_id=node_id, status=pb.NodeStatus())
            await NodeServiceStub(opened).ReportStatus(status)
        async with ads_client(opened, node_id="another") as client:
            await client.send(ROUTE)
            assert refusal(await client.end()) == (grpc.StatusCode.PERMISSION_DENIED, "NODE_ID_NOT_ALLOWED")
        forged = node_service_pb2.ReportStatusRequest(node_id="another", status=pb.NodeStatus())
        assert await refused(NodeServiceStub(opened).ReportStatus(forged)) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "NODE_ID_NOT_ALLOWED",
        )


async def test_a_client_is_told_which_nodes_there_are_and_no_more(server: RunningServer) -> None:
    async with (
        channel(server.address, TOKENS["client"]) as opened,
        ads_client(opened, node_id="the-client") as client,
    ):
        await client.send("type.googleapis.com/envoy.config.cluster.v3.Cluster", subscribe=["janua"])
        assert [each.name for each in (await client.receive()).resources] == ["janua"]
        await client.send(ROUTE)
        assert refusal(await client.end()) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_SUFFICIENT")


async def test_calls_of_those_who_are_no_longer_in_the_file_end(server: RunningServer, access_file: Path) -> None:
    async with (
        channel(server.address, TOKENS["node"]) as node,
        channel(server.address, TOKENS["viewer"]) as viewer,
        ads_client(node, node_id="the-node") as client,
    ):
        await client.send(ROUTE)
        await client.receive()
        kept: Any = ConfigServiceStub(viewer).WatchResources(pb.WatchResourcesRequest())
        await kept.read()
        write(access_file, [entry("viewer"), entry("admin")])
        assert refusal(await client.end()) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REVOKED")
        await apply(server.address, TOKENS["admin"], upstream("u"))
        assert (await kept.read()).revision == 1
        kept.cancel()
        again = await refused(NodeServiceStub(node).ReportStatus(node_service_pb2.ReportStatusRequest(node_id="x")))
        assert again == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_NOT_KNOWN")


async def test_a_call_that_ends_while_its_client_does_not_read_says_why(
    server: RunningServer, access_file: Path
) -> None:
    # More than is on its way at any time.
    long = "x" * 1000
    await apply(server.address, TOKENS["admin"], *(upstream(f"u{each}", description=long) for each in range(4000)))
    async with channel(server.address, TOKENS["viewer"]) as viewer:
        slow: Any = ConfigServiceStub(viewer).WatchResources(pb.WatchResourcesRequest(), timeout=30)
        await asyncio.sleep(0.5)
        with capture_logs() as logs:
            write(access_file, [entry("admin")])

            async def is_taken() -> bool:
                return any(entry["event"] == "access file taken" for entry in logs)

            await eventually(is_taken)
        with pytest.raises(aio.AioRpcError) as caught:
            async for _ in slow:
                pass
    assert refusal(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REVOKED")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text("- {name: half"),
        lambda path: path.unlink(),
    ],
)
async def test_a_file_that_went_bad_leaves_all_as_it_was(
    server: RunningServer, access_file: Path, spoil: Callable[[Path], None]
) -> None:
    with capture_logs() as logs:
        spoil(access_file)

        async def is_told() -> bool:
            return any("access file not taken" in entry["event"] for entry in logs)

        await eventually(is_told)
    await apply(server.address, TOKENS["editor"], upstream("u"))
    write(access_file, [entry("admin")])

    async def is_taken() -> bool:
        try:
            await apply(server.address, TOKENS["editor"], upstream("u"))
        except aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    await eventually(is_taken)


async def test_refusals_are_logged_without_tokens(server: RunningServer) -> None:
    with capture_logs() as logs:
        await refused(apply(server.address, TOKENS["viewer"], upstream("u")))
        await refused(apply(server.address, "jt-mistyped", upstream("u")))
    told = [entry for entry in logs if entry["event"] == "a call was refused"]
    assert [entry["principal"] for entry in told] == ["the-viewer", None]
    assert all(entry["method"].endswith("/Apply") and entry["peer"] for entry in told)
    assert "jt-mistyped" not in str(logs)
    assert TOKENS["viewer"] not in str(logs)


async def test_many_calls_at_once_keep_their_callers_apart(server: RunningServer) -> None:
    """Writes wait for their turn, and by then other calls have come."""
    await apply(server.address, TOKENS["admin"], upstream("u"), service("s"), route("a"))

    async def write_secret(role: str, name: str) -> str:
        try:
            await apply(server.address, TOKENS[role], secret(name))
        except aio.AioRpcError as error:
            return error.code().name
        return "OK"

    calls = (write_secret(role, f"{role}-{n}") for n in range(10) for role in ("admin", "editor"))
    outcomes = await asyncio.gather(*calls)
    assert outcomes[::2] == ["OK"] * 10
    assert outcomes[1::2] == ["PERMISSION_DENIED"] * 10
