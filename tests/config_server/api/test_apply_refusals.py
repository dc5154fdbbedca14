"""Every way an Apply is refused: the code, the reason, the place, and that nothing was written."""

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from janua.config.v1.config_service_pb2 import ApplyRequest, Change, ListResourcesRequest
from janua.config.v1.policy_pb2 import Cache, Policy, SemanticCache
from janua.config.v1.resource_pb2 import KIND_CONSUMER, KIND_ROUTE, KIND_UNSPECIFIED, Kind, Resource, ResourceKey
from janua.config.v1.route_pb2 import Route
from janua.config.v1.service_pb2 import Service
from janua.config.v1.upstream_pb2 import PROTOCOL_GRPC, Upstream

from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import (
    batch,
    consumer,
    delete,
    policy,
    route,
    service,
    upsert,
    upstream,
)

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
ABORTED, EXISTS = grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS
PRECONDITION, EXHAUSTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(autouse=True)
async def nothing_is_written(filled: RunningServer) -> AsyncIterator[None]:
    """Each test begins at revision 1 and must leave everything as it was."""
    before = await filled.config.ListResources(ListResourcesRequest())
    yield
    after = await filled.config.ListResources(ListResourcesRequest())
    assert after == before


async def test_all_violations_of_all_resources_come_at_once(filled: RunningServer) -> None:
    bad_route = route("bad", service="nowhere")
    bad_route.match.path.regex = "("
    bad_upstream = Upstream(name="Upper", endpoints=[])
    refusal = await refused(filled.apply(route("c"), bad_route, bad_upstream, service("t", upstream="missing")))
    assert refusal.code is INVALID
    assert refusal.fields == {
        "changes[1].upsert.route.match.path.regex": "INVALID_FIELD",
        "changes[1].upsert.route.backends[0].service": "UNRESOLVED_REFERENCE",
        "changes[2].upsert.upstream.name": "INVALID_FIELD",
        "changes[2].upsert.upstream.endpoints": "INVALID_FIELD",
        "changes[3].upsert.service.upstream_service.upstream": "UNRESOLVED_REFERENCE",
    }
    assert refusal.reason == "INVALID_FIELD"
    assert "(and 4 more)" in refusal.text


async def test_the_text_of_a_single_violation_says_it_all(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(route("c", service="nowhere")))
    assert refusal.reason == "UNRESOLVED_REFERENCE"
    assert refusal.text == "changes[0].upsert.route.backends[0].service: service 'nowhere' does not exist"


async def test_so_many_violations_that_they_do_not_fit_are_counted(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(*(route(f"r{number}", service=f"missing-{number}") for number in range(2000))))
    assert refusal.code is INVALID
    assert len(refusal.fields) > 20
    assert f"(and 1999 more, {len(refusal.fields)} of 2000 listed)" in refusal.text


async def test_a_resource_without_its_oneof(filled: RunningServer) -> None:
    bad = policy("p")
    bad.ClearField("api_key_auth")
    refusal = await refused(filled.apply(bad))
    assert refusal.fields == {"changes[0].upsert.policy.spec": refusal.reason}


async def test_copies_to_a_service_that_does_not_exist(filled: RunningServer) -> None:
    copied = route("c")
    copied.mirror.service = "nowhere"
    refusal = await refused(filled.apply(copied))
    assert refusal.reason == "UNRESOLVED_REFERENCE"
    assert refusal.text == "changes[0].upsert.route.mirror.service: service 'nowhere' does not exist"


async def test_a_client_certificate_that_does_not_exist(filled: RunningServer) -> None:
    secured = upstream("secured")
    secured.tls.client_certificate.secret = "nowhere"
    refusal = await refused(filled.apply(secured))
    assert (refusal.code, refusal.fields) == (
        INVALID,
        {"changes[0].upsert.upstream.tls.client_certificate.secret": "UNRESOLVED_REFERENCE"},
    )


async def test_an_upstream_that_stops_to_speak_what_others_need_of_it(filled: RunningServer) -> None:
    changed = upstream("u")
    changed.protocol = PROTOCOL_GRPC
    refusal = await refused(filled.apply(changed))
    assert (refusal.code, refusal.reason) == (PRECONDITION, "INVALID_FIELD")
    assert "'u' has protocol GRPC" in refusal.texts["service s"]


async def test_calls_to_pass_through_to_what_speaks_http(filled: RunningServer) -> None:
    calls = route("c")
    calls.match.ClearField("models")
    calls.match.grpc.service = "my.pkg.Service"
    refusal = await refused(filled.apply(calls))
    assert refusal.fields == {"changes[0].upsert.route.backends[0].service": "INVALID_FIELD"}


