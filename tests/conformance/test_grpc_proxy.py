"""gRPC calls that are passed through: what the backend gets is what the caller sent, and what the caller gets what the
backend answered."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import hpack
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_status import rpc_status

from gateway.transport.grpc import GrpcStatusError, GrpcStream, GrpcTransport
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.grpc_caller import GrpcCaller
from tests.conformance.grpc_proxying import METHOD, GrpcClient, Metadata, grpc_pool, outcome, several_services
from tests.conformance.grpc_tools import SERVING, HealthClient, reflect
from tests.conformance.proxying import proxied
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.grpc_backend import BackendCall, Backends, GrpcBackend, starting_backends
from tests.support.processes import NodeFactory

EXAMPLE = Path(__file__).parents[2] / "examples" / "grpc-proxy.yaml"


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    """Starts scripted backends: `first, second = await backends(2)`."""
    async with starting_backends() as start:
        yield start


@pytest.fixture
async def backend(backends: Backends) -> GrpcBackend:
    """One scripted backend."""
    (backend,) = await backends(1)
    return backend


@pytest.fixture
async def client(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> GrpcClient:
    """A client of a node that passes everything to one backend."""
    await gateway.apply(grpc_pool(backend.address))
    return GrpcClient(channel)


# The four kinds, by stubs that know of what kind a method is.


SENT = (("x-sent", "value"),)
FIRST = {"x-first": "value", "x-first-bin": b"\x00\xff", "x-janua-service": "web"}
LAST = {"x-last": "value", "x-last-bin": b"\xfe\x01"}


async def check_metadata(call: "aio.Call") -> None:
    assert FIRST.items() <= dict(await call.initial_metadata()).items()
    assert dict(await call.trailing_metadata()) == LAST
    assert await call.code() is grpc.StatusCode.OK


async def test_unary(client: GrpcClient, channel: aio.Channel) -> None:
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Kinds/Unary")
    call = method(b"hello", metadata=SENT)
    assert await call == b"HELLO"
    await check_metadata(call)


async def test_unary_with_empty_messages(client: GrpcClient, channel: aio.Channel) -> None:
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Kinds/Unary")
    assert await method(b"") == b""


async def test_client_stream(client: GrpcClient, channel: aio.Channel) -> None:
    method: aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary("/test.Kinds/ClientStream")
    call = method(iter([b"a", b"", b"c"]), metadata=SENT)
    assert await call == b"a++c"
    await check_metadata(call)


async def test_client_stream_without_messages(client: GrpcClient, channel: aio.Channel) -> None:
    method: aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary("/test.Kinds/ClientStream")
    assert await method(iter([])) == b""


async def test_server_stream(client: GrpcClient, channel: aio.Channel) -> None:
    method: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test.Kinds/ServerStream")
    call = method(b"3", metadata=SENT)
    assert [message async for message in call] == [b"0", b"1", b"2"]
    await check_metadata(call)


async def test_server_stream_without_messages(client: GrpcClient, channel: aio.Channel) -> None:
    method: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test.Kinds/ServerStream")
    call = method(b"0", metadata=SENT)
    assert [message async for message in call] == []
    await check_metadata(call)


async def test_both_stream_in_turn(client: GrpcClient, channel: aio.Channel) -> None:
    """Each answer arrives before the next question is asked."""
    method: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/test.Kinds/Bidi")
    call = method(metadata=SENT)
    for message in (b"a", b"b", b"c"):
        await call.write(message)
        assert await call.read() == message.upper()
    await call.done_writing()
    assert await call.read() is aio.EOF
    await check_metadata(call)


async def test_backend_may_speak_first(client: GrpcClient, backend: GrpcBackend) -> None:
    async def greet(call: BackendCall) -> None:
        await call.send(b"welcome")
        assert await call.receive() == b"thanks"
        await call.send(b"bye")

    backend.script = greet
    call = client.open()
    assert await call.read() == b"welcome"
    await call.write(b"thanks")
    assert await call.read() == b"bye"
    assert await call.read() is aio.EOF


async def test_initial_metadata_arrives_before_the_first_message_is_sent(
    client: GrpcClient, backend: GrpcBackend
) -> None:
    async def begin(call: BackendCall) -> None:
        await call.begin()
        assert await call.receive() == b"go"
        await call.send(b"gone")

    backend.script = begin
    call = client.open()
    assert "x-janua-route" in dict(await call.initial_metadata())
    await call.write(b"go")
    assert await call.read() == b"gone"
    assert await call.read() is aio.EOF


async def test_end_of_the_callers_messages_is_passed_on_while_the_backend_goes_on(
    client: GrpcClient, backend: GrpcBackend
) -> None:
    async def count(call: BackendCall) -> None:
        await call.begin()
        received = await call.receive_all()
        await call.send(*(b"%d" % number for number in range(len(received) + 1)))

    backend.script = count
    assert (await client.call(b"x", b"y")).messages == [b"0", b"1", b"2"]


async def test_large_messages(node: NodeFactory, backend: GrpcBackend, tmp_path: Path) -> None:
    """Larger than what gRPC takes where nobody says otherwise, 4 MiB."""
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(grpc_pool(backend.address)))
    started = await node(config_file=file)
    message = bytes(range(256)) * 40 * 1024  # 10 MiB
    async with aio.insecure_channel(started.grpc, options=[("grpc.max_receive_message_length", -1)]) as channel:
        method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Service/Echo")

        async def echo(call: BackendCall) -> None:
            await call.send(*await call.receive_all())

        backend.script = echo
        assert await method(message) == message


async def test_request_that_is_too_large_reaches_no_backend_as_a_whole(
    gateway: Gateway, client: GrpcClient, backend: GrpcBackend
) -> None:
    async def take(call: BackendCall) -> None:
        await call.receive_all()

    backend.script = take
    call = client.open()
    await call.write(b"small")
    await backend.wait_for_calls(1)
    await call.write(bytes(2 * 1024 * 1024))  # the node of these tests takes 1 MiB
    assert (await outcome(call)).status == "RESOURCE_EXHAUSTED"
    await backend.calls[0].is_over.wait()
    assert (backend.calls[0].was_ended, backend.calls[0].was_cancelled) == (False, True)


# Metadata.


async def test_metadata_reaches_the_backend_as_it_is(client: GrpcClient, backend: GrpcBackend) -> None:
    metadata: Metadata = [
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-b-bin", bytes(range(256))),
        ("x-empty", ""),
        ("x-request-id", "mine"),
    ]
    await client.call(b"", metadata=metadata)
    (call,) = backend.calls
    received = [(name, value) for name, value in call.metadata if name.startswith("x-")]
    assert sorted(received, key=str) == sorted(metadata, key=str)


async def test_what_is_for_the_node_alone_goes_no_further(client: GrpcClient, backend: GrpcBackend) -> None:
    credentials = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization")
    hops = ("connection", "keep-alive", "proxy-connection", "upgrade", "host", "x-janua-timeout-ms", "x-janua-else")
    await client.call(b"", metadata=[(name, "1000") for name in (*credentials, *hops, "x-kept")])
    (call,) = backend.calls
    assert {name for name, _ in call.metadata} == {"x-kept", "x-request-id", "user-agent"}


async def test_backends_metadata_reaches_the_caller_as_it_is(client: GrpcClient, backend: GrpcBackend) -> None:
    first: Metadata = [("x-a", "1"), ("x-a", "2"), ("x-b-bin", bytes(range(256)))]
    last: Metadata = [("x-z", "1"), ("x-z", "2"), ("x-y-bin", b"\x00"), ("grpc-status-details-bin", b"\x08\x00")]

    async def answer(call: BackendCall) -> None:
        await call.begin(*first, ("x-janua-service", "other"), ("x-request-id", "other"), ("connection", "close"))
        call.end_with(*last, ("x-janua-route", "other"), ("grpc-something", "other"))
        await call.send(b"x")

    backend.script = answer
    came = await client.call(metadata=[("x-request-id", "mine")])
    own = {"x-request-id", "x-janua-route", "x-janua-service", "x-janua-endpoint", "x-janua-attempts"}
    assert sorted((pair for pair in came.initial if pair[0] not in own), key=str) == sorted(first, key=str)
    assert sorted(came.trailing, key=str) == sorted(last, key=str)
    assert {name: came.values(name) for name in own} == {
        "x-request-id": ["mine"],
        "x-janua-route": ["all"],
        "x-janua-service": ["web"],
        "x-janua-endpoint": [backend.address],
        "x-janua-attempts": ["1"],
    }


# Where calls go.


async def test_route_for_a_service_and_for_one_of_its_methods(
    gateway: Gateway, channel: aio.Channel, backends: Backends
) -> None:
    whole, method = await backends(2)
    configuration = dict(several_services({}, whole=whole.address, method=method.address))
    configuration["routes"] = [
        {"name": "whole", "match": {"grpc": {"service": "a.b.C"}}, "backends": [{"service": "whole"}]},
        {
            "name": "method",
            "match": {"grpc": {"service": "a.b.C", "method": "Do"}},
            "backends": [{"service": "method"}],
        },
    ]
    await gateway.apply(configuration)
    client = GrpcClient(channel)
    asked = ("/a.b.C/Do", "/a.b.C/DoNot", "/a.b.C2/Do", "/a.b/Do")
    routes = [(await client.call(b"", method=each)).values("x-janua-route") for each in asked]
    assert routes == [["method"], ["whole"], [], []]
    assert [call.method for call in method.calls] == ["/a.b.C/Do"]
    assert [call.method for call in whole.calls] == ["/a.b.C/DoNot"]


async def test_service_under_another_name(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    route = {"rewrite": {"path_prefix": "/new.Name"}}
    await gateway.apply(grpc_pool(backend.address, prefix="/old.Name", route=route))
    assert (await GrpcClient(channel).call(b"", method="/old.Name/Do")).status == "OK"
    assert [call.method for call in backend.calls] == ["/new.Name/Do"]


async def test_host_of_the_backend(gateway: Gateway, channel: aio.Channel) -> None:
    """What a backend is called by is not shown to Python's servers, so this one takes frames apart."""
    authorities: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\4\0\0\0\0\0")
        await reader.readexactly(24)
        while (head := await reader.readexactly(9))[3] != 1:
            await reader.readexactly(int.from_bytes(head[:3], "big"))
        headers = hpack.Decoder().decode(await reader.readexactly(int.from_bytes(head[:3], "big")), raw=True)
        authorities.extend(value.decode() for name, value in headers if name == b":authority")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        for rewrite in ({"host": "models.internal"}, None):
            route = {"retry_policy": {"num_retries": 0}, **({"rewrite": rewrite} if rewrite else {})}
            await gateway.apply(grpc_pool(address, route=route))
            assert (await GrpcClient(channel).call(b"")).status == "UNAVAILABLE"
    assert authorities == ["models.internal", address]


