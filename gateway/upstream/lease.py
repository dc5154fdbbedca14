"""What one attempt holds while it runs: a place at its endpoint and one in its upstream's circuit breaker."""

from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.outlier_detection import Outcome


class Lease:
    """Counts an attempt from its beginning to the end of its answer. Must be closed once; more does no harm."""

    __slots__ = ("_is_open", "cluster", "endpoint")

    def __init__(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """Takes over a place in the breaker that has been acquired."""
        self.cluster = cluster
        self.endpoint = endpoint
        self._is_open = True
        endpoint.active_requests += 1

    def close(self) -> None:
        """Gives back what it holds."""
        if self._is_open:
            self._is_open = False
            self.endpoint.active_requests -= 1
            self.cluster.breaker.release()

    def broke(self) -> None:
        """Notes that the endpoint failed after its answer had begun."""
        self.cluster.outliers.record(self.endpoint, Outcome.LOCAL_ORIGIN_FAILURE)
