import contextlib
import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck as Health
from hypothesis import given, settings
from hypothesis import strategies as st
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.policy_pb2 import JWT_ALGORITHM_UNSPECIFIED, ApiKeyAuth, JwtAuth, Policy
from janua.config.v1.route_pb2 import Backend, HeaderMatch, PathMatch, QueryParamMatch, Route, RouteMatch
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import (
    FEATURE_TOOLS,
    FEATURE_UNSPECIFIED,
    PRICE_LIST_PUBLISHED,
    RETRY_ON_RESET,
    RETRY_ON_UNSPECIFIED,
    SCHEMA_ANTHROPIC,
    Credential,
    Model,
    ModelPrice,
    ProviderAuth,
    ProxyService,
    RetryBackOff,
    RetryPolicy,
    Service,
    Timeouts,
    UpstreamService,
)
from janua.config.v1.upstream_pb2 import Endpoint, HealthCheck, LoadBalancing, StatusRange, Upstream
from janua_resources.kinds import KINDS, ConfigMessage, KindInfo
from janua_resources.rules import check
from janua_resources.violations import DUPLICATE, INVALID_FIELD, UNKNOWN_KIND

from tests.clients.janua_resources.message_strategies import resources

RIGHT: list[ConfigMessage] = [
    Upstream(
        name="pool",
        endpoints=[Endpoint(address="127.0.0.1:9001"), Endpoint(address="https://127.0.0.1:9001/base")],
        load_balancing=LoadBalancing(
            policy=LoadBalancing.POLICY_LEAST_REQUEST, least_request=LoadBalancing.LeastRequest(choice_count=3)
        ),
        health_checks=[
            HealthCheck(
                http=HealthCheck.Http(
                    path="/health?full=1", host="box:80", expected_statuses=[StatusRange(start=200, end=200)]
                )
            )
        ],
    ),
    Service(name="hosted", upstream_service=UpstreamService(upstream="pool", path_prefix="/base")),
    Service(name="openai", proxy_service=ProxyService(provider="openai", headers={"x-a": "b", "X-B": "c\td"})),
    Service(name="custom", proxy_service=ProxyService(provider="custom", base_url="https://box/api")),
    Service(
        name="signed",
        proxy_service=ProxyService(
            provider="custom",
            base_url="https://box/api",
            schema=SCHEMA_ANTHROPIC,
            auth=ProviderAuth(aws_sigv4=ProviderAuth.AwsSigV4(service="execute-api")),
            region="eu-west-1",
            credentials=[Credential(secret="a", weight=9), Credential(secret="b")],
        ),
    ),
    Service(name="bedrock", proxy_service=ProxyService(provider="bedrock", region="eu-west-1")),
    Service(name="vertex", proxy_service=ProxyService(provider="vertex_ai", region="global", project="example.com:p")),
    Service(
        name="azure",
        proxy_service=ProxyService(provider="azure_openai", base_url="https://a", api_version="2024-10-21"),
    ),
    Service(
        name="patient",
        upstream_service=UpstreamService(upstream="pool"),
        retry_policy=RetryPolicy(
            per_try_timeout=Duration(seconds=60),
            retry_on=[RETRY_ON_RESET],
            retry_back_off=RetryBackOff(base_interval=Duration(seconds=1), max_interval=Duration(seconds=1)),
        ),
        timeouts=Timeouts(request=Duration(seconds=60)),
    ),
    Route(
        name="chat",
        match=RouteMatch(
            hosts=["ai.example.com", "*.Example.com", "[::1]", "10.0.0.1"],
            path=PathMatch(regex="/v1/(chat|completions).*"),
            headers=[HeaderMatch(name="X-Tier", exact="gold"), HeaderMatch(name="x-b", present=False)],
            query_params=[QueryParamMatch(name="beta", regex="[01]")],
        ),
        backends=[Backend(service="hosted", weight=0), Backend(service="openai")],
        advertised_models=["gemma-3"],
    ),
    Policy(name="keys", api_key_auth=ApiKeyAuth()),
    Consumer(name="alice", api_keys=[ApiKey(key_sha256="a" * 64), ApiKey(key_sha256="b" * 64)]),
    Secret(name="key", env="OPENAI_API_KEY", allowed_hosts=["api.openai.com", "*.example.com"]),
    Secret(name="key-file", file="/run/secrets/key"),
]


@pytest.mark.parametrize("message", RIGHT, ids=lambda message: f"{type(message).__name__}-{message.name}")
def test_right_resources_have_no_violations(message: ConfigMessage) -> None:
    assert check(message) == []


def upstream(*addresses: str) -> Upstream:
    return Upstream(name="pool", endpoints=[Endpoint(address=address) for address in addresses])


