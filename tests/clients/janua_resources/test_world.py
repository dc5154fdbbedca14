from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck as Health
from hypothesis import given, settings
from hypothesis import strategies as st
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.policy_pb2 import ApiKeyAuth, Cache, Cors, Policy, SemanticCache
from janua.config.v1.resource_pb2 import (
    KIND_CONSUMER,
    KIND_POLICY,
    KIND_ROUTE,
    KIND_SECRET,
    KIND_SERVICE,
    KIND_UPSTREAM,
)
from janua.config.v1.route_pb2 import Backend, GrpcMatch, Mirror, Route, RouteMatch
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import (
    FEATURE_EMBEDDINGS,
    SCHEMA_ANTHROPIC,
    SCHEMA_OPEN_INFERENCE,
    SCHEMA_OPENAI,
    SCHEMA_PASSTHROUGH,
    SCHEMA_UNSPECIFIED,
    Credential,
    ProxyService,
    RetryPolicy,
    Schema,
    Service,
    Timeouts,
    UpstreamService,
)
from janua.config.v1.upstream_pb2 import PROTOCOL_GRPC, ClientCertificate, Tls, Upstream
from janua_resources.kinds import ConfigMessage, Key, World, kind_of
from janua_resources.violations import (
    CONFLICTING_MATCH,
    DUPLICATE,
    INVALID_FIELD,
    SECRET_HOST_NOT_ALLOWED,
    UNRESOLVED_REFERENCE,
    Violation,
)
from janua_resources.world import check_world, warnings

from tests.clients.janua_resources.message_strategies import resources


def world(*messages: ConfigMessage) -> dict[Key, ConfigMessage]:
    return {(kind_of(message).kind, message.name): message for message in messages}


def found(violations: list[Violation]) -> list[tuple[str, str, str]]:
    return sorted((violation.name, violation.field, violation.reason) for violation in violations)


def hosted(name: str, upstream: str = "pool") -> Service:
    return Service(name=name, upstream_service=UpstreamService(upstream=upstream))


def proxied(name: str, *, secret: str = "key", base_url: str = "") -> Service:
    proxy = ProxyService(provider="openai", base_url=base_url, credentials=[Credential(secret=secret)])
    return Service(name=name, proxy_service=proxy)


def route(name: str, *services: str, model: str = "", policies: tuple[str, ...] = ()) -> Route:
    return Route(
        name=name,
        match=RouteMatch(models=[model or name]),
        backends=[Backend(service=service) for service in services],
        policies=policies,
    )


def consumer(name: str, *hashes: str) -> Consumer:
    return Consumer(name=name, api_keys=[ApiKey(key_sha256=key) for key in hashes])


RIGHT = world(
    Secret(name="key", env="KEY"),
    Upstream(name="pool"),
    Policy(name="keys", api_key_auth=ApiKeyAuth()),
    hosted("local"),
    proxied("openai"),
    consumer("alice", "a", "b"),
    consumer("bob", "c"),
    route("chat", "local", "openai", policies=("keys",)),
    route("other", "local"),
)


def test_a_right_world_has_no_violations() -> None:
    assert check_world(RIGHT) == []
    assert check_world({}) == []


def test_dangling_references_are_found_with_their_place() -> None:
    broken = world(
        hosted("local", "pol"), proxied("openai", secret="kay"), route("chat", "local", "gone", policies=("keys",))
    )
    assert found(check_world(broken)) == [
        ("chat", "backends[1].service", UNRESOLVED_REFERENCE),
        ("chat", "policies[0]", UNRESOLVED_REFERENCE),
        ("local", "upstream_service.upstream", UNRESOLVED_REFERENCE),
        ("openai", "proxy_service.credentials[0].secret", UNRESOLVED_REFERENCE),
    ]
    assert "service 'gone' does not exist" in {violation.message for violation in check_world(broken)}


def test_a_name_of_another_kind_resolves_nothing() -> None:
    assert found(check_world(world(hosted("pool"), route("r", "pool")))) == [
        ("pool", "upstream_service.upstream", UNRESOLVED_REFERENCE)
    ]


