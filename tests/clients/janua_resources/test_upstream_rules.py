"""Upstreams seen alone: settings belong to what uses them, and what cannot be together is not."""

import pytest
from google.protobuf.duration_pb2 import Duration
from janua.config.v1.service_pb2 import ProxyService, Service
from janua.config.v1.upstream_pb2 import (
    PROTOCOL_GRPC,
    PROTOCOL_HTTP1,
    PROTOCOL_HTTP2,
    CircuitBreakers,
    ClientCertificate,
    Dns,
    Endpoint,
    FileSource,
    HealthCheck,
    LoadBalancing,
    OutlierDetection,
    Protocol,
    Tls,
    Upstream,
)
from janua_resources.rules import check
from janua_resources.violations import DUPLICATE, INVALID_FIELD

HashPolicy = LoadBalancing.HashPolicy
SlowStart = LoadBalancing.SlowStart
LeastRequest = LoadBalancing.LeastRequest

COOKIE = [HashPolicy(cookie="sid")]
GRPC_CHECK = HealthCheck(grpc=HealthCheck.Grpc())
HTTP_CHECK = HealthCheck(http=HealthCheck.Http(path="/health"))
TCP_CHECK = HealthCheck(tcp=HealthCheck.Tcp())
READY_CHECK = HealthCheck(open_inference=HealthCheck.OpenInference(model="iris"))


def balanced(policy: LoadBalancing.Policy.ValueType, **settings: object) -> Upstream:
    return Upstream(name="pool", load_balancing=LoadBalancing(policy=policy, **settings))  # type: ignore[arg-type]


def speaking(protocol: Protocol.ValueType, *checks: HealthCheck, address: str = "a:1") -> Upstream:
    return Upstream(name="pool", protocol=protocol, endpoints=[Endpoint(address=address)], health_checks=checks)


def secured(tls: Tls, *addresses: str, protocol: Protocol.ValueType = PROTOCOL_HTTP1) -> Upstream:
    endpoints = [Endpoint(address=address) for address in addresses]
    return Upstream(name="pool", endpoints=endpoints, protocol=protocol, tls=tls)


def ejecting(**settings: object) -> Upstream:
    return Upstream(name="pool", outlier_detection=OutlierDetection(**settings))  # type: ignore[arg-type]


RIGHT = [
    balanced(LoadBalancing.POLICY_RING_HASH, hash_policy=[HashPolicy(header="x-session-id"), *COOKIE]),
    balanced(LoadBalancing.POLICY_MAGLEV, hash_policy=[HashPolicy(source_ip=True)]),
    balanced(LoadBalancing.POLICY_PREFIX_AFFINITY),
    balanced(LoadBalancing.POLICY_PREFIX_AFFINITY, hash_policy=[HashPolicy(prompt_prefix_bytes=64)]),
    *(
        balanced(policy, slow_start=SlowStart(window=Duration(seconds=30)))
        for policy in (
            LoadBalancing.POLICY_UNSPECIFIED,
            LoadBalancing.POLICY_ROUND_ROBIN,
            LoadBalancing.POLICY_LEAST_REQUEST,
            LoadBalancing.POLICY_RANDOM,
            LoadBalancing.POLICY_PEAK_EWMA,
        )
    ),
    speaking(PROTOCOL_GRPC, GRPC_CHECK, TCP_CHECK, READY_CHECK),
    speaking(PROTOCOL_GRPC, address="https://a:1"),
    speaking(PROTOCOL_HTTP1, HTTP_CHECK, TCP_CHECK, READY_CHECK),
    speaking(PROTOCOL_HTTP2, HTTP_CHECK, address="https://a/base"),
    secured(Tls(ca=FileSource(file="/ca.pem"), server_name="box.example"), "a:443", "https://b"),
    secured(Tls(client_certificate=ClientCertificate(secret="cert"), insecure_skip_verify=True), "a:443"),
    secured(Tls(server_name="10.0.0.1"), "a:443", protocol=PROTOCOL_GRPC),
    Upstream(name="pool", dns=Dns(), circuit_breakers=CircuitBreakers(max_retries=0)),
    Upstream(name="pool", circuit_breakers=CircuitBreakers(retry_budget=CircuitBreakers.RetryBudget())),
    ejecting(max_ejection_time=Duration(seconds=30)),
    ejecting(base_ejection_time=Duration(seconds=2), max_ejection_time=Duration(seconds=2)),
    ejecting(base_ejection_time=Duration(seconds=900), success_rate=OutlierDetection.SuccessRate()),
]


@pytest.mark.parametrize("upstream", RIGHT, ids=str)
def test_right_upstreams_have_no_violations(upstream: Upstream) -> None:
    assert check(upstream) == []