def checked_by(http: HealthCheck.Http) -> Upstream:
    return Upstream(name="pool", health_checks=[HealthCheck(http=http)])


def proxy(provider: str = "openai", **fields: str) -> Service:
    return Service(name="s", proxy_service=ProxyService(provider=provider, **fields))  # type: ignore[arg-type]


def outside(**fields: Any) -> Service:
    return Service(name="s", proxy_service=ProxyService(**fields))


def custom(auth: ProviderAuth) -> Service:
    return outside(provider="custom", base_url="https://a", auth=auth)


def with_header(name: str, value: str = "x") -> Service:
    return Service(name="s", proxy_service=ProxyService(provider="openai", headers={name: value}))


def matching(match: RouteMatch) -> Route:
    return Route(name="r", match=match, backends=[Backend(service="s")])


def retrying(retry_policy: RetryPolicy, request: Duration | None = None) -> Route:
    backends = [Backend(service="s")]
    return Route(name="r", backends=backends, retry_policy=retry_policy, timeouts=Timeouts(request=request))


@pytest.mark.parametrize(
    ("message", "field", "problem"),
    [
        (upstream("a:1", "nowhere"), "endpoints[1].address", "no port"),
        (upstream(""), "endpoints[0].address", "empty"),
        (upstream("ftp://a"), "endpoints[0].address", "http://"),
        (
            Upstream(load_balancing=LoadBalancing(least_request=LoadBalancing.LeastRequest())),
            "load_balancing.least_request",
            "only for policy LEAST_REQUEST",
        ),
        (checked_by(HealthCheck.Http(path="health")), "health_checks[0].http.path", "starts with '/'"),
        (checked_by(HealthCheck.Http(path="/a b")), "health_checks[0].http.path", "white space"),
        (checked_by(HealthCheck.Http(path="/a\r\nX: y")), "health_checks[0].http.path", "white space"),
        (checked_by(HealthCheck.Http(path="/a", host="a b")), "health_checks[0].http.host", "not a host name"),
        (checked_by(HealthCheck.Http(path="/a", host="a:x")), "health_checks[0].http.host", "port 'x'"),
        (
            checked_by(HealthCheck.Http(path="/a", expected_statuses=[StatusRange(start=300, end=200)])),
            "health_checks[0].http.expected_statuses[0]",
            "starts at 300, after its end 200",
        ),
        (
            Service(upstream_service=UpstreamService(path_prefix="/a?b")),
            "upstream_service.path_prefix",
            "not a path",
        ),
        (
            Service(upstream_service=UpstreamService(path_prefix="/a/../b")),
            "upstream_service.path_prefix",
            "'..'",
        ),
        (proxy("opnai"), "proxy_service.provider", "not known; did you mean 'openai'?"),
        (proxy("skynet"), "proxy_service.provider", "known are anthropic, azure_openai"),
        (proxy("custom"), "proxy_service.base_url", "required for provider 'custom'"),
        (proxy("vllm"), "proxy_service.base_url", "required for provider 'vllm'"),
        (proxy(base_url="api.openai.com"), "proxy_service.base_url", "does not start with http"),
        (proxy(base_url="https://u:p@a"), "proxy_service.base_url", "user name or password"),
        (proxy("bedrock"), "proxy_service.base_url", "unless it has a region"),
        (proxy("bedrock", region="EU"), "proxy_service.region", "'EU' is no region"),
        (proxy("bedrock", region="eu.evil.example/"), "proxy_service.region", "is no region"),
        (
            proxy(region="eu-west-1"),
            "proxy_service.region",
            "only for provider bedrock and vertex_ai, not for 'openai'",
        ),
        (proxy("vertex_ai", project="p", base_url="https://a"), "proxy_service.region", "part of every path"),
        (proxy("vertex_ai", region="global"), "proxy_service.project", "part of every path"),
        (proxy("vertex_ai", region="eu", project="../x"), "proxy_service.project", "is no project"),
        (proxy("bedrock", region="eu-west-1", project="p"), "proxy_service.project", "only for provider vertex_ai"),
        (proxy(api_version="2024-10-21"), "proxy_service.api_version", "only for provider azure_openai"),
        (
            proxy("azure_openai", base_url="https://a", api_version="1&x=y"),
            "proxy_service.api_version",
            "is no api version",
        ),
        (
            outside(provider="openai", schema=SCHEMA_ANTHROPIC),
            "proxy_service.schema",
            "only for provider custom, not for 'openai'",
        ),
        (
            outside(provider="openai", auth=ProviderAuth(query=ProviderAuth.Query(name="key"))),
            "proxy_service.auth",
            "only for provider custom",
        ),
        (
            custom(ProviderAuth(header=ProviderAuth.Header(name="a b"))),
            "proxy_service.auth.header.name",
            "not a header name",
        ),
        (
            custom(ProviderAuth(header=ProviderAuth.Header(name="Host"))),
            "proxy_service.auth.header.name",
            "cannot be set",
        ),
        (
            custom(ProviderAuth(header=ProviderAuth.Header(scheme="a b"))),
            "proxy_service.auth.header.scheme",
            "not a word",
        ),
        (custom(ProviderAuth(query=ProviderAuth.Query(name="a&b"))), "proxy_service.auth.query.name", "not a name"),
        (custom(ProviderAuth(aws_sigv4=ProviderAuth.AwsSigV4(service="x"))), "proxy_service.region", "for signatures"),
        (
            outside(
                provider="custom",
                base_url="https://a",
                headers={"X-Key": "1"},
                auth=ProviderAuth(header=ProviderAuth.Header(name="x-key")),
            ),
            'proxy_service.headers["X-Key"]',
            "name a secret",
        ),
        (
            outside(provider="openai", credentials=[Credential(secret="a", weight=0)]),
            "proxy_service.credentials[0].weight",
            "never used",
        ),
        (with_header("a b"), 'proxy_service.headers["a b"]', "not a header name"),
        (with_header(""), 'proxy_service.headers[""]', "not a header name"),
        (with_header("Authorization"), 'proxy_service.headers["Authorization"]', "name a secret"),
        (with_header("X-Api-Key"), 'proxy_service.headers["X-Api-Key"]', "name a secret"),
        (with_header("cookie"), 'proxy_service.headers["cookie"]', "name a secret"),
        (with_header("Host"), 'proxy_service.headers["Host"]', "cannot be set"),
        (with_header("content-length"), 'proxy_service.headers["content-length"]', "cannot be set"),
        (with_header("Transfer-Encoding"), 'proxy_service.headers["Transfer-Encoding"]', "cannot be set"),
        (with_header("connection"), 'proxy_service.headers["connection"]', "cannot be set"),
        (with_header("x-a", "b\r\nx: y"), 'proxy_service.headers["x-a"]', "control characters"),
        (with_header("x-a", "b\0"), 'proxy_service.headers["x-a"]', "control characters"),
        (matching(RouteMatch(hosts=["a", "a:80"])), "match.hosts[1]", "not an IPv6 address"),
        (matching(RouteMatch(hosts=["*"])), "match.hosts[0]", "'*.example.com'"),
        (matching(RouteMatch(path=PathMatch(regex="("))), "match.path.regex", "not an RE2 expression"),
        (matching(RouteMatch(path=PathMatch(exact="/a?b=c"))), "match.path.exact", "never matches"),
        (matching(RouteMatch(path=PathMatch(prefix="/a#b"))), "match.path.prefix", "never matches"),
        (
            matching(RouteMatch(headers=[HeaderMatch(name="a:", present=True)])),
            "match.headers[0].name",
            "not a header name",
        ),
        (
            matching(RouteMatch(headers=[HeaderMatch(name="a", regex="[")])),
            "match.headers[0].regex",
            "not an RE2 expression",
        ),
        (matching(RouteMatch(headers=[HeaderMatch(name="a", exact="x\n")])), "match.headers[0].exact", "never matches"),
        (matching(RouteMatch(headers=[HeaderMatch(name="a", prefix="\0")])), "match.headers[0].prefix", "never"),
        (matching(RouteMatch(headers=[HeaderMatch(name="a", suffix="\r")])), "match.headers[0].suffix", "never"),
        (
            matching(RouteMatch(query_params=[QueryParamMatch(name="a", regex="(?<x")])),
            "match.query_params[0].regex",
            "not an RE2 expression",
        ),
        (Route(backends=[Backend(service="a", weight=0), Backend(service="b", weight=0)]), "backends", "weight 0"),
        (
            Route(backends=[Backend(service="s")], advertised_models=["a", "gemma-*"]),
            "advertised_models[1]",
            "is a pattern",
        ),
        (retrying(RetryPolicy(retry_on=[RETRY_ON_UNSPECIFIED])), "retry_policy.retry_on[0]", "not a failure"),
        (
            retrying(
                RetryPolicy(
                    retry_back_off=RetryBackOff(base_interval=Duration(seconds=2), max_interval=Duration(seconds=1))
                )
            ),
            "retry_policy.retry_back_off.max_interval",
            "1s is below base_interval, 2s",
        ),
        (
            retrying(RetryPolicy(retry_back_off=RetryBackOff(max_interval=Duration(nanos=24_000_000)))),
            "retry_policy.retry_back_off.max_interval",
            "24ms is below base_interval, 25ms",
        ),
        (
            retrying(RetryPolicy(per_try_timeout=Duration(seconds=61)), Duration(seconds=60)),
            "retry_policy.per_try_timeout",
            "61s outlasts timeouts.request, 60s",
        ),
        (
            Service(
                retry_policy=RetryPolicy(per_try_timeout=Duration(seconds=2)),
                timeouts=Timeouts(request=Duration(seconds=1)),
            ),
            "retry_policy.per_try_timeout",
            "2s outlasts timeouts.request, 1s",
        ),
        (
            Service(models=[Model(name="m", price=ModelPrice(cached_input=-1))]),
            "models[0].price.cached_input",
            "negative",
        ),
        (Service(models=[Model(name="m", price=ModelPrice(input=math.nan))]), "models[0].price.input", "finite"),
        (
            Service(models=[Model(name="m", unsupported_features=[FEATURE_TOOLS, FEATURE_UNSPECIFIED])]),
            "models[0].unsupported_features[1]",
            "not a feature",
        ),
        (Service(unsupported_features=[FEATURE_UNSPECIFIED]), "unsupported_features[0]", "not a feature"),
        (
            Policy(
                jwt_auth=JwtAuth(
                    audiences=["a"], jwks_uri="https://a.example/keys", algorithms=[JWT_ALGORITHM_UNSPECIFIED]
                )
            ),
            "jwt_auth.algorithms[0]",
            "not an algorithm",
        ),
        (
            Service(price_list=PRICE_LIST_PUBLISHED),
            "price_list",
            "proxy_service of",
        ),
        (
            Service(proxy_service=ProxyService(provider="vllm", base_url="http://a"), price_list=PRICE_LIST_PUBLISHED),
            "price_list",
            "models[].price",
        ),
        (Secret(file="/a\0b"), "file", "NUL"),
        (Secret(env="A", allowed_hosts=["a", "https://b"]), "allowed_hosts[1]", "not an IPv6 address"),
        (Secret(env="A", allowed_hosts=["a b"]), "allowed_hosts[0]", "not a host name"),
    ],
)
def test_what_a_node_cannot_act_on_is_refused(message: ConfigMessage, field: str, problem: str) -> None:
    [found] = [violation for violation in check(message) if violation.reason != UNKNOWN_KIND]
    assert (found.field, found.reason) == (field, INVALID_FIELD)
    assert problem in found.message


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (upstream("a:80", "b:80", "http://A/"), "endpoints[2].address"),
        (Service(models=[Model(name="a"), Model(name="a", upstream_name="b")]), "models[1].name"),
        (
            Service(proxy_service=ProxyService(provider="openai", headers={"X-A": "1", "x-a": "2"})),
            'proxy_service.headers["x-a"]',
        ),
        (Consumer(api_keys=[ApiKey(key_sha256="a" * 64)] * 2), "api_keys[1].key_sha256"),
    ],
)
def test_what_must_be_unique_is_unique(message: ConfigMessage, field: str) -> None:
    [found] = [violation for violation in check(message) if violation.reason != UNKNOWN_KIND]
    assert (found.field, found.reason) == (field, DUPLICATE)


