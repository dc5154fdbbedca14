"""The configuration as frozen values: what `compile` makes of the messages and what everything else reads.

All times are in seconds. No protobuf stands here, and nothing that changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Final, TypeAlias

import re2

from gateway.config.credential import AuthConfig
from gateway.config.guardrail import GuardrailConfig
from gateway.config.limits import BudgetConfig, RateLimitConfig
from gateway.config.prices import Price
from gateway.config.secret import SecretValue
from gateway.config.transform import TransformConfig
from gateway.config.upstream import HealthCheckConfig, OutlierConfig, UpstreamConfig
from gateway.types import Feature, Schema

IpNetwork: TypeAlias = IPv4Network | IPv6Network


class Failure(Enum):
    """What may go wrong with an attempt, so that another is made or another backend is tried."""

    CONNECT_FAILURE = auto()
    RESET = auto()
    GATEWAY_ERROR = auto()
    SERVER_ERROR = auto()
    TIMEOUT = auto()
    RATE_LIMITED = auto()
    OVERLOADED = auto()
    CONTEXT_LENGTH = auto()
    CONTENT_FILTER = auto()
    NO_ENDPOINT = auto()
    BREAKER_OPEN = auto()
    UNAUTHENTICATED = auto()
    PERMISSION_DENIED = auto()
    NO_CREDENTIAL = auto()


UNAVAILABLE: Final = frozenset(
    {
        Failure.CONNECT_FAILURE,
        Failure.RESET,
        Failure.GATEWAY_ERROR,
        Failure.SERVER_ERROR,
        Failure.NO_ENDPOINT,
        Failure.BREAKER_OPEN,
        Failure.UNAUTHENTICATED,
        Failure.PERMISSION_DENIED,
        Failure.NO_CREDENTIAL,
    }
)
"""The failures that mean that a backend cannot answer at all."""

DEFAULT_RETRY_ON: Final = frozenset({Failure.CONNECT_FAILURE, Failure.RESET, Failure.GATEWAY_ERROR})
DEFAULT_FALLBACK_ON: Final = UNAVAILABLE | {Failure.RATE_LIMITED, Failure.OVERLOADED, Failure.TIMEOUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """When and how often a failed attempt is made again."""

    num_retries: int = 2
    retry_on: frozenset[Failure] = DEFAULT_RETRY_ON
    per_try_timeout_s: float | None = None
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25
    respect_retry_after: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsConfig:
    """Time limits; None is "not given here"."""

    connect_s: float | None = None
    request_s: float | None = None
    first_token_s: float | None = None
    stream_idle_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTarget:
    """Models you host, reached through the upstream of that name."""

    upstream: str
    path_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRef:
    """The secret that holds a credential, and its share of the requests."""

    secret: str
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTarget:
    """Models of an outside provider. `base_url` has no trailing slash; `auth` None is the provider's own way.

    `region`, `project`, `api_version` and `egress_proxy` are empty where they are not given.
    """

    provider: str
    base_url: str
    credentials: tuple[CredentialRef, ...] = ()
    auth: AuthConfig | None = None
    region: str = ""
    project: str = ""
    api_version: str = ""
    egress_proxy: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    health_checks: tuple[HealthCheckConfig, ...] = ()
    outlier_detection: OutlierConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """What a route calls. `model_names` maps the clients' model names to the backend's where they differ.

    `drops_unsupported`: what the backend has no place for is left out instead of refused. `lacks` is what none of its
    models can do, `models_lack` what single ones cannot do beside that, `prices` what single ones cost; both by the
    clients' names.
    """

    name: str
    target: UpstreamTarget | ProviderTarget
    schema: Schema = Schema.OPENAI
    model_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    retry: RetryConfig | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()
    drops_unsupported: bool = False
    lacks: frozenset[Feature] = frozenset()
    models_lack: Mapping[str, frozenset[Feature]] = field(default_factory=lambda: MappingProxyType({}))
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    has_published_prices: bool = False
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exact:
    """The value is this."""

    value: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """The value begins with this."""

    value: str


@dataclass(frozen=True, slots=True)
class Suffix:
    """The value ends with this."""

    value: str


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole value matches this RE2 expression."""

    pattern: str
    compiled: "re2._Regexp" = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Present:
    """The value is there, or is not there, whatever it is."""

    wanted: bool


