"""How a service is called: where its endpoints are, and which headers a request to it carries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.credential import AwsAccount, CredentialConfig, HeaderKey
from gateway.config.snapshot import ProviderTarget, SecretConfig, ServiceConfig, Snapshot
from gateway.config.upstream import EndpointConfig, UpstreamConfig
from gateway.providers.keys import read_credentials
from gateway.providers.table import PROVIDERS

_PROVIDER_CONNECT_TIMEOUT_S = 5.0

# Connection headers (RFC 9110 section 7.6.1), what is made anew for the backend, and every inbound credential.
_NEVER_FORWARDED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
        b"host", b"content-length", b"content-type", b"accept", b"accept-encoding", b"expect",
        b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie",
        b"x-request-id", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding",
    }
)  # fmt: skip

# What is told beside a signature.
_AWS_HEADERS = frozenset({b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"})


@dataclass(frozen=True, slots=True)
class OutboundHeaders:
    """Makes the headers of requests to one service. Compiled once per service."""

    own: tuple[tuple[str, str], ...] = field(repr=False)  # one of them is the credential
    stripped: frozenset[bytes]
    configured: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # those for passed-through requests too
    dropped: frozenset[bytes] = frozenset()  # of `stripped`, those that no passed-through request may have either

    def build(self, inbound: Mapping[bytes, bytes], request_id: str, *, accept: str) -> list[tuple[str, str]]:
        """The client's end-to-end headers without its credentials, and the service's own, which win."""
        stripped = self.stripped
        if (connection := inbound.get(b"connection")) is not None:
            stripped = stripped | {name.strip().lower() for name in connection.split(b",")}
        headers = [
            (name.decode("latin-1"), _text(value))
            for name, value in inbound.items()
            if name not in stripped and not name.startswith(b"x-janua-") and not name.endswith(b"-bin")
        ]
        headers += self.own
        headers.append(("accept", accept))
        headers.append(("x-request-id", request_id))
        return headers


def _text(value: bytes) -> str:
    """A header value such that the transport, which writes UTF-8, writes the same bytes if they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def outbound_headers(service: ServiceConfig, secrets: Mapping[str, SecretConfig]) -> OutboundHeaders:
    """The header maker of a service."""
    json = [("content-type", "application/json"), ("accept-encoding", "identity")]
    configured: list[tuple[str, str]] = []
    dropped: frozenset[bytes] = frozenset()
    if isinstance(service.target, ProviderTarget):
        credentials = read_credentials(service.target, secrets)
        configured += service.target.headers
        dropped = PROVIDERS[service.target.provider].strip_headers | _headers_of(credentials)
        if (header := _fixed_header(credentials)) is not None:
            configured.append(header)
    own = (*json, *configured)
    stripped = _NEVER_FORWARDED | dropped | {name.lower().encode() for name, _ in own}
    return OutboundHeaders(own, stripped, tuple(configured), dropped)


def _fixed_header(credentials: Sequence[CredentialConfig]) -> tuple[str, str] | None:
    """The header that is the same for all requests, if there is one."""
    if len(credentials) == 1 and isinstance(key := credentials[0].key, HeaderKey):
        return key.name, key.value.reveal()
    return None


def _headers_of(credentials: Iterable[CredentialConfig]) -> frozenset[bytes]:
    """The headers of clients that ours stand for."""
    names: set[bytes] = set()
    for credential in credentials:
        if isinstance(credential.key, HeaderKey):
            names.add(credential.key.name.encode())
        elif isinstance(credential.key, AwsAccount):
            names |= _AWS_HEADERS
    return frozenset(names)


def provider_pool(service: str) -> str:
    """The name of the pool that stands for a service's provider. It has a colon, which no configured name can have."""
    return f"provider:{service}"


def provider_upstream(service: ServiceConfig, secrets: Mapping[str, SecretConfig]) -> UpstreamConfig | None:
    """The pool of one that stands for a provider, so that proxy services are called like any other; None for a
    service with an upstream."""
    if not isinstance(service.target, ProviderTarget):
        return None
    target = service.target
    url = target.base_url
    credentials = read_credentials(target, secrets)
    return UpstreamConfig(
        name=provider_pool(service.name),
        endpoints=(EndpointConfig(address=url, url=url),),
        connect_timeout_s=_PROVIDER_CONNECT_TIMEOUT_S,
        health_checks=target.health_checks,
        outlier_detection=target.outlier_detection,
        egress_proxy=target.egress_proxy,
        credentials=() if _fixed_header(credentials) is not None else credentials,
    )


def service_upstreams(snapshot: Snapshot) -> list[UpstreamConfig]:
    """The pools that stand for providers."""
    found = (provider_upstream(service, snapshot.secrets) for service in snapshot.services.values())
    return [upstream for upstream in found if upstream is not None]
