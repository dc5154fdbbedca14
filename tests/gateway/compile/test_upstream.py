"""`Upstream` messages: every field, and what stands for a field that is not set."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from janua.config.v1 import upstream_pb2
from janua_resources import rules

from gateway.compile.upstream import compile_upstream
from gateway.config.snapshot import (
    BalancingPolicy,
    EndpointConfig,
    EndpointState,
    HttpHealthCheck,
    UpstreamConfig,
)


def compiled(**fields: Any) -> UpstreamConfig:
    message = ParseDict({"name": "u", **fields}, upstream_pb2.Upstream())
    assert rules.check(message) == []
    return compile_upstream(message)


def test_defaults() -> None:
    assert compiled(endpoints=[{"address": "a:1"}], health_checks=[{"http": {"path": "/h"}}]) == UpstreamConfig(
        name="u",
        endpoints=(EndpointConfig(address="a:1", url="http://a:1", weight=1, state=EndpointState.ACTIVE),),
        connect_timeout_s=2.0,
        idle_timeout_s=60.0,
        balancing=BalancingPolicy.ROUND_ROBIN,
        choice_count=2,
        health_checks=(
            HttpHealthCheck(
                path="/h",
                statuses=((200, 299),),
                host=None,
                method="GET",
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
        load_balancing={"policy": "POLICY_LEAST_REQUEST", "least_request": {"choice_count": 5}},
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
        balancing=BalancingPolicy.LEAST_REQUEST,
        choice_count=5,
        health_checks=(
            HttpHealthCheck(
                path="/h?x=1",
                statuses=((200, 204), (404, 404)),
                host="box.example",
                method="HEAD",
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
    balancing = compiled(endpoints=[{"address": "a:1"}], load_balancing={"policy": number}).balancing
    name = upstream_pb2.LoadBalancing.Policy.Name(upstream_pb2.LoadBalancing.Policy.ValueType(number))
    assert f"POLICY_{balancing.name}" == (name if number else "POLICY_ROUND_ROBIN")
