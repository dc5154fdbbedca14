"""What the config server counts, for Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from janua_resources.kinds import KINDS
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from config_server.node_record import NodeRecord

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Clients may ask for any type, and each new label would be kept for ever.
_LABELS: Final[Mapping[str, str]] = {info.type_url: info.type_url.rpartition(".")[2] for info in KINDS}
_OTHER_TYPE: Final = "other"

READY, CONNECTED, DRAINING, DISCONNECTED = "ready", "connected", "draining", "disconnected"


class Metrics:
    """One per server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._pushes = Counter(
            "janua_xds_pushes", "Discovery responses sent, by resource type.", ["type"], registry=self._registry
        )
        self._nacks = Counter(
            "janua_xds_nacks", "Discovery responses that nodes refused.", ["type"], registry=self._registry
        )
        self.push_seconds = Histogram(
            "janua_xds_push_seconds",
            "Time from when a stream may send a change until it has sent all of it.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.apply_seconds = Histogram(
            "janua_apply_seconds",
            "Time of an Apply, with its wait for others.",
            buckets=_SECONDS,
            registry=self._registry,
        )

    def pushed(self, type_url: str) -> None:
        self._pushes.labels(_LABELS.get(type_url, _OTHER_TYPE)).inc()

    def refused(self, type_url: str) -> None:
        self._nacks.labels(_LABELS.get(type_url, _OTHER_TYPE)).inc()

    def watch(
        self, *, streams: Callable[[], int], nodes: Callable[[], Iterable[NodeRecord]], revision: Callable[[], int]
    ) -> None:
        """Shows these too, as they are when somebody asks."""
        self._registry.register(_State(streams, nodes, revision))

    def render(self) -> bytes:
        """The text form of Prometheus."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(
        self, streams: Callable[[], int], nodes: Callable[[], Iterable[NodeRecord]], revision: Callable[[], int]
    ) -> None:
        self._streams = streams
        self._nodes = nodes
        self._revision = revision

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("janua_xds_streams", "Discovery streams that are open here.", self._streams())
        yield GaugeMetricFamily("janua_config_revision", "The newest revision.", self._revision())
        counts = dict.fromkeys((READY, CONNECTED, DRAINING, DISCONNECTED), 0)
        for node in self._nodes():
            counts[state_of(node)] += 1
        family = GaugeMetricFamily("janua_nodes", "Nodes of the fleet, by state.", labels=["state"])
        for state, count in counts.items():
            family.add_metric([state], count)
        yield family


def state_of(node: NodeRecord) -> str:
    """Connected is one that has not said that it takes requests: a node in its first sync, or a client of another kind,
    which never says anything of itself."""
    if not node.is_connected:
        return DISCONNECTED
    if node.status is None or not (node.status.ready or node.status.draining):
        return CONNECTED
    return DRAINING if node.status.draining else READY