async def test_a_route_that_answers_itself_and_has_backends(filled: RunningServer) -> None:
    torn = route("c")
    torn.redirect.host = "new.example"
    torn.direct_response.status = 410
    torn.rewrite.host = "inner.example"
    refusal = await refused(filled.apply(torn))
    assert refusal.fields == {
        "changes[0].upsert.route.direct_response": "INVALID_FIELD",
        "changes[0].upsert.route.redirect": "INVALID_FIELD",
        "changes[0].upsert.route.rewrite": "INVALID_FIELD",
    }


async def test_two_routes_with_one_match(filled: RunningServer) -> None:
    twin = route("twin")
    twin.match.CopyFrom(route("a").match)
    refusal = await refused(filled.apply(twin))
    assert (refusal.code, refusal.reason) == (INVALID, "CONFLICTING_MATCH")
    assert "'a'" in refusal.text


async def test_one_key_in_two_consumers(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(consumer("one", keys=["0" * 64]), consumer("two", keys=["0" * 64])))
    assert set(refusal.fields) == {
        "changes[0].upsert.consumer.api_keys[0].key_sha256",
        "changes[1].upsert.consumer.api_keys[0].key_sha256",
    }
    assert refusal.reason == "DUPLICATE"


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_a_cycle_of_caches_and_the_services_that_they_ask(filled: RunningServer, length: int) -> None:
    """The only one that can be written: routes, which fall back from service to service, are named by nobody."""
    cycle: list[Policy | Service] = []
    for number in range(length):
        semantic = SemanticCache(service=f"e{number}", model="vectors")
        cycle.append(Policy(name=f"p{number}", cache=Cache(ttl=Duration(seconds=60), semantic=semantic)))
        embedder = service(f"e{number}")
        embedder.policies.append(f"p{(number + 1) % length}")
        cycle.append(embedder)
    refusal = await refused(filled.apply(*cycle))
    assert refusal.fields == {
        f"changes[{2 * number + 1}].upsert.service.policies[0]": "INVALID_FIELD" for number in range(length)
    }
    assert all("which is for routes, not for a service" in text for text in refusal.texts.values())


async def test_fields_that_this_version_does_not_know(filled: RunningServer) -> None:
    newer = Route.FromString(route("c").SerializeToString() + b"\xc2\x3e\x01x")  # field 1000
    refusal = await refused(filled.apply(newer))
    assert refusal.fields == {"changes[0].upsert.route": "UNKNOWN_FIELD"}


@pytest.mark.parametrize("mebibytes", [1, 5])
async def test_a_resource_of_more_than_a_mebibyte(filled: RunningServer, mebibytes: int) -> None:
    large = route("c")
    large.labels["x"] = "x" * mebibytes * 1024 * 1024
    refusal = await refused(filled.apply(large))
    assert refusal.fields == {"changes[0].upsert.route": "RESOURCE_TOO_LARGE"}
    assert "1048576" in refusal.text


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (Change(), "changes[0]"),
        (Change(upsert=Resource()), "changes[0].upsert"),
        (Change(delete=ResourceKey(kind=KIND_UNSPECIFIED, name="a")), "changes[0].delete.kind"),
        (Change(delete=ResourceKey(kind=Kind.ValueType(99), name="a")), "changes[0].delete.kind"),
        (Change(delete=ResourceKey(kind=KIND_ROUTE)), "changes[0].delete.name"),
        (Change(delete=ResourceKey(kind=KIND_ROUTE, name="a"), must_not_exist=True), "changes[0].must_not_exist"),
        (upsert(route("a"), etag="x", must_not_exist=True), "changes[0].must_not_exist"),
    ],
)
async def test_a_change_of_the_wrong_shape(filled: RunningServer, change: Change, path: str) -> None:
    refusal = await refused(filled.apply(change))
    assert refusal.code is INVALID
    assert list(refusal.fields) == [path]


