"""Upstreams as frozen values: endpoints, and how they are balanced, checked, limited and reached. Times in seconds."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias
from urllib.parse import urlsplit

from gateway.config.credential import CredentialConfig
from gateway.config.secret import SecretValue


class EndpointState(Enum):
    """What the configuration says of an endpoint, apart from its health."""

    ACTIVE = auto()
    DRAINING = auto()
    DISABLED = auto()

    @property
    def is_checked(self) -> bool:
        """Whether active health checks are made."""
        return self is not EndpointState.DISABLED


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """One server. `url` is scheme, host, port and base path without a trailing slash.

    `priority` is the level it belongs to; lower is preferred. `resolved_host` is the IP address that a resolver found
    for the URL's host name: connections go there, while `Host` header and certificate check keep the name.
    """

    address: str
    url: str
    weight: int = 1
    priority: int = 0
    state: EndpointState = EndpointState.ACTIVE
    resolved_host: str | None = None

    @property
    def host(self) -> str:
        """The host in the URL, an IPv6 address without its brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port in the URL, or that of its scheme."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)


class BalancingPolicy(Enum):
    """How an endpoint is chosen."""

    ROUND_ROBIN = auto()
    LEAST_REQUEST = auto()
    RANDOM = auto()
    RING_HASH = auto()
    MAGLEV = auto()
    PEAK_EWMA = auto()
    PREFIX_AFFINITY = auto()


@dataclass(frozen=True, slots=True)
class HashHeader:
    """Requests with the same value of this header belong together; the name is in lower case."""

    name: bytes


@dataclass(frozen=True, slots=True)
class HashCookie:
    """Requests with the same value of this cookie belong together."""

    name: str


@dataclass(frozen=True, slots=True)
class HashConsumer:
    """Requests of the same consumer belong together."""


@dataclass(frozen=True, slots=True)
class HashSourceIp:
    """Requests from the same client address belong together."""


@dataclass(frozen=True, slots=True)
class HashPromptPrefix:
    """Requests whose prompts begin with the same bytes belong together."""

    size: int


HashPolicy: TypeAlias = HashHeader | HashCookie | HashConsumer | HashSourceIp | HashPromptPrefix


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStartConfig:
    """A new endpoint's weight grows over `window_s` as (time / window) ^ (1 / aggression), from a least share on."""

    window_s: float
    aggression: float = 1.0
    min_weight_percent: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancingConfig:
    """How an endpoint is chosen. The panic threshold is in per cent; 0 turns panic off."""

    policy: BalancingPolicy = BalancingPolicy.ROUND_ROBIN
    choice_count: int = 2
    active_request_bias: float = 1.0
    hash_policies: tuple[HashPolicy, ...] = ()
    slow_start: SlowStartConfig | None = None
    panic_threshold: float = 50.0
    overprovisioning_factor: float = 1.4


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """A plain HTTP request. `statuses` are inclusive ranges; `host` None means the endpoint's own."""

    path: str
    statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    host: str | None = None
    method: str = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcProbe:
    """`grpc.health.v1.Health/Check` for a service; the empty name is the whole server."""

    service_name: str = ""


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """Whether a connection can be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInferenceProbe:
    """Whether an Open Inference server, or one of its models, is ready; over REST or gRPC as the upstream speaks."""

    model: str | None = None


Probe: TypeAlias = HttpProbe | GrpcProbe | TcpProbe | OpenInferenceProbe


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckConfig:
    """An active check: what is asked, how often, and how many answers in a row decide."""

    probe: Probe
    interval_s: float = 5.0
    unhealthy_interval_s: float = 5.0
    timeout_s: float = 1.0
    jitter_s: float = 0.5
    unhealthy_threshold: int = 2
    healthy_threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierConfig:
    """When an endpoint that fails requests is left out for a while. A threshold of 0 turns its detector off."""

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_percent: float = 50.0
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: float = 1.9
    enforcing_success_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetConfig:
    """Retries in flight may be this share of all requests in flight, and always this many."""

    budget_percent: float = 20.0
    min_retry_concurrency: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """Bounds of what is in flight to an upstream; None is no bound. A retry budget replaces `max_retries`."""

    max_connections: int | None = None
    max_requests: int | None = None
    max_pending_requests: int = 1024
    max_retries: int | None = None
    retry_budget: RetryBudgetConfig | None = None
    queue_timeout_s: float = 5.0


class UpstreamProtocol(Enum):
    """What is spoken to endpoints."""

    HTTP1 = auto()
    HTTP2 = auto()
    GRPC = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How endpoints with an `https` URL are trusted, and how the node shows who it is.

    `ca_pem` None trusts what the system trusts. `client_certificate` is a PEM chain with its key; the configuration
    names a secret, whose value stands here once the configuration is in use.
    """

    ca_pem: str | None = None
    client_secret: str | None = None
    client_certificate: SecretValue | None = None
    server_name: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """A pool of endpoints. `dns_refresh_s` None leaves host names to the transport. `credentials` are those that each
    attempt takes one of; none where there is none, or a single one that is a header like any other. `egress_proxy` is
    the URL of a proxy that connections go through, empty for none."""

    name: str
    endpoints: tuple[EndpointConfig, ...]
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    tls: TlsConfig | None = None
    dns_refresh_s: float | None = None
    connect_timeout_s: float = 2.0
    idle_timeout_s: float = 60.0
    max_connections_per_endpoint: int | None = None
    balancing: BalancingConfig = field(default_factory=BalancingConfig)
    health_checks: tuple[HealthCheckConfig, ...] = ()
    outlier_detection: OutlierConfig | None = None
    circuit_breakers: BreakerConfig = field(default_factory=BreakerConfig)
    credentials: tuple[CredentialConfig, ...] = ()
    egress_proxy: str = ""