def test_all_violations_are_found_at_once() -> None:
    service = Service(
        proxy_service=ProxyService(provider="opnai", base_url="nonsense", headers={"host": "a"}),
        timeouts=Timeouts(request=Duration(seconds=-1)),
    )
    assert {violation.field for violation in check(service)} == {
        "proxy_service.provider",
        "proxy_service.base_url",
        'proxy_service.headers["host"]',
        "timeouts.request",
    }


def test_a_secret_looking_header_value_is_not_repeated() -> None:
    [found] = check(with_header("x-token", "sk-123\n"))
    assert "sk-123" not in str(found)


@settings(deadline=None, suppress_health_check=[Health.too_slow])  # a busy machine is no failure
@given(resources(well=False))
def test_no_message_makes_check_raise(message: ConfigMessage) -> None:
    for found in check(message):
        assert found.kind.message is type(message)
        assert found.message


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_no_bytes_make_check_raise(info: KindInfo, data: bytes) -> None:
    message = info.message()
    with contextlib.suppress(DecodeError):
        message.ParseFromString(data)
    check(message)  # also what was read before the error


def test_one_secret_is_one_credential() -> None:
    twice = [Credential(secret="a"), Credential(secret="b"), Credential(secret="a")]
    [found] = check(outside(provider="openai", credentials=twice))
    assert (found.field, found.reason) == ("proxy_service.credentials[2]", DUPLICATE)
    assert "names 'a', as credentials[0] does already" in found.message


def test_a_way_for_keys_that_is_not_known_is_refused() -> None:
    [found] = check(custom(ProviderAuth()))
    assert (found.field, found.reason) == ("proxy_service.auth.kind", UNKNOWN_KIND)
