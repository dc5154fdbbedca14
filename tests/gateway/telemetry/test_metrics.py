"""Metrics: the public names, and that each counts what it says."""

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import Metrics
from gateway.telemetry.upstream_collector import UpstreamCollector
from gateway.types import Usage


def scraped(metrics: Metrics) -> list[tuple[str, dict[str, str], float]]:
    """All samples as they are scraped: name, labels, value."""
    families = text_string_to_metric_families(metrics.render().decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The sample of that name and those labels; None if there is none."""
    return next((each for found, of, each in scraped(metrics) if (found, of) == (name, labels)), None)


@dataclass(frozen=True, slots=True)
class Health:
    """An endpoint as the gauge sees it."""

    upstream: str
    address: str
    healthy: bool
    ejections: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of a circuit breaker as the gauge sees it."""

    upstream: str
    kind: str
    is_open: bool


def test_public_names() -> None:
    metrics = Metrics()
    metrics.registry.register(UpstreamCollector(list, list))
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert names == {
        "janua_requests",
        "janua_ratelimit",
        "janua_budget",
        "janua_guardrail",
        "janua_semantic_cache",
        "janua_shared_store_failures",
        "janua_request_duration_seconds",
        "janua_overhead_seconds",
        "janua_upstream_attempts",
        "janua_endpoint_healthy",
        "janua_endpoint_ejections",
        "janua_circuit_open",
        "janua_credential_fresh",
        "janua_credential_refusals",
        "janua_tokens",
        "janua_search_units",
        "janua_cache",
        "janua_cache_bytes",
        "janua_cache_entries",
        "janua_config_revision",
        "janua_config_rejected_resources",
        "janua_xds_connected",
        "janua_active_requests",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_per_output_token_seconds",
        "gen_ai_client_token_usage",
        "janua_cost_usd",
        "janua_cost_unknown",
    }


def test_request() -> None:
    metrics = Metrics()
    for status in ("200", "200", "503"):
        metrics.request("chat", "llm", status, seconds=2.0, overhead_seconds=0.001)
    assert value(metrics, "janua_requests_total", route="chat", service="llm", status="200") == 2
    assert value(metrics, "janua_requests_total", route="chat", service="llm", status="503") == 1
    assert value(metrics, "janua_request_duration_seconds_count", route="chat") == 3
    assert value(metrics, "janua_request_duration_seconds_sum", route="chat") == 6.0
    assert value(metrics, "janua_request_duration_seconds_bucket", route="chat", le="1.0") == 0
    assert value(metrics, "janua_request_duration_seconds_bucket", route="chat", le="2.5") == 3
    assert value(metrics, "janua_overhead_seconds_sum", route="chat") == pytest.approx(0.003)


def test_attempts_and_first_tokens() -> None:
    metrics = Metrics()
    metrics.attempt("pool", "ok")
    metrics.attempt("pool", "reset")
    metrics.attempt("pool", "ok")
    metrics.first_token("chat", 0.5)
    assert value(metrics, "janua_upstream_attempts_total", upstream="pool", result="ok") == 2
    assert value(metrics, "janua_upstream_attempts_total", upstream="pool", result="reset") == 1
    assert value(metrics, "gen_ai_server_time_to_first_token_seconds_sum", route="chat") == 0.5


def tokens(metrics: Metrics) -> dict[str, float | None]:
    kinds = ("input", "output", "cached_input", "reasoning")
    return {kind: value(metrics, "janua_tokens_total", service="llm", kind=kind) for kind in kinds}


def test_tokens() -> None:
    metrics = Metrics()
    metrics.tokens("llm", "chat", Usage(input_tokens=5, output_tokens=7))
    assert tokens(metrics) == {"input": 5, "output": 7, "cached_input": None, "reasoning": None}
    metrics.tokens("llm", "chat", Usage(input_tokens=5, cached_input_tokens=3, output_tokens=7, reasoning_tokens=2))
    assert tokens(metrics) == {"input": 10, "output": 14, "cached_input": 3, "reasoning": 2}


def test_tokens_of_each_request_are_spread_over_buckets() -> None:
    metrics = Metrics()
    metrics.tokens("llm", "chat", Usage(input_tokens=5, output_tokens=70))
    labels = {"service": "llm", "gen_ai_operation_name": "chat"}
    name = "gen_ai_client_token_usage"
    assert value(metrics, f"{name}_sum", **labels, gen_ai_token_type="input") == 5
    assert value(metrics, f"{name}_bucket", **labels, gen_ai_token_type="output", le="64.0") == 0
    assert value(metrics, f"{name}_bucket", **labels, gen_ai_token_type="output", le="256.0") == 1


def test_answers_of_models_are_timed() -> None:
    metrics = Metrics()
    metrics.inference("chat", "chat", 0.3)
    metrics.output_tokens("chat", "chat", 2.0, 5)
    metrics.output_tokens("chat", "chat", 2.0, 1)  # no token after the first
    labels = {"route": "chat", "gen_ai_operation_name": "chat"}
    assert value(metrics, "gen_ai_server_request_duration_seconds_sum", **labels) == 0.3
    assert value(metrics, "gen_ai_server_time_per_output_token_seconds_sum", **labels) == 0.5
    assert value(metrics, "gen_ai_server_time_per_output_token_seconds_count", **labels) == 1


def test_costs() -> None:
    metrics = Metrics()
    metrics.cost("llm", "m", 0.25)
    metrics.cost("llm", "m", 0.5)
    metrics.unknown_cost("llm", "other", "NO_PRICE")
    assert value(metrics, "janua_cost_usd_total", service="llm", model="m") == 0.75
    assert value(metrics, "janua_cost_unknown_total", service="llm", model="other", reason="NO_PRICE") == 1


def test_search_units() -> None:
    metrics = Metrics()
    metrics.tokens("llm", "rerank", Usage(input_tokens=5))
    assert value(metrics, "janua_search_units_total", service="llm") is None
    metrics.tokens("llm", "rerank", Usage(search_units=2))
    metrics.tokens("llm", "rerank", Usage(search_units=1))
    assert value(metrics, "janua_search_units_total", service="llm") == 3


def test_gauges_start_at_nought() -> None:
    assert {name: each for name, labels, each in scraped(Metrics()) if not labels} == {
        "janua_cache_bytes": 0,
        "janua_cache_entries": 0,
        "janua_config_revision": 0,
        "janua_config_rejected_resources": 0,
        "janua_xds_connected": 0,
        "janua_active_requests": 0,
    }


def test_endpoints_are_shown_as_they_are_and_leave_nothing_behind() -> None:
    metrics = Metrics()
    endpoints = [Health("pool", "a:1", True), Health("pool", "b:1", False, ejections=3)]
    bounds = [Bound("pool", "requests", True), Bound("pool", "retries", False)]
    metrics.registry.register(UpstreamCollector(lambda: endpoints, lambda: bounds))
    assert value(metrics, "janua_endpoint_healthy", upstream="pool", endpoint="a:1") == 1
    assert value(metrics, "janua_endpoint_healthy", upstream="pool", endpoint="b:1") == 0
    assert value(metrics, "janua_endpoint_ejections_total", upstream="pool", endpoint="b:1") == 3
    assert value(metrics, "janua_circuit_open", upstream="pool", kind="requests") == 1
    assert value(metrics, "janua_circuit_open", upstream="pool", kind="retries") == 0
    del endpoints[0]
    assert value(metrics, "janua_endpoint_healthy", upstream="pool", endpoint="a:1") is None


@pytest.mark.parametrize("label", ['a"b\\c\nd', "zwölf 🙂", ""])
def test_any_label_can_be_scraped(label: str) -> None:
    metrics = Metrics()
    metrics.request(label, label, label, seconds=1.0, overhead_seconds=0.0)
    assert value(metrics, "janua_requests_total", route=label, service=label, status=label) == 1


def test_two_nodes_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.attempt("pool", "ok")
    assert value(first, "janua_upstream_attempts_total", upstream="pool", result="ok") == 1
    assert value(second, "janua_upstream_attempts_total", upstream="pool", result="ok") is None
