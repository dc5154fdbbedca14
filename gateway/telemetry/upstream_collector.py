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


class CredentialView(Protocol):
    """What is shown of one credential of a pool: the name of its secret, never its value."""

    @property
    def upstream(self) -> str: ...
    @property
    def secret(self) -> str: ...
    @property
    def is_fresh(self) -> bool: ...
    @property
    def refusals(self) -> int: ...


class UpstreamCollector(Collector):
    """Shows the endpoints, breakers and credentials of all upstreams."""

    def __init__(
        self,
        endpoints: Callable[[], Iterable[EndpointView]],
        breakers: Callable[[], Iterable[BreakerView]],
        credentials: Callable[[], Iterable[CredentialView]] = tuple,
    ) -> None:
        self._endpoints = endpoints
        self._breakers = breakers
        self._credentials = credentials

    def collect(self) -> Iterator[Metric]:
        """One sample per endpoint, per bound, or per credential."""
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
        yield from self._of_credentials()

    def _of_credentials(self) -> Iterator[Metric]:
        labels = ("upstream", "secret")
        fresh = GaugeMetricFamily(
            "janua_credential_fresh", "Whether the credential is used, and not left alone.", labels=labels
        )
        refusals = CounterMetricFamily(
            "janua_credential_refusals", "Times that the provider has refused the credential.", labels=labels
        )
        for credential in self._credentials():
            names = (credential.upstream, credential.secret)
            fresh.add_metric(names, float(credential.is_fresh))
            refusals.add_metric(names, float(credential.refusals))
        yield fresh
        yield refusals