def test_two_routes_with_one_match_name_each_other() -> None:
    messages = world(route("a", model="m"), route("b", model="m"), route("c", model="n"))
    violations = check_world(messages)
    assert found(violations) == [("a", "match", CONFLICTING_MATCH), ("b", "match", CONFLICTING_MATCH)]
    assert "route 'b'" in violations[0].message
    assert "route 'a'" in violations[1].message


def test_a_different_priority_settles_the_conflict() -> None:
    later = route("b", model="m")
    later.priority = 1
    assert check_world(world(route("a", model="m"), later)) == []


def test_a_key_belongs_to_one_consumer() -> None:
    violations = check_world(world(consumer("alice", "x", "y"), consumer("bob", "z", "y")))
    assert found(violations) == [
        ("alice", "api_keys[1].key_sha256", DUPLICATE),
        ("bob", "api_keys[1].key_sha256", DUPLICATE),
    ]
    assert "consumer 'bob'" in violations[0].message


def test_a_subject_belongs_to_one_consumer() -> None:
    alice, bob = Consumer(name="alice", jwt_subjects=["a", "b"]), Consumer(name="bob", jwt_subjects=["b"])
    violations = check_world(world(alice, bob, Consumer(name="carol", jwt_subjects=["c"])))
    assert found(violations) == [("alice", "jwt_subjects[1]", DUPLICATE), ("bob", "jwt_subjects[0]", DUPLICATE)]
    assert "consumer 'bob'" in violations[0].message


def test_a_name_of_certificates_belongs_to_one_consumer() -> None:
    alice = Consumer(name="alice", certificate_names=["a.example", "CN=b"], jwt_subjects=["c.example"])
    bob = Consumer(name="bob", certificate_names=["c.example", "CN=b"])
    violations = check_world(world(alice, bob))
    assert found(violations) == [
        ("alice", "certificate_names[1]", DUPLICATE),
        ("bob", "certificate_names[1]", DUPLICATE),
    ]
    assert "a name of consumer 'bob' too" in violations[0].message


def test_a_route_has_one_policy_for_origins() -> None:
    policies = [Policy(name=name, cors=Cors(allow_origins=["*"])) for name in ("a", "b")]
    keys = Policy(name="keys", api_key_auth=ApiKeyAuth())
    route = Route(name="r", policies=["a", "keys", "b"])
    (violation,) = check_world(world(*policies, keys, route))
    assert (violation.name, violation.field) == ("r", "policies[2]")
    assert "policy 'a' is of kind cors too" in violation.message


def test_a_key_twice_in_one_consumer_is_not_the_worlds_matter() -> None:
    assert check_world(world(consumer("alice", "x", "x"))) == []


def test_a_secret_goes_only_where_it_is_allowed() -> None:
    messages = world(Secret(name="key"), proxied("openai"), proxied("evil", base_url="https://evil.example"))
    [violation] = check_world(messages)
    assert (violation.name, violation.field, violation.reason) == (
        "evil",
        "proxy_service.base_url",
        SECRET_HOST_NOT_ALLOWED,
    )
    assert "secret 'key' may not be sent to 'evil.example'" in violation.message


def test_a_service_without_an_address_is_left_to_its_own_rules() -> None:
    assert check_world(world(Secret(name="key"), proxied("s", base_url="nonsense"))) == []


def calling(*services: str, mirror: str = "", grpc_service: str = "my.pkg.Service") -> Route:
    return Route(
        name="calls",
        match=RouteMatch(grpc=GrpcMatch(service=grpc_service)),
        backends=[Backend(service=service) for service in services],
        mirror=Mirror(service=mirror) if mirror else None,
    )


GRPC_POOL = Upstream(name="grpc-pool", protocol=PROTOCOL_GRPC)
RELAYED = Service(name="relayed", upstream_service=UpstreamService(upstream="grpc-pool", schema=SCHEMA_PASSTHROUGH))
CALLED: dict[Key, ConfigMessage] = {**RIGHT, **world(GRPC_POOL, RELAYED)}


