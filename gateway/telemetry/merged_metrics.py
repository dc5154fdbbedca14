"""One page of metrics out of those of all workers."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class MergedMetrics(Collector):
    """The pages of several workers, by worker, as one: each sample with the label `worker`. None: it gave no page."""

    def __init__(self, pages: Mapping[int, str | None]) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("janua_worker_up", "Whether the worker answers.", labels=["worker"])
        merged: dict[str, Metric] = {}
        for worker, page in self._pages.items():
            up.add_metric([str(worker)], float(page is not None))
            _merge(merged, worker, text_string_to_metric_families(page or ""))
        yield up
        yield from merged.values()

    def render(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self)


def _merge(merged: dict[str, Metric], worker: int, families: Iterable[Metric]) -> None:
    for family in families:
        into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        into.samples.extend(
            sample._replace(labels={"worker": str(worker), **sample.labels}) for sample in family.samples
        )