async def test_a_resource_named_twice(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(route("c"), route("d"), delete("route", "c")))
    assert refusal.fields == {"changes[2].delete": "DUPLICATE"}
    assert "changes[0].upsert.route" in refusal.text


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ApplyRequest(base_revision=-1), "base_revision"),
        (ApplyRequest(request_id="x" * 129), "request_id"),
        (ApplyRequest(set="Not A Set"), "set"),
        (ApplyRequest(author="x" * 257), "author"),
        (ApplyRequest(set="s", prune=True), "changes"),
        (ApplyRequest(prune=True, changes=[upsert(route("c"))]), "set"),
        (ApplyRequest(prune_kinds=[KIND_CONSUMER], changes=[upsert(route("c"))]), "prune_kinds"),
        (
            ApplyRequest(set="s", prune=True, prune_kinds=[KIND_ROUTE], changes=[upsert(route("c"))]),
            "prune_kinds[0]",
        ),
    ],
)
async def test_options_that_are_wrong(filled: RunningServer, request_: ApplyRequest, path: str) -> None:
    refusal = await refused(filled.apply_request(request_))
    assert (refusal.code, list(refusal.fields)) == (INVALID, [path])


async def test_a_stale_base_revision(filled: RunningServer) -> None:
    for revision in (0, 2):
        request = batch(route("c"))
        request.base_revision = revision
        refusal = await refused(filled.apply_request(request))
        assert (refusal.code, refusal.reason) == (ABORTED, "BASE_REVISION_MISMATCH")


async def test_a_stale_etag(filled: RunningServer) -> None:
    for change in (upsert(route("a", description="x"), etag="stale"), delete("route", "a", etag="stale")):
        refusal = await refused(filled.apply(route("c"), change))
        assert (refusal.code, refusal.reason) == (ABORTED, "ETAG_MISMATCH")
        assert "route a" in refusal.text


async def test_an_etag_of_what_does_not_exist(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(upsert(route("nowhere"), etag="x")))
    assert (refusal.code, refusal.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_a_delete_of_what_does_not_exist(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(route("c"), delete("route", "nowhere")))
    assert (refusal.code, refusal.reason) == (NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert "changes[1].delete" in refusal.text


async def test_must_not_exist_and_it_does(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(upsert(route("a"), must_not_exist=True)))
    assert (refusal.code, refusal.reason) == (EXISTS, "RESOURCE_EXISTS")


async def test_a_delete_of_what_others_name(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(delete("service", "s")))
    assert (refusal.code, refusal.reason) == (PRECONDITION, "UNRESOLVED_REFERENCE")
    assert set(refusal.texts) == {"route a", "route b"}
    assert refusal.texts["route a"] == "backends[0].service: service 's' does not exist"


async def test_a_delete_of_what_the_same_batch_names(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(delete("service", "s"), route("a", description="x"), delete("route", "b")))
    assert (refusal.code, list(refusal.fields)) == (INVALID, ["changes[1].upsert.route.backends[0].service"])


async def test_more_than_10000_changes(filled: RunningServer) -> None:
    refusal = await refused(filled.apply(*(consumer(f"c{number}") for number in range(10_001))))
    assert (refusal.code, refusal.reason) == (EXHAUSTED, "TOO_MANY_CHANGES")
    assert "10000" in refusal.text


async def test_a_batch_of_17_mib(filled: RunningServer) -> None:
    large = [consumer(f"c{number}", description="x" * 1000) for number in range(17)]
    for each in large:
        each.labels["x"] = "x" * 1024 * 1023
    refusal = await refused(filled.apply(*large))
    assert (refusal.code, refusal.reason) == (EXHAUSTED, "BATCH_TOO_LARGE")
    assert "16 MiB" in refusal.text


async def test_a_batch_far_beyond_what_is_received(filled: RunningServer) -> None:
    request = batch(*(consumer(f"c{number}") for number in range(40)))
    for change in request.changes:
        change.upsert.consumer.labels["x"] = "x" * 1024 * 1024
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await filled.apply_request(request)
    assert error.value.code() is EXHAUSTED


@pytest.mark.parametrize("method", ["Apply", "GetResource", "DeleteResource", "ListNodes"])
async def test_bytes_that_are_no_request(filled: RunningServer, method: str) -> None:
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = filled.channel.unary_unary(
        f"/janua.config.v1.ConfigService/{method}"
    )
    refusal = await refused(call(b"\xff\xff\xff"))
    assert (refusal.code, refusal.reason) == (INVALID, "MALFORMED_REQUEST")


async def test_bytes_that_are_no_watch(filled: RunningServer) -> None:
    call: aio.UnaryStreamMultiCallable[bytes, bytes] = filled.channel.unary_stream(
        "/janua.config.v1.ConfigService/WatchResources"
    )
    refusal = await refused(call(b"\xff\xff\xff").read())
    assert (refusal.code, refusal.reason) == (INVALID, "MALFORMED_REQUEST")