def test_calls_are_passed_through_to_services_that_speak_grpc() -> None:
    assert check_world({**CALLED, **world(calling("relayed", mirror="relayed"))}) == []
    # Which a node understands, whoever answers them.
    for service in ("janua.inference.v1.InferenceService", "inference.GRPCInferenceService"):
        assert check_world({**CALLED, **world(calling("local", "openai", grpc_service=service))}) == []


def test_calls_cannot_be_passed_through_to_services_that_speak_http() -> None:
    violations = check_world({**CALLED, **world(calling("relayed", "local", mirror="openai"))})
    assert found(violations) == [
        ("calls", "backends[1].service", INVALID_FIELD),
        ("calls", "mirror.service", INVALID_FIELD),
    ]
    assert "'local' speaks HTTP; match.grpc needs services whose upstream has protocol GRPC" in violations[0].message


def test_an_upstream_that_stops_speaking_grpc_is_checked_with_the_routes_behind_it() -> None:
    before = {**CALLED, **world(calling("relayed"))}
    after = {**before, **world(Upstream(name="grpc-pool"))}
    violations = check_world(after, changed=[(KIND_UPSTREAM, "grpc-pool")])
    assert found(violations) == [("calls", "backends[0].service", INVALID_FIELD)]


@pytest.mark.parametrize("schema", [SCHEMA_UNSPECIFIED, SCHEMA_OPENAI])
def test_openais_api_is_not_spoken_over_grpc(schema: Schema.ValueType) -> None:
    service = Service(name="s", upstream_service=UpstreamService(upstream="grpc-pool", schema=schema))
    [violation] = check_world({**CALLED, **world(service)})
    assert (violation.name, violation.field) == ("s", "upstream_service.schema")
    assert "'grpc-pool' has protocol GRPC" in violation.message


@pytest.mark.parametrize("schema", [SCHEMA_OPEN_INFERENCE, SCHEMA_PASSTHROUGH])
def test_other_schemas_are_spoken_over_grpc(schema: Schema.ValueType) -> None:
    service = Service(name="s", upstream_service=UpstreamService(upstream="grpc-pool", schema=schema))
    assert check_world({**CALLED, **world(service)}) == []


def test_an_upstream_that_begins_to_speak_grpc_is_checked_with_the_services_before_it() -> None:
    messages = {**RIGHT, **world(Upstream(name="pool", protocol=PROTOCOL_GRPC))}
    violations = check_world(messages, changed=[(KIND_UPSTREAM, "pool")])
    assert found(violations) == [("local", "upstream_service.schema", INVALID_FIELD)]


def finding(name: str = "kept", embedder: str = "embedder") -> Policy:
    return Policy(name=name, cache=Cache(semantic=SemanticCache(service=embedder, model="vectors")))


FIELD = "cache.semantic.service"


def test_a_cache_needs_the_service_that_it_has_make_vectors() -> None:
    assert check_world(world(finding(), hosted("embedder"), Upstream(name="pool"))) == []
    assert found(check_world(world(finding()))) == [("kept", FIELD, UNRESOLVED_REFERENCE)]
    removed = (KIND_SERVICE, "embedder")
    assert found(check_world(world(finding()), {removed})) == [("kept", FIELD, UNRESOLVED_REFERENCE)]
    # A policy is no service, whatever its name.
    assert found(check_world(world(finding(embedder="kept")))) == [("kept", FIELD, UNRESOLVED_REFERENCE)]


def test_no_cycle_of_caches_and_services_can_be_written() -> None:
    """A cache names a service, and a service policies, but no cache; routes, which name caches, are named by nobody."""
    embedder = hosted("embedder")
    embedder.policies.append("kept")
    assert found(check_world(world(finding(), embedder, Upstream(name="pool")))) == [
        ("embedder", "policies[0]", INVALID_FIELD)
    ]


