"""The node's metrics, on a registry of their own. Names are public: dashboards and alerts are built on them."""

from functools import cache

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from gateway.telemetry.counters import Count, CounterFamily, Distribution, HistogramFamily
from gateway.types import Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
# Those of OpenTelemetry's conventions for generative AI.
_TOKENS = tuple(4**power for power in range(14))
_REQUEST_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class Metrics:
    """Counts what happens. One per node; label combinations are looked up once and then kept bound."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("route", "service", "status")
        self._requests = CounterFamily(
            "janua_requests", "Requests answered, by HTTP or gRPC status.", labels, registry=self.registry
        )
        self._duration = HistogramFamily(
            "janua_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("route",),
            registry=self.registry,
            bounds=_SECONDS,
        )
        self._overhead = HistogramFamily(
            "janua_overhead_seconds",
            "Janua's own part of the time to the first content: all of it but waiting for the backend.",
            ("route",),
            registry=self.registry,
            bounds=_OVERHEAD_SECONDS,
        )
        self._first_token = HistogramFamily(
            "gen_ai_server_time_to_first_token_seconds",
            "Time from a streamed request's arrival to its first content.",
            ("route",),
            registry=self.registry,
            bounds=_SECONDS,
        )
        operation = ("route", "gen_ai_operation_name")
        self._inference_duration = HistogramFamily(
            "gen_ai_server_request_duration_seconds",
            "Time from the arrival of a request to a model to the end of its answer.",
            operation,
            registry=self.registry,
            bounds=_REQUEST_SECONDS,
        )
        self._output_token = HistogramFamily(
            "gen_ai_server_time_per_output_token_seconds",
            "Time between the tokens of a streamed answer, after the first.",
            operation,
            registry=self.registry,
            bounds=_TOKEN_SECONDS,
        )
        self._token_usage = HistogramFamily(
            "gen_ai_client_token_usage",
            "Tokens of a request, as backends report them.",
            ("service", "gen_ai_operation_name", "gen_ai_token_type"),
            registry=self.registry,
            bounds=_TOKENS,
        )
        self._cost = CounterFamily(
            "janua_cost_usd",
            "What answered requests have cost, in US dollars. Of services with prices.",
            ("service", "model"),
            registry=self.registry,
        )
        self._unknown_cost = CounterFamily(
            "janua_cost_unknown",
            "Answered requests whose cost is not known: NO_PRICE of the model, or NO_USAGE told by the backend.",
            ("service", "model", "reason"),
            registry=self.registry,
        )
        self._attempts = CounterFamily(
            "janua_upstream_attempts", "Attempts on endpoints.", ("upstream", "result"), registry=self.registry
        )
        self._tokens = CounterFamily(
            "janua_tokens", "Tokens, as backends report them.", ("service", "kind"), registry=self.registry
        )
        self._search_units = CounterFamily(
            "janua_search_units", "Units that ranking is charged by.", ("service",), registry=self.registry
        )
        self._limits = CounterFamily(
            "janua_ratelimit",
            "Requests by what limits said: allowed, limited; without the shared store unchecked or denied.",
            ("policy", "result"),
            registry=self.registry,
        )
        self._budgets = CounterFamily(
            "janua_budget",
            "Requests by what budgets said: allowed, warned, limited; unchecked without the shared store.",
            ("policy", "result"),
            registry=self.registry,
        )
        self._store_failures = CounterFamily(
            "janua_shared_store_failures",
            "Calls of the shared store that failed, those not tried because it had just failed included.",
            ("operation",),
            registry=self.registry,
        )
        self._cache = CounterFamily(
            "janua_cache",
            "Requests of routes with a cache: hit, miss, coalesced with a call in flight, or bypass.",
            ("result",),
            registry=self.registry,
        )
        self._semantic_cache = CounterFamily(
            "janua_semantic_cache",
            "Searches for kept answers by meaning: hit, miss, or failed for want of a vector.",
            ("result",),
            registry=self.registry,
        )
        self.cache_bytes = Gauge("janua_cache_bytes", "Memory that kept answers take.", registry=self.registry)
        self.cache_entries = Gauge("janua_cache_entries", "Answers that are kept.", registry=self.registry)
        self._guardrail = CounterFamily(
            "janua_guardrail",
            "What guardrails have found in requests and answers, and what became of it.",
            ("policy", "rule", "action"),
            registry=self.registry,
        )
        self.config_revision = Gauge(
            "janua_config_revision", "Revision of the configuration in use.", registry=self.registry
        )
        self.config_rejected = Gauge(
            "janua_config_rejected_resources", "Resources that this node refuses at present.", registry=self.registry
        )
        self.xds_connected = Gauge(
            "janua_xds_connected", "Whether the node is connected to a config server.", registry=self.registry
        )
        self.active_requests = Gauge("janua_active_requests", "Requests in flight.", registry=self.registry)
        # Looking labels up costs more than counting: combinations are few, so each is looked up once.
        self._attempt_of = cache(self._attempts.labels)
        self._request_of = cache(self._bind_request)
        self._token_of = cache(self._tokens.labels)
        self._first_token_of = cache(self._first_token.labels)
        self._inference_duration_of = cache(self._inference_duration.labels)
        self._output_token_of = cache(self._output_token.labels)
        self._token_usage_of = cache(self._bind_token_usage)
        self._cost_of = cache(self._cost.labels)
        self._limit_of = cache(self._limits.labels)
        self._budget_of = cache(self._budgets.labels)
        self._guardrail_of = cache(self._guardrail.labels)

    def _bind_request(self, route: str, service: str, status: str) -> tuple[Count, Distribution, Distribution]:
        return self._requests.labels(route, service, status), self._duration.labels(route), self._overhead.labels(route)

    def _bind_token_usage(self, service: str, operation: str) -> tuple[Distribution, Distribution]:
        labels = self._token_usage.labels
        return labels(service, operation, "input"), labels(service, operation, "output")

    def attempt(self, upstream: str, result: str) -> None:
        """Counts an attempt on an endpoint."""
        self._attempt_of(upstream, result).inc()

    def request(self, route: str, service: str, status: str, *, seconds: float, overhead_seconds: float) -> None:
        """Counts a request that has ended."""
        count, duration, overhead = self._request_of(route, service, status)
        count.inc()
        duration.observe(seconds)
        overhead.observe(overhead_seconds)

    def first_token(self, route: str, seconds: float) -> None:
        """Counts the wait for the first content of a stream."""
        self._first_token_of(route).observe(seconds)

    def inference(self, route: str, operation: str, seconds: float) -> None:
        """Counts a request to a model that has been answered."""
        self._inference_duration_of(route, operation).observe(seconds)

    def output_tokens(self, route: str, operation: str, seconds: float, tokens: int) -> None:
        """Counts how long a stream took after its first content, for so many tokens in all."""
        if tokens > 1:
            self._output_token_of(route, operation).observe(seconds / (tokens - 1))

    def tokens(self, service: str, operation: str, usage: Usage) -> None:
        """Counts the tokens of a request."""
        read, written = self._token_usage_of(service, operation)
        read.observe(usage.input_tokens)
        written.observe(usage.output_tokens)
        self._token_of(service, "input").inc(usage.input_tokens)
        self._token_of(service, "output").inc(usage.output_tokens)
        if usage.cached_input_tokens:
            self._token_of(service, "cached_input").inc(usage.cached_input_tokens)
        if usage.reasoning_tokens:
            self._token_of(service, "reasoning").inc(usage.reasoning_tokens)
        if usage.search_units:
            self._search_units.labels(service).inc(usage.search_units)

    def cost(self, service: str, model: str, usd: float) -> None:
        """Counts what a request has cost. The number of models must be bounded by the configuration."""
        self._cost_of(service, model).inc(usd)

    def limit(self, policy: str, result: str, *, is_budget: bool) -> None:
        """Counts a request that a limit or budget has looked at."""
        (self._budget_of if is_budget else self._limit_of)(policy, result).inc()

    def store_failure(self, operation: str) -> None:
        """Counts a call of the shared store that failed."""
        self._store_failures.labels(operation).inc()

    def unknown_cost(self, service: str, model: str, reason: str) -> None:
        """Counts a request whose cost is not known."""
        self._unknown_cost.labels(service, model, reason).inc()

    def cache(self, result: str) -> None:
        """Counts what a cache did for a request."""
        self._cache.labels(result).inc()

    def semantic_cache(self, result: str) -> None:
        """Counts a search for a kept answer by meaning."""
        self._semantic_cache.labels(result).inc()

    def guardrail(self, policy: str, rule: str, action: str) -> None:
        """Counts what a rule of a guardrail has found."""
        self._guardrail_of(policy, rule, action).inc()

    def render(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
