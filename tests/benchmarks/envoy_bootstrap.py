"""A pool in Envoy's words: a bootstrap with one listener, one route and one cluster. What Envoy would do beyond what
Janua can is turned off, and what the two count differently is set to the same."""

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.pool import (
    CONNECT_S,
    KEY_HEADER,
    LEAST_RETRIES,
    REQUEST_S,
    RETRIES,
    RETRY_BUDGET_PERCENT,
    RING_POINTS,
    Checks,
    Outliers,
    Pool,
)

_TYPE = "type.googleapis.com/envoy.extensions"
# Never the same endpoint twice while there is another.
_OTHER_HOST = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {"@type": f"{_TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
}


def envoy_bootstrap(pool: Pool) -> dict[str, Any]:
    """Listener and admin are on loopback, on free ports."""
    return {
        "node": {"id": "beside", "cluster": "beside"},
        "admin": {"address": _socket_address("127.0.0.1:0")},
        "static_resources": {"listeners": [_listener(pool)], "clusters": [_cluster(pool)]},
    }


def _listener(pool: Pool) -> Mapping[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
    }
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "beside",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": _route(pool)}]}
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "http", "address": _socket_address("127.0.0.1:0"), "filter_chains": [{"filters": filters}]}


def _route(pool: Pool) -> Mapping[str, Any]:
    retry = {
        # A try that times out is a gateway error to Envoy.
        "retry_on": "connect-failure,reset,gateway-error",
        "num_retries": RETRIES,
        **({"per_try_timeout": f"{pool.per_try_s}s"} if pool.per_try_s is not None else {}),
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [_OTHER_HOST],
        "host_selection_retry_max_attempts": 5,
    }
    keyed = {"hash_policy": [{"header": {"header_name": KEY_HEADER}}]} if pool.wants_key else {}
    return {"cluster": "pool", "timeout": f"{REQUEST_S}s", "retry_policy": retry, **keyed}


def _cluster(pool: Pool) -> Mapping[str, Any]:
    endpoints = [
        {"endpoint": {"address": _socket_address(address)}, "load_balancing_weight": weight}
        for address, weight in pool.members
    ]
    budget = {"budget_percent": {"value": RETRY_BUDGET_PERCENT}, "min_retry_concurrency": LEAST_RETRIES}
    return {
        "name": "pool",
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_S}s",
        "lb_policy": pool.policy,
        **(_ring(pool) if pool.policy == "RING_HASH" else {}),
        "load_assignment": {"cluster_name": "pool", "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [{"retry_budget": budget}]},
        **({"health_checks": [_checks(pool.checks)]} if pool.checks else {}),
        **({"outlier_detection": _outliers(pool.outliers)} if pool.outliers else {}),
    }


def _ring(pool: Pool) -> Mapping[str, Any]:
    points = RING_POINTS * sum(weight for _, weight in pool.members)
    return {"ring_hash_lb_config": {"minimum_ring_size": points}}


def _checks(checks: Checks) -> Mapping[str, Any]:
    interval = f"{checks.interval_s}s"
    return {
        "http_health_check": {"path": "/health"},
        "interval": interval,
        "no_traffic_interval": interval,
        "timeout": f"{checks.timeout_s}s",
        "unhealthy_threshold": checks.unhealthy_threshold,
        "healthy_threshold": checks.healthy_threshold,
    }


def _outliers(outliers: Outliers) -> Mapping[str, Any]:
    return {
        "consecutive_5xx": outliers.consecutive,
        "consecutive_gateway_failure": outliers.consecutive,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_success_rate": 0,
        "interval": f"{outliers.interval_s}s",
        "base_ejection_time": f"{outliers.base_ejection_s}s",
        "max_ejection_percent": outliers.max_ejection_percent,
        "always_eject_one_host": True,
    }


def _socket_address(address: str) -> Mapping[str, Any]:
    host, port = address.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}
