"""Counters and histograms for what is counted on every request. They cost a fraction of prometheus_client's own, which
lock for threads: these belong to the event loop, and are read from nowhere else."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """The count of one combination of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Counts so many."""
        self.value += amount


class CounterFamily(Collector):
    """A counter with labels. `name` is without `_total`."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._name, self._help, self._label_names = name, help_text, labels
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The count of these values, from 0."""
        found = self._counts.get(values)
        return self._counts.setdefault(values, Count()) if found is None else found

    def collect(self) -> Iterator[Metric]:
        """All counts."""
        family = CounterMetricFamily(self._name, self._help, labels=self._label_names)
        for values, count in self._counts.items():
            family.add_metric(values, count.value)
        yield family


class Distribution:
    """The histogram of one combination of labels. `bounds` are the upper ones of all buckets but the last."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """Counts one amount."""
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.total += amount


class HistogramFamily(Collector):
    """A histogram with labels."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._help, self._label_names = name, help_text, labels
        self._bounds = bounds
        self._bound_texts = [*map(floatToGoString, bounds), "+Inf"]
        self._distributions: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def labels(self, *values: str) -> Distribution:
        """The histogram of these values, empty at first."""
        found = self._distributions.get(values)
        if found is None:
            found = self._distributions[values] = Distribution(self._bounds)
        return found

    def collect(self) -> Iterator[Metric]:
        """All histograms."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._label_names)
        for values, distribution in self._distributions.items():
            seen = 0
            buckets = []
            for text, count in zip(self._bound_texts, distribution.counts, strict=True):
                seen += count
                buckets.append((text, float(seen)))
            family.add_metric(values, buckets, sum_value=distribution.total)
        yield family