async def test_method_that_no_route_takes(gateway: Gateway, channel: aio.Channel) -> None:
    await gateway.apply(one_pool("127.0.0.1:1"))  # a route for models alone
    came = await GrpcClient(channel).call(b"", metadata=[("x-request-id", "unserved")])
    assert (came.status, came.reason) == ("UNIMPLEMENTED", "METHOD_NOT_FOUND")
    assert METHOD in came.text
    assert "no route" in came.text
    entry = await gateway.access_log_entry("unserved")
    assert (entry["status"], entry["path"], entry["reason"]) == ("UNIMPLEMENTED", METHOD, "METHOD_NOT_FOUND")


async def test_node_without_configuration(gateway: Gateway, channel: aio.Channel) -> None:
    assert (await GrpcClient(channel).call(b"")).status == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    "path", ["/", "/x", "//x", "/x/", "/a/b/c", "/a/../b", "/a.B/%2e", "/a.B/C?d", "/a b/C", "x/y"]
)
async def test_path_that_is_not_that_of_a_method(client: GrpcClient, backend: GrpcBackend, path: str) -> None:
    assert (await client.call(b"", method=path)).status == "INVALID_ARGUMENT"
    assert backend.calls == []


async def test_nodes_own_services_win(
    client: GrpcClient, channel: aio.Channel, backend: GrpcBackend, grpc_caller: GrpcCaller
) -> None:
    assert await HealthClient(channel).check() == SERVING
    assert (await grpc_caller.models()).ids == []
    answer = await reflect(channel, ServerReflectionRequest(list_services=""))
    assert "janua.inference.v1.InferenceService" in {each.name for each in answer.list_services_response.service}
    assert backend.calls == []


