"""What one attempt holds while it runs: a place at its endpoint and one in its upstream's circuit breaker, and the
credential that it uses."""

from yarl import URL

from gateway.config.snapshot import Failure
from gateway.errors import BadGatewayError
from gateway.providers.credential import Credential
from gateway.providers.fetching import NoCredentialError
from gateway.transport.messages import Body, Headers
from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.outlier_detection import Outcome
from gateway.upstream.retry import AttemptFailedError


class Lease:
    """Counts an attempt from its beginning to the end of its answer. Must be closed once; more does no harm."""

    __slots__ = ("_is_open", "cluster", "credential", "endpoint")

    def __init__(self, cluster: Cluster, endpoint: Endpoint, credential: Credential | None = None) -> None:
        """Takes over a place in the breaker that has been acquired. Without a credential the request's headers hold
        all there is."""
        self.cluster = cluster
        self.endpoint = endpoint
        self.credential = credential
        self._is_open = True
        endpoint.active_requests += 1

    async def authorize(self, method: str, url: URL, headers: Headers, body: Body) -> tuple[URL, Headers]:
        """The URL and the headers of a request with the attempt's credential. Raises `AttemptFailedError` if it is not
        to be had, `InvalidRequestError` for a request that it cannot be put on."""
        if self.credential is None:
            return url, headers
        try:
            return await self.credential.authorize(method, url, headers, body, self.cluster.connections.http)
        except NoCredentialError as error:
            failure = BadGatewayError(str(error), reason="CREDENTIAL_UNAVAILABLE")
            raise AttemptFailedError(failure, Failure.NO_CREDENTIAL) from None

    def close(self) -> None:
        """Gives back what it holds."""
        if self._is_open:
            self._is_open = False
            self.endpoint.active_requests -= 1
            self.cluster.breaker.release()

    def broke(self) -> None:
        """Notes that the endpoint failed after its answer had begun."""
        self.cluster.outliers.record(self.endpoint, Outcome.LOCAL_ORIGIN_FAILURE)
