"""What is wrong with one resource, by the rules of the .proto and those of meaning together, each problem once; and
warnings, which are looked for around a batch only and must be those of the whole configuration."""

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from janua.config.v1.resource_pb2 import KIND_POLICY, KIND_ROUTE, KIND_SERVICE
from janua_resources import world
from janua_resources.kinds import ConfigMessage, kind_by_word

from config_server import validation
from config_server.reference_index import ReferenceIndex, named_by
from config_server.resources import Key, Kind, key_of
from tests.config_server.stored import NOW
from tests.config_server.worlds import consumer, policy, proxy_service, route, secret, service, upstream

names = st.sampled_from("abc")
messages = st.one_of(
    st.builds(upstream, names),
    st.builds(policy, names),
    st.builds(secret, names),
    st.builds(consumer, names),
    st.builds(lambda name, other: service(name, upstream=other), names, names),
    st.builds(lambda name, other: proxy_service(name, secret=other), names, names),
    st.builds(
        lambda name, other, policies: route(name, service=other, policies=policies), names, names, st.sets(names)
    ),
)
worlds = st.lists(messages, max_size=8).map(lambda found: {key_of(message): message for message in found})


@given(worlds, worlds, st.sets(st.integers(0, 20)))
def test_warnings_about_a_batch_are_those_of_the_whole(
    before: dict[Key, ConfigMessage], upserts: dict[Key, ConfigMessage], deleted: set[int]
) -> None:
    index = ReferenceIndex()
    for key, message in before.items():
        index.replace(key, frozenset(), named_by(message))
    gone = {key for number, key in enumerate(before) if number in deleted}
    after: dict[tuple[Kind, str], ConfigMessage] = {key: message for key, message in before.items() if key not in gone}
    after.update((key, message) for key, message in upserts.items())
    batch = {*upserts, *gone}
    found = {
        (warning.key.kind, warning.key.name, warning.field, warning.message)
        for warning in validation.warnings(after, batch, index, now=NOW)
    }
    expected = {
        (violation.kind.kind, violation.name, violation.field, violation.message)
        for violation in world.warnings(after, now=NOW)
        if (violation.kind.kind, violation.name) in batch
    }
    assert found == expected


def test_the_index_knows_who_names_what() -> None:
    index = ReferenceIndex()
    s, t, a, b = Key(KIND_SERVICE, "s"), Key(KIND_SERVICE, "t"), Key(KIND_ROUTE, "a"), Key(KIND_ROUTE, "b")
    nothing = frozenset[Key]()
    assert named_by(route("a", service="t", policies=["p"])) == {t, Key(KIND_POLICY, "p")}
    index.replace(a, nothing, frozenset({s}))
    index.replace(b, nothing, frozenset({s, t}))
    assert set(index.users(s)) == {a, b}
    index.replace(a, frozenset({s}), frozenset({t}))
    assert (set(index.users(s)), set(index.users(t))) == ({b}, {a, b})
    index.replace(b, frozenset({s, t}), nothing)
    assert (set(index.users(s)), set(index.users(t))) == (set(), {a})


def made(word: str, **fields: object) -> ConfigMessage:
    """A resource that is right but for the fields given."""
    info = kind_by_word(word)
    assert info is not None
    needed: dict[str, dict[str, object]] = {
        "upstream": {"endpoints": [{"address": "127.0.0.1:1"}]},
        "service": {"proxy_service": {"provider": "openai"}},
        "route": {"backends": [{"service": "s"}]},
    }
    return ParseDict({"name": "x", **needed[word], **fields}, info.message())


def balanced(policy: str = "POLICY_ROUND_ROBIN", **settings: object) -> ConfigMessage:
    return made("upstream", load_balancing={"policy": policy, **settings})


def keyed(**key: object) -> ConfigMessage:
    return balanced("POLICY_RING_HASH", hash_policy=[key])


def checked(**check: object) -> ConfigMessage:
    return made("upstream", health_checks=[{"tcp": {}, **check}])


def ejecting(**detection: object) -> ConfigMessage:
    return made("upstream", outlier_detection=detection)


def limited(**breakers: object) -> ConfigMessage:
    return made("upstream", circuit_breakers=breakers)


def redirecting(**redirect: object) -> ConfigMessage:
    return made("route", backends=[], redirect={"host": "new.example", **redirect})


