"""Metrics of endpoints and circuit breakers, as they are when asked: what has vanished leaves no gauge behind."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class EndpointView(Protocol):
    """What is shown of one endpoint."""

    @property
    def upstream(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def healthy(self) -> bool: ...
    @property
    def ejections(self) -> int: ...


class BreakerView(Protocol):
    """What is shown of one bound of a circuit breaker."""

    @property
    def upstream(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def is_open(self) -> bool: ...


class UpstreamCollector(Collector):
    """Shows the endpoints and breakers of all upstreams."""

    def __init__(
        self, endpoints: Callable[[], Iterable[EndpointView]], breakers: Callable[[], Iterable[BreakerView]]
    ) -> None:
        self._endpoints = endpoints
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        """One sample per endpoint, or per bound."""
        labels = ("upstream", "endpoint")
        healthy = GaugeMetricFamily(
            "janua_endpoint_healthy", "Whether requests are sent to the endpoint.", labels=labels
        )
        ejections = CounterMetricFamily(
            "janua_endpoint_ejections", "Times that outlier detection has ejected the endpoint.", labels=labels
        )
        for endpoint in self._endpoints():
            names = (endpoint.upstream, endpoint.address)
            healthy.add_metric(names, float(endpoint.healthy))
            ejections.add_metric(names, float(endpoint.ejections))
        yield healthy
        yield ejections
        is_open = GaugeMetricFamily(
            "janua_circuit_open", "Whether a circuit breaker refuses or queues.", labels=("upstream", "kind")
        )
        for breaker in self._breakers():
            is_open.add_metric((breaker.upstream, breaker.kind), float(breaker.is_open))
        yield is_open