PathMatch: TypeAlias = Exact | Prefix | Regex
HeaderValueMatch: TypeAlias = Exact | Prefix | Suffix | Regex | Present
QueryValueMatch: TypeAlias = Exact | Regex | Present


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    """A condition on one header; the name is in lower case."""

    name: bytes
    value: HeaderValueMatch
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMatch:
    """A condition on one query parameter."""

    name: str
    value: QueryValueMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """Conditions on a request; empty ones always hold. Hosts are in lower case.

    Without a path it is only for inference requests. The path of a gRPC method is `/package.Service/Method`.
    """

    hosts: tuple[str, ...] = ()
    path: PathMatch | None = None
    methods: frozenset[str] = frozenset()
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """One of the services that share a route's requests. `priority` is its tier; lower is preferred."""

    service: str
    weight: int = 1
    priority: int = 0
    model_override: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorConfig:
    """A service that gets copies of a share of the requests, in per cent."""

    service: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteConfig:
    """Another path and host for the backend. `path_prefix` stands for what the route's path match names."""

    path_prefix: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectConfig:
    """Sends clients elsewhere; None leaves a part as requested."""

    status: int = 302
    scheme: str | None = None
    host: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponseConfig:
    """A fixed answer."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """Which requests go where, under which policies. With a `fixed_answer` nothing is called."""

    name: str
    match: RouteMatch
    backends: tuple[BackendConfig, ...]
    priority: int = 0
    retry: RetryConfig | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()
    fallback_on: frozenset[Failure] = DEFAULT_FALLBACK_ON
    mirror: MirrorConfig | None = None
    rewrite: RewriteConfig | None = None
    fixed_answer: RedirectConfig | DirectResponseConfig | None = None
    advertised_models: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyAuthConfig:
    """Callers must present a key of a consumer, or with `optional` may."""

    optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IpFilterConfig:
    """Callers must come from one of `allow`, which empty has all, and from none of `deny`."""

    allow: tuple[IpNetwork, ...] = ()
    deny: tuple[IpNetwork, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRequests:
    """Requests that meet every condition; empty ones always hold. Models are exact or end in `*`."""

    consumers: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationConfig:
    """A request must be one of `allow`, if there are any, and `expression`, if there is one, be true of it."""

    allow: tuple[AllowedRequests, ...] = ()
    expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where the keys of an issuer are read: at `jwks_uri`, or, if it is empty, where the issuer says. `egress_proxy`
    empty: directly."""

    issuer: str = ""
    jwks_uri: str = ""
    egress_proxy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtAuthConfig:
    """Callers must present a token of the issuer, or with `optional` may. The keys are published at `jwks_uri`, or are
    `jwks`, a key set as JSON, or, if both are empty, are where the issuer says. Names of claims are empty where nothing
    is taken from one."""

    issuer: str
    algorithms: frozenset[str]
    audiences: frozenset[str] = frozenset()
    jwks_uri: str = ""
    jwks: str = ""
    consumer_claim: str = "sub"
    groups_claim: str = ""
    leeway_s: float = 30.0
    optional: bool = False
    required_claims: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    require_consumer: bool = False
    subject_prefix: str = ""
    egress_proxy: str = ""

    @property
    def key_source(self) -> KeySource | None:
        """Where the keys are read; None if they are in the policy."""
        if self.jwks:
            return None
        issuer = "" if self.jwks_uri else self.issuer
        return KeySource(issuer=issuer, jwks_uri=self.jwks_uri, egress_proxy=self.egress_proxy)


@dataclass(frozen=True, slots=True, kw_only=True)
class MtlsAuthConfig:
    """Callers must present a client certificate, or with `optional` may. Without `names` it must be a consumer's; else
    it counts by the names that are one of them, exactly, or begin with one that ends in `*`."""

    optional: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsConfig:
    """What pages of other origins may do from browsers. Names of headers are in lower case."""

    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimitsConfig:
    """The largest requests that are taken, in bytes; None is no limit."""

    max_body_bytes: int | None = None
    max_header_bytes: int | None = None


class CacheScope(Enum):
    """Who shares kept answers: nobody with another consumer, consumers of the very same groups, all of a route."""

    CONSUMER = auto()
    GROUP = auto()
    ROUTE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticConfig:
    """Kept answers are found by meaning: with vectors of a service, which may not be there yet. `threshold` is the
    cosine from which on two texts mean the same; `dimensions` None: as many as the model likes."""

    service: str
    model: str
    threshold: float = 0.95
    max_candidates: int = 100
    timeout_s: float = 0.5
    max_text_bytes: int = 2048
    dimensions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """Answers are kept and given again. `stale_s` is how long after its time an answer still is while a new one is
    fetched; `is_shared`: all nodes keep them together. `semantic` None: only to the same requests."""

    ttl_s: float
    max_entry_bytes: int
    scope: CacheScope = CacheScope.CONSUMER
    is_shared: bool = False
    single_flight: bool = True
    respect_cache_control: bool = True
    stale_s: float = 0.0
    bypass_groups: frozenset[str] = frozenset()
    semantic: SemanticConfig | None = None


PolicySpec: TypeAlias = (
    ApiKeyAuthConfig
    | AuthorizationConfig
    | BudgetConfig
    | CacheConfig
    | CorsConfig
    | IpFilterConfig
    | JwtAuthConfig
    | MtlsAuthConfig
    | RateLimitConfig
    | SizeLimitsConfig
    | TransformConfig
    | GuardrailConfig
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """One reusable rule."""

    name: str
    spec: PolicySpec

    @property
    def needs_shared_store(self) -> bool:
        """Whether it works only on a node with a shared store."""
        return isinstance(self.spec, RateLimitConfig | CacheConfig) and self.spec.is_shared

    @property
    def needs_client_ca(self) -> bool:
        """Whether it works only on a node that asks for client certificates."""
        return isinstance(self.spec, MtlsAuthConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyConfig:
    """A key as the SHA-256 of its bytes, in hexadecimal."""

    sha256: str
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """Who calls."""

    name: str
    api_keys: tuple[ApiKeyConfig, ...] = ()
    groups: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    policies: tuple[str, ...] = ()
    jwt_subjects: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretConfig:
    """A credential, read."""

    name: str
    value: SecretValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is in use at one moment, by name. References in it always resolve."""

    upstreams: Mapping[str, UpstreamConfig] = field(default_factory=dict)
    services: Mapping[str, ServiceConfig] = field(default_factory=dict)
    routes: Mapping[str, RouteConfig] = field(default_factory=dict)
    policies: Mapping[str, PolicyConfig] = field(default_factory=dict)
    consumers: Mapping[str, ConsumerConfig] = field(default_factory=dict)
    secrets: Mapping[str, SecretConfig] = field(default_factory=dict)
