"""A pool in Janua's words: upstream, service and route, as a configuration file has them."""

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.fault_endpoint import MODEL
from tests.benchmarks.pool import (
    CONNECT_S,
    KEY_HEADER,
    LEAST_RETRIES,
    REQUEST_S,
    RETRIES,
    RETRY_BUDGET_PERCENT,
    Checks,
    Outliers,
    Pool,
)

_RETRY = {
    "num_retries": RETRIES,
    "retry_on": ["CONNECT_FAILURE", "RESET", "GATEWAY_ERROR", "TIMEOUT"],
    "retry_back_off": {"base_interval": "25ms", "max_interval": "250ms"},
}


def janua_resources(pool: Pool, *, name: str = "pool", model: str = MODEL) -> dict[str, list[dict[str, Any]]]:
    """The resources that serve `model` from the pool, all of that name."""
    service = {
        "name": name,
        "upstream_service": {"upstream": name, "schema": "OPENAI"},
        "retry_policy": {**_RETRY, **_time_limit(pool)},
        "timeouts": {"request": f"{REQUEST_S}s", "connect": f"{CONNECT_S}s"},
    }
    return {
        "upstreams": [_upstream(pool, name)],
        "services": [service],
        "routes": [{"name": name, "match": {"models": [model]}, "backends": [{"service": name}]}],
    }


def _time_limit(pool: Pool) -> Mapping[str, str]:
    return {} if pool.per_try_s is None else {"per_try_timeout": f"{pool.per_try_s}s"}


def _upstream(pool: Pool, name: str) -> dict[str, Any]:
    budget = {"budget_percent": RETRY_BUDGET_PERCENT, "min_retry_concurrency": LEAST_RETRIES}
    balancing: dict[str, Any] = {"policy": pool.policy}
    if pool.wants_key:
        balancing["hash_policy"] = [{"header": KEY_HEADER}]
    return {
        "name": name,
        "endpoints": [{"address": address, "weight": weight} for address, weight in pool.members],
        "load_balancing": balancing,
        "circuit_breakers": {"retry_budget": budget},
        **({"health_checks": [_checks(pool.checks)]} if pool.checks else {}),
        **({"outlier_detection": _outliers(pool.outliers)} if pool.outliers else {}),
    }


def _checks(checks: Checks) -> Mapping[str, Any]:
    return {
        "http": {"path": "/health"},
        "interval": f"{checks.interval_s}s",
        "timeout": f"{checks.timeout_s}s",
        "jitter": "0s",
        "unhealthy_threshold": checks.unhealthy_threshold,
        "healthy_threshold": checks.healthy_threshold,
    }


def _outliers(outliers: Outliers) -> Mapping[str, Any]:
    return {
        "consecutive_5xx": outliers.consecutive,
        "consecutive_gateway_failure": outliers.consecutive,
        "consecutive_local_origin_failure": outliers.consecutive,
        "interval": f"{outliers.interval_s}s",
        "base_ejection_time": f"{outliers.base_ejection_s}s",
        "max_ejection_percent": outliers.max_ejection_percent,
    }