@pytest.mark.parametrize(
    ("upstream", "field", "problem"),
    [
        (
            balanced(LoadBalancing.POLICY_RANDOM, least_request=LeastRequest()),
            "load_balancing.least_request",
            "is only for policy LEAST_REQUEST",
        ),
        (balanced(LoadBalancing.POLICY_RING_HASH), "load_balancing.hash_policy", "is needed with RING_HASH and MAGLEV"),
        (balanced(LoadBalancing.POLICY_MAGLEV), "load_balancing.hash_policy", "is needed with RING_HASH and MAGLEV"),
        (
            balanced(LoadBalancing.POLICY_LEAST_REQUEST, hash_policy=COOKIE),
            "load_balancing.hash_policy",
            "is only for policies RING_HASH, MAGLEV and PREFIX_AFFINITY",
        ),
        (
            balanced(LoadBalancing.POLICY_PREFIX_AFFINITY, slow_start=SlowStart(window=Duration(seconds=1))),
            "load_balancing.slow_start",
            "is not for policies that send the same requests to the same endpoint",
        ),
        (
            balanced(LoadBalancing.POLICY_MAGLEV, hash_policy=COOKIE, slow_start=SlowStart(window=Duration(seconds=1))),
            "load_balancing.slow_start",
            "is not for policies",
        ),
        (speaking(PROTOCOL_HTTP1, TCP_CHECK, GRPC_CHECK), "health_checks[1].grpc", "needs protocol GRPC"),
        (speaking(PROTOCOL_HTTP2, GRPC_CHECK), "health_checks[0].grpc", "are checked with http"),
        (
            speaking(PROTOCOL_GRPC, GRPC_CHECK, HTTP_CHECK),
            "health_checks[1].http",
            "is not for protocol GRPC; use grpc, open_inference or tcp",
        ),
        (
            speaking(PROTOCOL_GRPC, address="http://a:1/base"),
            "endpoints[0].address",
            "has a path, which gRPC has no use for; give host:port",
        ),
        (
            secured(Tls(insecure_skip_verify=True), "a:443", protocol=PROTOCOL_GRPC),
            "tls.insecure_skip_verify",
            "is not possible with protocol GRPC",
        ),
        (
            secured(Tls(ca=FileSource(file="/ca.pem"), insecure_skip_verify=True), "a:443"),
            "tls.ca",
            "has no effect with insecure_skip_verify; leave one of them out",
        ),
        (secured(Tls(server_name="a b"), "a:443"), "tls.server_name", "is not a host name"),
        (secured(Tls(server_name="box.example:443"), "a:443"), "tls.server_name", "not an IPv6 address"),
        (secured(Tls(), "a:443", "http://b"), "endpoints[1].address", "leave out http:// or tls"),
        (secured(Tls(), "HTTP://b"), "endpoints[0].address", "leave out http:// or tls"),
        (
            Upstream(endpoints=[Endpoint(address="a:1", weight=0)]),
            "endpoints[0].weight",
            "is 0; DISABLED is the state that takes no requests",
        ),
        (
            Upstream(
                circuit_breakers=CircuitBreakers(max_retries=3, retry_budget=CircuitBreakers.RetryBudget()),
            ),
            "circuit_breakers.max_retries",
            "is not together with retry_budget; give one of them",
        ),
        (
            ejecting(max_ejection_time=Duration(seconds=29)),
            "outlier_detection.max_ejection_time",
            "29s is below base_ejection_time, 30s",
        ),
        (
            ejecting(base_ejection_time=Duration(seconds=61), max_ejection_time=Duration(seconds=60)),
            "outlier_detection.max_ejection_time",
            "60s is below base_ejection_time, 61s",
        ),
    ],
)
def test_what_has_no_place_in_an_upstream_is_refused(upstream: Upstream, field: str, problem: str) -> None:
    [found] = check(upstream)
    assert (found.field, found.reason) == (field, INVALID_FIELD)
    assert problem in found.message


@pytest.mark.parametrize(
    ("one", "other"), [("a:443", "https://A"), ("https://a/", "a:443"), ("[::1]:443", "https://[0::1]")]
)
def test_with_tls_an_address_without_scheme_is_that_of_https(one: str, other: str) -> None:
    [found] = check(secured(Tls(), one, other))
    assert (found.field, found.reason) == ("endpoints[1].address", DUPLICATE)
    assert check(Upstream(endpoints=[Endpoint(address=one), Endpoint(address=other)])) == []


@pytest.mark.parametrize(
    ("proxy", "field", "problem"),
    [
        (
            ProxyService(provider="openai", health_checks=[TCP_CHECK, GRPC_CHECK]),
            "proxy_service.health_checks[1].grpc",
            "providers are reached over HTTP; use http or tcp",
        ),
        (
            ProxyService(provider="openai", health_checks=[HealthCheck(http=HealthCheck.Http(path="v1"))]),
            "proxy_service.health_checks[0].http.path",
            "starts with '/'",
        ),
        (
            ProxyService(provider="openai", outlier_detection=OutlierDetection(max_ejection_time=Duration(seconds=1))),
            "proxy_service.outlier_detection.max_ejection_time",
            "1s is below base_ejection_time, 30s",
        ),
        (
            ProxyService(
                provider="openai", outlier_detection=OutlierDetection(success_rate=OutlierDetection.SuccessRate())
            ),
            "proxy_service.outlier_detection.success_rate",
            "a provider is a single one; leave it out",
        ),
    ],
)
def test_what_has_no_place_in_the_watch_over_a_provider_is_refused(
    proxy: ProxyService, field: str, problem: str
) -> None:
    [found] = check(Service(name="s", proxy_service=proxy))
    assert (found.field, found.reason) == (field, INVALID_FIELD)
    assert problem in found.message


def test_a_provider_can_be_watched() -> None:
    watched = ProxyService(
        provider="openai", health_checks=[HTTP_CHECK, TCP_CHECK], outlier_detection=OutlierDetection()
    )
    assert check(Service(name="s", proxy_service=watched)) == []
