"""One page of metrics out of several."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.merged_metrics import MergedMetrics


def page(requests: int) -> str:
    registry = CollectorRegistry()
    Counter("requests", "All.", ["route"], registry=registry).labels('r"\n\\').inc(requests)
    Histogram("seconds", "How long.", registry=registry, buckets=(1.0,)).observe(0.5)
    return generate_latest(registry).decode()


def test_every_sample_is_kept_with_its_worker() -> None:
    merged = MergedMetrics({0: page(1), 1: page(2), 2: None}).render().decode()
    families = {family.name: family for family in text_string_to_metric_families(merged)}
    totals = [
        (sample.labels, sample.value) for sample in families["requests"].samples if sample.name == "requests_total"
    ]
    assert totals == [({"route": 'r"\n\\', "worker": "0"}, 1.0), ({"route": 'r"\n\\', "worker": "1"}, 2.0)]
    assert families["seconds"].type == "histogram"
    assert families["requests"].documentation == "All."
    counts = [sample.value for sample in families["seconds"].samples if sample.name == "seconds_count"]
    assert counts == [1.0, 1.0]
    up = {sample.labels["worker"]: sample.value for sample in families["janua_worker_up"].samples}
    assert up == {"0": 1.0, "1": 1.0, "2": 0.0}


def test_each_family_is_told_once() -> None:
    merged = MergedMetrics({0: page(1), 1: page(1)}).render().decode()
    assert merged.count("# TYPE requests_total counter") == 1