@pytest.mark.parametrize(
    "embedder",
    [
        *(
            Service(name="embedder", upstream_service=UpstreamService(upstream="pool", schema=schema))
            for schema in (SCHEMA_ANTHROPIC, SCHEMA_OPEN_INFERENCE)
        ),
        Service(name="embedder", proxy_service=ProxyService(provider="anthropic")),
        Service(name="embedder", proxy_service=ProxyService(provider="custom", schema=SCHEMA_ANTHROPIC)),
        Service(
            name="embedder",
            upstream_service=UpstreamService(upstream="pool"),
            unsupported_features=[FEATURE_EMBEDDINGS],
        ),
    ],
    ids=str,
)
def test_a_cache_cannot_have_vectors_made_by_what_has_none(embedder: Service) -> None:
    messages = world(finding(), embedder, Upstream(name="pool"))
    (violation,) = check_world(messages, {(KIND_SERVICE, "embedder")})
    assert (violation.name, violation.field) == ("kept", FIELD)
    assert violation.message == "service 'embedder' has no embeddings"


def test_copies_and_certificates_need_what_they_name() -> None:
    copied = route("copied", "local")
    copied.mirror.service = "gone"
    secured = Upstream(name="secured", tls=Tls(client_certificate=ClientCertificate(secret="gone")))
    assert found(check_world({**RIGHT, **world(copied, secured)})) == [
        ("copied", "mirror.service", UNRESOLVED_REFERENCE),
        ("secured", "tls.client_certificate.secret", UNRESOLVED_REFERENCE),
    ]


def trying(seconds: int) -> RetryPolicy:
    return RetryPolicy(per_try_timeout=Duration(seconds=seconds))


def within(seconds: int) -> Timeouts:
    return Timeouts(request=Duration(seconds=seconds))


def policies(
    *, route_try: int = 0, route_limit: int = 0, service_try: int = 0, service_limit: int = 0
) -> Iterator[ConfigMessage]:
    yield Upstream(name="pool")
    service, caller = hosted("local"), route("chat", "local")
    for message, one_try, limit in ((service, service_try, service_limit), (caller, route_try, route_limit)):
        if one_try:
            message.retry_policy.CopyFrom(trying(one_try))
        if limit:
            message.timeouts.CopyFrom(within(limit))
        yield message


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        (policies(route_try=61, service_limit=60), "retry_policy.per_try_timeout"),
        (policies(route_try=601), "retry_policy.per_try_timeout"),
        (policies(service_try=61, route_limit=60), "timeouts.request"),
        (policies(service_try=61, service_limit=100, route_limit=60), "timeouts.request"),
        (policies(service_try=601), "backends[0].service"),
    ],
)
def test_a_try_cannot_outlast_the_request_it_is_part_of(messages: Iterator[ConfigMessage], field: str) -> None:
    assert found(check_world(world(*messages))) == [("chat", field, INVALID_FIELD)]


@pytest.mark.parametrize(
    "messages",
    [
        policies(route_try=60, service_limit=60),
        policies(service_try=600),
        policies(service_try=700, route_limit=700),
        policies(service_try=700, route_try=10),
        # Both in one resource: its own rules report it.
        policies(route_try=61, route_limit=60),
        policies(service_try=61, service_limit=60),
    ],
)
def test_a_try_within_the_effective_timeout_is_right(messages: Iterator[ConfigMessage]) -> None:
    assert check_world(world(*messages)) == []


def without(messages: World, *keys: Key) -> dict[Key, ConfigMessage]:
    return {key: message for key, message in messages.items() if key not in keys}


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ((KIND_UPSTREAM, "pool"), [("local", "upstream_service.upstream")]),
        ((KIND_SECRET, "key"), [("openai", "proxy_service.credentials[0].secret")]),
        ((KIND_SERVICE, "local"), [("chat", "backends[0].service"), ("other", "backends[0].service")]),
        ((KIND_POLICY, "keys"), [("chat", "policies[0]")]),
        ((KIND_CONSUMER, "bob"), []),
        ((KIND_ROUTE, "chat"), []),
    ],
)
def test_a_removal_is_checked_where_it_is_named(removed: Key, expected: list[tuple[str, str]]) -> None:
    violations = check_world(without(RIGHT, removed), changed=[removed])
    assert found(violations) == [(name, field, UNRESOLVED_REFERENCE) for name, field in expected]


