"""`Upstream` messages to values."""

from janua.config.v1 import upstream_pb2
from janua_resources.addresses import parse_address

from gateway.compile.durations import optional_seconds, seconds
from gateway.config.snapshot import (
    BalancingPolicy,
    EndpointConfig,
    EndpointState,
    HttpHealthCheck,
    UpstreamConfig,
)

_STATES = {
    upstream_pb2.Endpoint.STATE_UNSPECIFIED: EndpointState.ACTIVE,
    upstream_pb2.Endpoint.STATE_ACTIVE: EndpointState.ACTIVE,
    upstream_pb2.Endpoint.STATE_DRAINING: EndpointState.DRAINING,
    upstream_pb2.Endpoint.STATE_DISABLED: EndpointState.DISABLED,
}
_POLICIES = {
    upstream_pb2.LoadBalancing.POLICY_UNSPECIFIED: BalancingPolicy.ROUND_ROBIN,
    upstream_pb2.LoadBalancing.POLICY_ROUND_ROBIN: BalancingPolicy.ROUND_ROBIN,
    upstream_pb2.LoadBalancing.POLICY_LEAST_REQUEST: BalancingPolicy.LEAST_REQUEST,
}
_SUCCESS = ((200, 299),)


def compile_upstream(message: upstream_pb2.Upstream) -> UpstreamConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with."""
    balancing = message.load_balancing
    choice_count = balancing.least_request.choice_count if balancing.least_request.HasField("choice_count") else 2
    return UpstreamConfig(
        name=message.name,
        endpoints=tuple(_endpoint(endpoint) for endpoint in message.endpoints),
        connect_timeout_s=seconds(message.connection_pool, "connect_timeout", 2.0),
        idle_timeout_s=seconds(message.connection_pool, "idle_timeout", 60.0),
        balancing=_POLICIES[balancing.policy],
        choice_count=choice_count,
        health_checks=tuple(_health_check(check) for check in message.health_checks),
    )


def _endpoint(message: upstream_pb2.Endpoint) -> EndpointConfig:
    return EndpointConfig(
        address=message.address,
        url=str(parse_address(message.address)),
        weight=message.weight if message.HasField("weight") else 1,
        state=_STATES[message.state],
    )


def _health_check(message: upstream_pb2.HealthCheck) -> HttpHealthCheck:
    interval = seconds(message, "interval", 5.0)
    jitter = optional_seconds(message, "jitter")
    return HttpHealthCheck(
        path=message.http.path,
        statuses=tuple((status.start, status.end) for status in message.http.expected_statuses) or _SUCCESS,
        host=message.http.host or None,
        method=message.http.method or "GET",
        interval_s=interval,
        unhealthy_interval_s=seconds(message, "unhealthy_interval", interval),
        timeout_s=seconds(message, "timeout", 1.0),
        jitter_s=interval / 10 if jitter is None else jitter,
        unhealthy_threshold=message.unhealthy_threshold if message.HasField("unhealthy_threshold") else 2,
        healthy_threshold=message.healthy_threshold if message.HasField("healthy_threshold") else 1,
    )
