"""`Upstream` messages: every field, and what stands for a field that is not set."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from janua.config.v1 import upstream_pb2
from janua_resources import rules

from gateway.compile.node_files import FileUnreadableError
from gateway.compile.upstream import compile_upstream
from gateway.config.upstream import (
    BalancingConfig,
    BalancingPolicy,
    BreakerConfig,
    EndpointConfig,
    EndpointState,
    GrpcProbe,
    HashConsumer,
    HashCookie,
    HashHeader,
    HashPromptPrefix,
    HashSourceIp,
    HealthCheckConfig,
    HttpProbe,
    OpenInferenceProbe,
    OutlierConfig,
    RetryBudgetConfig,
    SlowStartConfig,
    TcpProbe,
    TlsConfig,
    UpstreamConfig,
    UpstreamProtocol,
)


def compiled(**fields: Any) -> UpstreamConfig:
    message = ParseDict({"name": "u", **fields}, upstream_pb2.Upstream())
    assert rules.check(message) == []
    return compile_upstream(message, read_file)


def read_file(path: str) -> str:
    if path == "/ca.pem":
        return "PEM"
    raise FileNotFoundError(2, "No such file or directory", path)


def test_defaults() -> None:
    assert compiled(endpoints=[{"address": "a:1"}], health_checks=[{"http": {"path": "/h"}}]) == UpstreamConfig(
        name="u",
        endpoints=(EndpointConfig(address="a:1", url="http://a:1", weight=1, state=EndpointState.ACTIVE),),
        connect_timeout_s=2.0,
        idle_timeout_s=60.0,
        balancing=BalancingConfig(policy=BalancingPolicy.ROUND_ROBIN, choice_count=2),
        health_checks=(
            HealthCheckConfig(
                probe=HttpProbe(path="/h", statuses=((200, 299),), host=None, method="GET"),
                interval_s=5.0,
                unhealthy_interval_s=5.0,
                timeout_s=1.0,
                jitter_s=0.5,
                unhealthy_threshold=2,
                healthy_threshold=1,
            ),
        ),
    )


def test_every_field() -> None:
    assert compiled(
        labels={"a": "b"},
        description="d",
        endpoints=[{"address": "https://b.example/base/", "weight": 128, "state": "STATE_DRAINING"}],
        connection_pool={"connect_timeout": "0.25s", "idle_timeout": "7s"},
        load_balancing={
            "policy": "POLICY_LEAST_REQUEST",
            "least_request": {"choice_count": 5, "active_request_bias": 0.5},
        },
        health_checks=[
            {
                "http": {
                    "path": "/h?x=1",
                    "expected_statuses": [{"start": 200, "end": 204}, {"start": 404, "end": 404}],
                    "host": "box.example",
                    "method": "HEAD",
                },
                "interval": "30s",
                "unhealthy_interval": "3s",
                "timeout": "0.5s",
                "jitter": "0s",
                "unhealthy_threshold": 4,
                "healthy_threshold": 3,
            }
        ],
    ) == UpstreamConfig(
        name="u",
        endpoints=(
            EndpointConfig(
                address="https://b.example/base/",
                url="https://b.example:443/base",
                weight=128,
                state=EndpointState.DRAINING,
            ),
        ),
        connect_timeout_s=0.25,
        idle_timeout_s=7.0,
        balancing=BalancingConfig(policy=BalancingPolicy.LEAST_REQUEST, choice_count=5, active_request_bias=0.5),
        health_checks=(
            HealthCheckConfig(
                probe=HttpProbe(path="/h?x=1", statuses=((200, 204), (404, 404)), host="box.example", method="HEAD"),
                interval_s=30.0,
                unhealthy_interval_s=3.0,
                timeout_s=0.5,
                jitter_s=0.0,
                unhealthy_threshold=4,
                healthy_threshold=3,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("[::1]:80", "http://[::1]:80"),
        ("http://a", "http://a:80"),
        ("https://a", "https://a:443"),
        ("HTTP://A.Example:8080/Base//", "http://a.example:8080/Base"),
    ],
)
def test_address(address: str, url: str) -> None:
    (endpoint,) = compiled(endpoints=[{"address": address}]).endpoints
    assert (endpoint.address, endpoint.url) == (address, url)


@pytest.mark.parametrize("number", upstream_pb2.Endpoint.State.values())
def test_every_state_is_known(number: int) -> None:
    (endpoint,) = compiled(endpoints=[{"address": "a:1", "state": number}]).endpoints
    name = upstream_pb2.Endpoint.State.Name(upstream_pb2.Endpoint.State.ValueType(number))
    assert f"STATE_{endpoint.state.name}" == (name if number else "STATE_ACTIVE")


@pytest.mark.parametrize("number", upstream_pb2.LoadBalancing.Policy.values())
def test_every_policy_is_known(number: int) -> None:
    hashing = number in (upstream_pb2.LoadBalancing.POLICY_RING_HASH, upstream_pb2.LoadBalancing.POLICY_MAGLEV)
    fields = {"policy": number, **({"hash_policy": [{"consumer": True}]} if hashing else {})}
    balancing = compiled(endpoints=[{"address": "a:1"}], load_balancing=fields).balancing.policy
    name = upstream_pb2.LoadBalancing.Policy.Name(upstream_pb2.LoadBalancing.Policy.ValueType(number))
    assert f"POLICY_{balancing.name}" == (name if number else "POLICY_ROUND_ROBIN")


A = [{"address": "a:1"}]


def test_hash_policies_and_thresholds() -> None:
    keys = [{"header": "X-Id"}, {"cookie": "sid"}, {"consumer": True}, {"source_ip": True}, {"prompt_prefix_bytes": 7}]
    load_balancing = {
        "policy": "POLICY_RING_HASH",
        "hash_policy": keys,
        "healthy_panic_threshold": 0,
        "overprovisioning_factor": 2,
    }
    assert compiled(endpoints=A, load_balancing=load_balancing).balancing == BalancingConfig(
        policy=BalancingPolicy.RING_HASH,
        hash_policies=(HashHeader(b"x-id"), HashCookie("sid"), HashConsumer(), HashSourceIp(), HashPromptPrefix(7)),
        panic_threshold=0,
        overprovisioning_factor=2,
    )


def test_prefix_affinity_looks_at_the_prompt_unless_told_otherwise() -> None:
    balancing = compiled(endpoints=A, load_balancing={"policy": "POLICY_PREFIX_AFFINITY"}).balancing
    assert balancing.hash_policies == (HashPromptPrefix(1024),)


def test_slow_start() -> None:
    def slow_start(**fields: Any) -> SlowStartConfig | None:
        return compiled(endpoints=A, load_balancing={"slow_start": fields}).balancing.slow_start

    assert slow_start(window="30s") == SlowStartConfig(window_s=30.0, aggression=1.0, min_weight_percent=10.0)
    assert slow_start(window="3s", aggression=2, min_weight_percent=0) == SlowStartConfig(
        window_s=3.0, aggression=2.0, min_weight_percent=0.0
    )


@pytest.mark.parametrize(
    ("check", "probe", "protocol"),
    [
        ({"grpc": {"service_name": "s"}}, GrpcProbe(service_name="s"), "PROTOCOL_GRPC"),
        ({"tcp": {}}, TcpProbe(), "PROTOCOL_HTTP1"),
        ({"open_inference": {"model": "m"}}, OpenInferenceProbe(model="m"), "PROTOCOL_GRPC"),
        ({"open_inference": {}}, OpenInferenceProbe(model=None), "PROTOCOL_HTTP1"),
    ],
)
def test_probes(check: dict[str, Any], probe: object, protocol: str) -> None:
    (found,) = compiled(endpoints=A, protocol=protocol, health_checks=[check]).health_checks
    assert found.probe == probe


def test_outlier_detection() -> None:
    assert compiled(endpoints=A).outlier_detection is None
    assert compiled(endpoints=A, outlier_detection={}).outlier_detection == OutlierConfig()
    detection = {
        "consecutive_5xx": 0,
        "consecutive_gateway_failure": 1,
        "consecutive_local_origin_failure": 2,
        "interval": "1s",
        "base_ejection_time": "400s",
        "max_ejection_percent": 100,
        "success_rate": {"minimum_hosts": 3, "request_volume": 10, "stdev_factor": 2.5},
    }
    assert compiled(endpoints=A, outlier_detection=detection).outlier_detection == OutlierConfig(
        consecutive_5xx=0,
        consecutive_gateway_failure=1,
        consecutive_local_origin_failure=2,
        interval_s=1.0,
        base_ejection_time_s=400.0,
        max_ejection_time_s=400.0,
        max_ejection_percent=100.0,
        enforcing_success_rate=True,
        success_rate_minimum_hosts=3,
        success_rate_request_volume=10,
        success_rate_stdev_factor=2.5,
    )


def test_circuit_breakers() -> None:
    assert compiled(endpoints=A).circuit_breakers == BreakerConfig()
    breakers = {"max_connections": 1, "max_requests": 2, "max_pending_requests": 0, "max_retries": 0}
    assert compiled(
        endpoints=A, circuit_breakers={**breakers, "queue_timeout": "2s"}
    ).circuit_breakers == BreakerConfig(
        max_connections=1, max_requests=2, max_pending_requests=0, max_retries=0, queue_timeout_s=2.0
    )
    budget = {"retry_budget": {"budget_percent": 50}}
    assert compiled(endpoints=A, circuit_breakers=budget).circuit_breakers.retry_budget == RetryBudgetConfig(
        budget_percent=50.0, min_retry_concurrency=3
    )


def test_tls() -> None:
    tls = {"ca": {"file": "/ca.pem"}, "client_certificate": {"secret": "cert"}, "server_name": "box"}
    upstream = compiled(endpoints=A, tls=tls)
    assert upstream.tls == TlsConfig(ca_pem="PEM", client_secret="cert", server_name="box")
    assert upstream.endpoints[0].url == "https://a:1"
    unverified = compiled(endpoints=A, tls={"insecure_skip_verify": True}).tls
    assert unverified == TlsConfig(verify=False)


def test_certificates_that_cannot_be_read() -> None:
    with pytest.raises(FileUnreadableError, match=r"file /gone\.pem: no such file") as caught:
        compiled(endpoints=A, tls={"ca": {"file": "/gone.pem"}})
    assert caught.value.field == "tls.ca.file"


def test_other_settings() -> None:
    upstream = compiled(
        endpoints=[{"address": "a:1", "priority": 3}],
        protocol="PROTOCOL_GRPC",
        dns={},
        connection_pool={"max_connections_per_endpoint": 9},
    )
    assert upstream.endpoints[0].priority == 3
    assert upstream.protocol is UpstreamProtocol.GRPC
    assert upstream.dns_refresh_s == 30.0
    assert upstream.max_connections_per_endpoint == 9