def test_a_changed_secret_is_checked_where_it_is_used() -> None:
    messages = {**RIGHT, **world(Secret(name="key", allowed_hosts=["elsewhere.example"]))}
    violations = check_world(messages, changed=[(KIND_SECRET, "key")])
    assert found(violations) == [("openai", "proxy_service.base_url", SECRET_HOST_NOT_ALLOWED)]


def test_a_changed_service_is_checked_with_the_routes_that_name_it() -> None:
    slow = hosted("local")
    slow.retry_policy.CopyFrom(trying(601))
    violations = check_world({**RIGHT, **world(slow)}, changed=[(KIND_SERVICE, "local")])
    assert [violation.name for violation in violations] == ["chat", "other"]


def test_only_what_changed_is_reported_of_two_that_exclude_each_other() -> None:
    messages = {**RIGHT, **world(route("new", "local", model="chat"), consumer("eve", "z", "a"))}
    violations = check_world(messages, changed=[(KIND_ROUTE, "new"), (KIND_CONSUMER, "eve")])
    assert found(violations) == [("eve", "api_keys[1].key_sha256", DUPLICATE), ("new", "match", CONFLICTING_MATCH)]


def test_what_did_not_change_is_not_looked_at() -> None:
    messages = {**RIGHT, **world(route("broken", "gone"), hosted("broken", "gone"))}
    assert check_world(messages, changed=[(KIND_ROUTE, "chat"), (KIND_UPSTREAM, "pool")]) == []
    assert check_world(messages, changed=[]) == []


def test_all_kinds_of_violations_are_found_at_once() -> None:
    messages = world(
        Secret(name="key"),
        proxied("evil", base_url="https://evil.example"),
        route("a", "gone", model="m"),
        route("b", "evil", model="m"),
        consumer("alice", "x"),
        consumer("bob", "x"),
    )
    reasons = {violation.reason for violation in check_world(messages)}
    assert reasons == {UNRESOLVED_REFERENCE, CONFLICTING_MATCH, DUPLICATE, SECRET_HOST_NOT_ALLOWED}


@settings(deadline=None, suppress_health_check=[Health.too_slow])  # a busy machine is no failure
@given(st.lists(resources(well=False), max_size=6))
def test_no_world_makes_the_check_raise(messages: list[ConfigMessage]) -> None:
    anything = world(*messages)
    check_world(anything)
    check_world(anything, changed=[*anything][:2])
    warnings(anything, now=datetime(2026, 1, 1, tzinfo=UTC))


def test_work_grows_with_the_world_and_not_with_its_square() -> None:
    # A quadratic check of 20,000 conflicting routes would run into the time limit of every test.
    routes = [route(f"r{number}", model="m") for number in range(10_000)]
    consumers = [consumer(f"c{number}", "x") for number in range(10_000)]
    assert len(check_world(world(*routes, *consumers))) == 20_000


@given(
    before=st.lists(st.sampled_from("abc"), max_size=3, unique=True),
    after=st.lists(st.sampled_from("abcd"), min_size=3, max_size=3),
    names=st.sets(st.sampled_from("xyz")),
)
def test_the_matches_of_before_tell_which_need_no_look(before: list[str], after: list[str], names: set[str]) -> None:
    """Of three routes that are right, those in `names` come to match another model, perhaps one that is taken."""
    right = world(
        hosted("pool"), *(route(name, "pool", model=model) for name, model in zip("xyz", before, strict=False))
    )
    changed = {
        name: route(name, "pool", model=model) for name, model in zip("xyz", after, strict=True) if name in names
    }
    whole = {**right, **world(*changed.values())}
    keys = [(KIND_ROUTE, name) for name in changed]
    seen = found(check_world(whole, keys, right))
    everything = found(check_world(whole, keys))
    assert set(seen) <= set(everything)
    assert bool(seen) == bool(everything)
