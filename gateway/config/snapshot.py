"""The configuration as frozen values: what `compile` makes of the messages and what everything else reads.

All times are in seconds. No protobuf stands here, and nothing that changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from types import MappingProxyType
from typing import TypeAlias

import re2

from gateway.types import Schema


class SecretValue:
    """A credential that does not show itself in logs, dumps and tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class EndpointState(Enum):
    """What the configuration says of an endpoint, apart from its health."""

    ACTIVE = auto()
    DRAINING = auto()
    DISABLED = auto()

    @property
    def is_checked(self) -> bool:
        """Whether active health checks are made."""
        return self is not EndpointState.DISABLED


class BalancingPolicy(Enum):
    """How an endpoint is chosen."""

    ROUND_ROBIN = auto()
    LEAST_REQUEST = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """One server. `url` is scheme, host, port and base path without a trailing slash."""

    address: str
    url: str
    weight: int = 1
    state: EndpointState = EndpointState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHealthCheck:
    """An active check. `statuses` are inclusive ranges; `host` None means the endpoint's own."""

    path: str
    statuses: tuple[tuple[int, int], ...]
    host: str | None
    method: str
    interval_s: float
    unhealthy_interval_s: float
    timeout_s: float
    jitter_s: float
    unhealthy_threshold: int
    healthy_threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """A pool of endpoints."""

    name: str
    endpoints: tuple[EndpointConfig, ...]
    connect_timeout_s: float = 2.0
    idle_timeout_s: float = 60.0
    balancing: BalancingPolicy = BalancingPolicy.ROUND_ROBIN
    choice_count: int = 2
    health_checks: tuple[HttpHealthCheck, ...] = ()


class RetryOn(Enum):
    """What may go wrong with an attempt so that another is made."""

    CONNECT_FAILURE = auto()
    RESET = auto()
    GATEWAY_ERROR = auto()
    TIMEOUT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """When and how often a failed attempt is made again."""

    num_retries: int = 2
    retry_on: frozenset[RetryOn] = frozenset({RetryOn.CONNECT_FAILURE, RetryOn.RESET, RetryOn.GATEWAY_ERROR})
    per_try_timeout_s: float | None = None
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25


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
class ProviderTarget:
    """Models of an outside provider. `base_url` has no trailing slash; `secret` names the credential."""

    provider: str
    base_url: str
    secret: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """What a route calls. `model_names` maps the clients' model names to the backend's where they differ."""

    name: str
    target: UpstreamTarget | ProviderTarget
    schema: Schema = Schema.OPENAI
    model_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    retry: RetryConfig | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()


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
    """Conditions on a request; empty ones always hold. Hosts are in lower case."""

    hosts: tuple[str, ...] = ()
    path: PathMatch | None = None
    methods: frozenset[str] = frozenset()
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """One of the services that share a route's requests."""

    service: str
    weight: int = 1
    model_override: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """Which requests go where, under which policies."""

    name: str
    match: RouteMatch
    backends: tuple[BackendConfig, ...]
    priority: int = 0
    retry: RetryConfig | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()
    advertised_models: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyAuthConfig:
    """Callers must present a key of a consumer, or with `optional` may."""

    optional: bool


PolicySpec: TypeAlias = ApiKeyAuthConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """One reusable rule."""

    name: str
    spec: PolicySpec


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