async def test_backend_that_speaks_http(gateway: Gateway, channel: aio.Channel, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address))
    came = await GrpcClient(channel).call(b"")
    assert (came.status, came.reason) == ("INVALID_ARGUMENT", "UNSUPPORTED_BY_SERVICE")
    assert "service web speaks HTTP" in came.text
    assert upstream.requests == []


async def test_route_that_answers_itself(gateway: Gateway, channel: aio.Channel) -> None:
    match = {"path": {"prefix": "/"}}
    await gateway.apply({"routes": [{"name": "no", "match": match, "direct_response": {"status": 403, "body": "no"}}]})
    came = await GrpcClient(channel).call(b"")
    assert (came.status, came.text) == ("PERMISSION_DENIED", "no")
    await gateway.apply({"routes": [{"name": "no", "match": match, "redirect": {"host": "elsewhere"}}]})
    assert (await GrpcClient(channel).call(b"")).status == "UNAVAILABLE"


# Who may call.


async def test_keys_are_asked_for(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    await gateway.apply(with_keys(grpc_pool(backend.address), api_key("sk-alice")))
    client = GrpcClient(channel)
    for metadata in ((), (("authorization", "Bearer sk-other"),)):
        came = await client.call(b"", metadata=metadata)
        assert (came.status, came.messages) == ("UNAUTHENTICATED", [])
    assert backend.calls == []
    admitted = await client.call(b"a", metadata=[("authorization", "Bearer sk-alice"), ("x-request-id", "admitted")])
    assert (admitted.status, admitted.messages) == ("OK", [b"A"])
    (call,) = backend.calls
    assert call.value("authorization") is None
    assert (await gateway.access_log_entry("admitted"))["consumer"] == "alice"


async def test_call_is_accounted_for(gateway: Gateway, client: GrpcClient, backend: GrpcBackend) -> None:
    labels = {"route": "all", "service": "web", "status": "OK"}
    before = await gateway.metric("janua_requests_total", labels)
    await client.call(b"a", metadata=[("x-request-id", "accounted")])
    entry = await gateway.access_log_entry("accounted")
    wanted = {
        "protocol": "grpc",
        "method": "POST",
        "path": METHOD,
        "status": "OK",
        "route": "all",
        "service": "web",
        "endpoint": backend.address,
        "attempts": 1,
    }
    assert {name: entry[name] for name in wanted} == wanted
    assert "reason" not in entry
    assert await gateway.metric("janua_requests_total", labels) == before + 1


# Statuses.


def failing(code: str, text: str = "", *trailing: tuple[str, str | bytes]) -> Callable[[BackendCall], Awaitable[None]]:
    async def fail(call: BackendCall) -> None:
        await call.fail(code, text, *trailing)

    return fail


STATUSES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("status", STATUSES)
async def test_status_is_the_backends(
    gateway: Gateway, channel: aio.Channel, backend: GrpcBackend, status: str
) -> None:
    await gateway.apply(grpc_pool(backend.address, service={"retry_policy": {"num_retries": 0}}))
    backend.script = failing(status, "what it says: ü", ("x-why", "because"), ("x-why-bin", b"\xff"))
    came = await GrpcClient(channel).call(b"", metadata=[("x-request-id", f"status-{status}")])
    assert (came.status, came.text, came.reason) == (status, "what it says: ü", "")
    assert (came.values("x-why"), came.values("x-why-bin")) == (["because"], [b"\xff"])
    assert len(backend.calls) == 1
    assert (await gateway.access_log_entry(f"status-{status}"))["status"] == status


@pytest.mark.parametrize("text", ["", "busy"])
@pytest.mark.parametrize("messages", [0, 2])
async def test_status_details_are_the_backends(
    client: GrpcClient, channel: aio.Channel, backend: GrpcBackend, text: str, messages: int
) -> None:
    """grpc-status compares the text of the call with that of the details, so both must be untouched."""
    detail = AnyMessage()
    detail.Pack(RetryInfo())
    status = Status(code=grpc.StatusCode.ABORTED.value[0], message=text, details=[detail])

    async def fail(call: BackendCall) -> None:
        await call.send(*[b"x"] * messages)
        await call.fail("ABORTED", text, ("grpc-status-details-bin", status.SerializeToString()))

    backend.script = fail
    call = client.open()
    await call.done_writing()
    for _ in range(messages):
        assert await call.read() == b"x"
    assert (await outcome(call)).text == text
    assert await rpc_status.aio.from_call(call) == status


@pytest.mark.parametrize("status", ["NOT_FOUND", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
async def test_error_after_the_first_message(client: GrpcClient, backend: GrpcBackend, status: str) -> None:
    async def fail(call: BackendCall) -> None:
        await call.send(b"first")
        await call.fail(status, "enough", ("x-last", "z"))

    backend.script = fail
    came = await client.call(b"")
    assert (came.messages, came.status, came.text) == ([b"first"], status, "enough")
    assert came.values("x-last") == ["z"]
    assert len(backend.calls) == 1


async def test_backend_that_ends_while_the_caller_sends(
    gateway: Gateway, client: GrpcClient, backend: GrpcBackend
) -> None:
    """All that it has sent arrives, and the status is its own, however many messages find no taker any more."""

    async def enough(call: BackendCall) -> None:
        await call.receive()
        await call.send(*[bytes(10_000)] * 20)
        await call.fail("OUT_OF_RANGE", "enough")

    backend.script = enough
    # Not the client of the other tests: messages after the end make grpcio forget how a call ended.
    transport = GrpcTransport(None)
    for _ in range(10):
        call = transport.stream(
            gateway.addresses.grpc, METHOD, is_secure=False, server_name=None, metadata=(), timeout_s=10
        )

        async def send(call: GrpcStream = call) -> None:
            for _ in range(100):
                await call.write(bytes(10_000))

        sending = asyncio.create_task(send())
        lengths = [len(await call.read() or b"") for _ in range(20)]
        with pytest.raises(GrpcStatusError, match="OUT_OF_RANGE: enough"):
            await call.read()
        await sending
        assert lengths == [10_000] * 20
    await transport.close()


async def test_messages_after_the_backends_end_are_not_read(client: GrpcClient, backend: GrpcBackend) -> None:
    async def only_one(call: BackendCall) -> None:
        await call.receive()
        await call.send(b"done")

    backend.script = only_one
    call = client.open()
    await call.write(b"one")
    assert await call.read() == b"done"
    assert await call.read() is aio.EOF
    assert await call.code() is grpc.StatusCode.OK


# Example.


async def test_example_does_what_its_comments_say(node: NodeFactory, backends: Backends) -> None:
    reports, search = await backends(2)
    started = await node(config_file=EXAMPLE, env={"REPORTS": reports.address, "SEARCH": search.address})
    async with aio.insecure_channel(started.grpc) as channel:
        client = GrpcClient(channel)
        key = [("authorization", "Bearer janua-demo-key")]
        asked = ("/acme.reports.v1.Reports/Create", "/acme.search.v1.Search/Query", "/acme.search.v1.Search/Reindex")
        outcomes = [await client.call(b"a", method=method, metadata=key) for method in asked]
        assert [(each.status, each.values("x-janua-route")) for each in outcomes] == [
            ("OK", ["reports"]),
            ("OK", ["search"]),
            ("PERMISSION_DENIED", ["search-admin"]),
        ]
        assert (await client.call(b"a", method=asked[0])).status == "UNAUTHENTICATED"
        assert (await client.call(b"a", method="/acme.Other/Do", metadata=key)).status == "UNIMPLEMENTED"
    assert len(reports.calls) == len(search.calls) == 1


async def test_policies_change_metadata(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> None:
    change = {
        "request": {"set_headers": {"x-path": "request.path"}, "remove_headers": ["x-sent"]},
        "response": {"set_headers": {"x-route": "route"}, "remove_headers": ["x-first"]},
    }
    policies = [{"name": "change", "transform": change}]
    await gateway.apply(grpc_pool(backend.address, route={"policies": ["change"]}, policies=policies))
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Kinds/Unary")
    call = method(b"hello", metadata=SENT)
    assert await call == b"HELLO"
    answered = dict(await call.initial_metadata())
    assert "x-first" not in answered
    assert answered["x-route"] == answered["x-janua-route"]

    assert (await GrpcClient(channel).call(b"", metadata=SENT)).status == "OK"
    sent = dict(backend.calls[-1].metadata)
    assert sent["x-path"] == METHOD
    assert "x-sent" not in sent
