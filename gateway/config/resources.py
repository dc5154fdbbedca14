"""What discovery and status reports carry, as values: no protobuf, and nothing compiled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.config.upstream import EndpointState

_PREFIX = "type.googleapis.com/janua.config.v1."

SECRET: Final = _PREFIX + "Secret"
UPSTREAM: Final = _PREFIX + "Upstream"
POLICY: Final = _PREFIX + "Policy"
SERVICE: Final = _PREFIX + "Service"
CONSUMER: Final = _PREFIX + "Consumer"
ROUTE: Final = _PREFIX + "Route"
SYNC_STATE: Final = _PREFIX + "SyncState"

# What is used stands before what uses it.
RESOURCE_TYPES: Final = (SECRET, UPSTREAM, POLICY, SERVICE, CONSUMER, ROUTE)


@dataclass(frozen=True, slots=True)
class ReceivedResource:
    """A resource as it came: `value` is the serialized message of the type, `version` is opaque."""

    type_url: str
    name: str
    version: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A resource that the node refuses: `reason` is for programs, `message` for people, `field` a path or empty."""

    type_url: str
    name: str
    version: str
    reason: str
    field: str = ""
    message: str = ""

    def __str__(self) -> str:
        words = (self.name, self.reason, f"{self.field}:" if self.field else "", self.message)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who subscribes. The id is unique in the fleet; the version is that of the program."""

    id: str
    cluster: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerAddresses:
    """Where a node serves, `host:port` each; empty for a listener that is off."""

    http: str = ""
    grpc: str = ""
    admin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReport:
    """How one endpoint looks from this node. Times have a time zone. `latency_s` is None before the first answer,
    `ejected_until` while outlier detection has nothing against the endpoint."""

    upstream: str
    address: str
    healthy: bool
    reason: str
    since: datetime
    active_requests: int
    state: EndpointState = EndpointState.ACTIVE
    priority: int = 0
    latency_s: float | None = None
    ejections: int = 0
    ejected_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialReport:
    """How one credential of a pool is: `fresh_at` and `reason` tell how long it is left alone, and why. Never the
    credential itself."""

    upstream: str
    secret: str
    weight: int
    is_fresh: bool
    reason: str
    refusals: int
    fresh_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerReport:
    """Whether one bound of an upstream's circuit breaker is reached."""

    upstream: str
    kind: str
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatusReport:
    """What a node says of itself. `requests` and `failed_requests` are those that have ended since it started."""

    addresses: ListenerAddresses
    ready: bool
    draining: bool
    active_requests: int
    requests: int = 0
    failed_requests: int = 0
    endpoints: Sequence[EndpointReport] = ()
