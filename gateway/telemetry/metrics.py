"""The node's metrics, on a registry of their own. Names are public: dashboards and alerts are built on them."""

from functools import cache

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from gateway.telemetry.counters import Count, CounterFamily, Distribution, HistogramFamily
from gateway.types import Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
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
        self._attempts = CounterFamily(
            "janua_upstream_attempts", "Attempts on endpoints.", ("upstream", "result"), registry=self.registry
        )
        self._tokens = CounterFamily(
            "janua_tokens", "Tokens, as backends report them.", ("service", "kind"), registry=self.registry
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

    def _bind_request(self, route: str, service: str, status: str) -> tuple[Count, Distribution, Distribution]:
        return self._requests.labels(route, service, status), self._duration.labels(route), self._overhead.labels(route)

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

    def tokens(self, service: str, usage: Usage) -> None:
        """Counts the tokens of a request."""
        self._token_of(service, "input").inc(usage.input_tokens)
        self._token_of(service, "output").inc(usage.output_tokens)
        if usage.cached_input_tokens:
            self._token_of(service, "cached_input").inc(usage.cached_input_tokens)
        if usage.reasoning_tokens:
            self._token_of(service, "reasoning").inc(usage.reasoning_tokens)

    def render(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