def answering(**answer: object) -> ConfigMessage:
    return made("route", backends=[], direct_response={"status": 200, **answer})


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (made("upstream", protocol=99), "protocol"),
        (made("upstream", endpoints=[{"address": "a:1", "weight": 129}]), "endpoints[0].weight"),
        (made("upstream", endpoints=[{"address": "a:1", "weight": 0}]), "endpoints[0].weight"),
        (made("upstream", endpoints=[{"address": "a:1", "priority": 16}]), "endpoints[0].priority"),
        (made("upstream", endpoints=[{"address": "a:1", "state": 99}]), "endpoints[0].state"),
        (made("upstream", dns={"refresh_interval": "0.999s"}), "dns.refresh_interval"),
        (made("upstream", connection_pool={"idle_timeout": "-1s"}), "connection_pool.idle_timeout"),
        (made("upstream", tls={"ca": {"file": "ca.pem"}}), "tls.ca.file"),
        (made("upstream", tls={"ca": {}}), "tls.ca.file"),
        (made("upstream", tls={"client_certificate": {}}), "tls.client_certificate.secret"),
        (made("upstream", tls={"server_name": "x" * 254}), "tls.server_name"),
        (
            balanced("POLICY_LEAST_REQUEST", least_request={"choice_count": 1}),
            "load_balancing.least_request.choice_count",
        ),
        (
            balanced("POLICY_LEAST_REQUEST", least_request={"active_request_bias": -0.1}),
            "load_balancing.least_request.active_request_bias",
        ),
        (keyed(), "load_balancing.hash_policy[0].key"),
        (keyed(header="x y"), "load_balancing.hash_policy[0].header"),
        (keyed(cookie=""), "load_balancing.hash_policy[0].cookie"),
        (keyed(consumer=False), "load_balancing.hash_policy[0].consumer"),
        (keyed(source_ip=False), "load_balancing.hash_policy[0].source_ip"),
        (keyed(prompt_prefix_bytes=0), "load_balancing.hash_policy[0].prompt_prefix_bytes"),
        (keyed(prompt_prefix_bytes=65537), "load_balancing.hash_policy[0].prompt_prefix_bytes"),
        (balanced("POLICY_MAGLEV"), "load_balancing.hash_policy"),
        (balanced("POLICY_RING_HASH", hash_policy=[{"consumer": True}] * 17), "load_balancing.hash_policy"),
        (balanced(slow_start={}), "load_balancing.slow_start.window"),
        (balanced(slow_start={"window": "0s"}), "load_balancing.slow_start.window"),
        (balanced(slow_start={"window": "1s", "aggression": 0}), "load_balancing.slow_start.aggression"),
        (balanced(slow_start={"window": "1s", "aggression": "NaN"}), "load_balancing.slow_start.aggression"),
        (
            balanced(slow_start={"window": "1s", "min_weight_percent": 101}),
            "load_balancing.slow_start.min_weight_percent",
        ),
        (balanced(healthy_panic_threshold=100.5), "load_balancing.healthy_panic_threshold"),
        (balanced(healthy_panic_threshold="NaN"), "load_balancing.healthy_panic_threshold"),
        (balanced(overprovisioning_factor=0.9), "load_balancing.overprovisioning_factor"),
        (balanced(overprovisioning_factor="Infinity"), "load_balancing.overprovisioning_factor"),
        (checked(interval="0.009s"), "health_checks[0].interval"),
        (checked(unhealthy_interval="0s"), "health_checks[0].unhealthy_interval"),
        (checked(timeout="0s"), "health_checks[0].timeout"),
        (checked(jitter="-0.1s"), "health_checks[0].jitter"),
        (checked(unhealthy_threshold=0), "health_checks[0].unhealthy_threshold"),
        (checked(healthy_threshold=0), "health_checks[0].healthy_threshold"),
        (made("upstream", health_checks=[{}]), "health_checks[0].checker"),
        (made("upstream", health_checks=[{"grpc": {}}]), "health_checks[0].grpc"),
        (ejecting(interval="0.009s"), "outlier_detection.interval"),
        (ejecting(base_ejection_time="-1s"), "outlier_detection.base_ejection_time"),
        (ejecting(max_ejection_time="0s"), "outlier_detection.max_ejection_time"),
        (ejecting(max_ejection_percent=100.1), "outlier_detection.max_ejection_percent"),
        (ejecting(max_ejection_percent=-1), "outlier_detection.max_ejection_percent"),
        (ejecting(success_rate={"minimum_hosts": 1}), "outlier_detection.success_rate.minimum_hosts"),
        (ejecting(success_rate={"request_volume": 0}), "outlier_detection.success_rate.request_volume"),
        (ejecting(success_rate={"stdev_factor": 0}), "outlier_detection.success_rate.stdev_factor"),
        (limited(max_connections=0), "circuit_breakers.max_connections"),
        (limited(max_requests=0), "circuit_breakers.max_requests"),
        (limited(queue_timeout="0s"), "circuit_breakers.queue_timeout"),
        (limited(retry_budget={"budget_percent": 101}), "circuit_breakers.retry_budget.budget_percent"),
        (
            made("service", proxy_service={"provider": "openai", "outlier_detection": {"max_ejection_percent": 101}}),
            "proxy_service.outlier_detection.max_ejection_percent",
        ),
        (
            made("service", proxy_service={"provider": "openai", "health_checks": [{"grpc": {}}]}),
            "proxy_service.health_checks[0].grpc",
        ),
        (made("service", retry_policy={"retry_on": [99]}), "retry_policy.retry_on[0]"),
        (made("route", backends=[{"service": "s", "weight": 1_000_001}]), "backends[0].weight"),
        (made("route", backends=[{"service": "s", "priority": 16}]), "backends[0].priority"),
        (made("route", backends=[]), "backends"),
        (made("route", fallback_on=[0]), "fallback_on[0]"),
        (made("route", fallback_on=[99]), "fallback_on[0]"),
        (made("route", fallback_on=["FALLBACK_ON_TIMEOUT"] * 2), "fallback_on"),
        (made("route", mirror={}), "mirror.service"),
        (made("route", mirror={"service": "s", "percent": 0}), "mirror.percent"),
        (made("route", mirror={"service": "s", "percent": 100.5}), "mirror.percent"),
        (made("route", mirror={"service": "s", "percent": "NaN"}), "mirror.percent"),
        (made("route", match={"path": {"prefix": "/a"}}, rewrite={"path_prefix": "b"}), "rewrite.path_prefix"),
        (made("route", rewrite={"host": "inner.example"}), "rewrite"),
        (made("route", match={"grpc": {}}), "match.grpc.service"),
        (made("route", match={"grpc": {"service": "a/b"}}), "match.grpc.service"),
        (made("route", match={"grpc": {"service": "a.B", "method": "C.D"}}), "match.grpc.method"),
        (made("route", redirect={"host": "new.example"}), "redirect"),
        (made("route", direct_response={"status": 410}), "direct_response"),
        (redirecting(scheme="ftp"), "redirect.scheme"),
        (redirecting(path="/a b"), "redirect.path"),
        (redirecting(status=304), "redirect.status"),
        (answering(status=199), "direct_response.status"),
        (answering(status=600), "direct_response.status"),
        (answering(body="x" * 65537), "direct_response.body"),
        (answering(content_type="x" * 256), "direct_response.content_type"),
    ],
)
def test_every_rule_of_a_field_is_told_once_at_its_place(message: ConfigMessage, field: str) -> None:
    [found] = validation.check_resource("here", message, message.ByteSize())
    assert found.path == f"here.{field}"
    assert found.message


@pytest.mark.parametrize(
    "message",
    [
        made("upstream"),
        made("service"),
        made("route"),
        keyed(prompt_prefix_bytes=1),
        balanced(healthy_panic_threshold=0, overprovisioning_factor=1, slow_start={"window": "0.001s"}),
        checked(interval="0.01s", jitter="0s", timeout="0.001s"),
        ejecting(interval="0.01s", max_ejection_percent=100, consecutive_5xx=0),
        limited(max_connections=1, max_pending_requests=0, max_retries=0),
        redirecting(status=308),
        answering(status=599, body="x" * 65536),
        made("route", mirror={"service": "s", "percent": 0.001}),
    ],
)
def test_the_ends_of_each_range_are_within_it(message: ConfigMessage) -> None:
    assert validation.check_resource("here", message, message.ByteSize()) == []
