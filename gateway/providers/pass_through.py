"""Headers and metadata of what is passed through: everything end-to-end, without the client's credentials. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Pairs: TypeAlias = Iterable[tuple[bytes, bytes]]

CONNECTION_HEADERS = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
    }
)  # fmt: skip
"""Headers that are for the next hop alone (RFC 9110 section 7.6.1)."""

_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})

# Made anew, or what only a proxy that the backend trusts may say of the client.
_OURS = frozenset({b"host", b"expect", b"x-request-id", b"via", b"forwarded", b"x-real-ip"})
_OUR_PREFIXES = (b"x-janua-", b"x-forwarded-")

_NOT_FORWARDED = CONNECTION_HEADERS | _CREDENTIALS | _OURS

_NOT_FORWARDED_METADATA = CONNECTION_HEADERS | _CREDENTIALS | {b"host", b"user-agent", b"content-type", b"x-request-id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSide:
    """What the node saw of the client's request, for the backend to know."""

    request_id: str
    address: str
    scheme: str
    http_version: str
    authority: str


def nominated(pairs: Pairs) -> frozenset[bytes]:
    """The headers that `Connection` names: they are for the next hop alone too."""
    return frozenset(name.strip().lower() for key, value in pairs if key == b"connection" for name in value.split(b","))


def pass_through_headers(
    inbound: Sequence[tuple[bytes, bytes]],
    client: ClientSide,
    *,
    configured: Sequence[tuple[str, str]] = (),
    host: str | None = None,
    dropped: frozenset[bytes] = frozenset(),
    is_outside: bool = False,
) -> list[tuple[str, str]]:
    """The headers for a backend. Names come in lower case.

    One that `is_outside` learns neither the client's address nor its cookies.

    `configured` are the service's own, which win; `host` None leaves `Host` to the transport. What earlier proxies say
    of the client is kept in `x-forwarded-for` and `via` alone: in the rest a client could claim anything.
    """
    own = {name.lower(): value for name, value in configured}
    not_forwarded = _NOT_FORWARDED | nominated(inbound) | dropped | {name.encode() for name in own}
    if any(name == b"transfer-encoding" for name, _ in inbound):
        not_forwarded |= {b"content-length"}  # the coding wins (RFC 9112 section 6.3)
    headers = [
        (name.decode("latin-1"), text(value))
        for name, value in inbound
        if name not in not_forwarded and name != b"cookie" and not name.startswith(_OUR_PREFIXES)
    ]
    if not is_outside and b"cookie" not in not_forwarded and (cookie := _values(inbound, b"cookie", "; ")):
        headers.append(("cookie", cookie))
    headers += own.items()
    if host is not None:
        headers.append(("host", host))
    told: dict[str, str] = {}
    if not is_outside:
        told = {
            "x-forwarded-for": _appended(inbound, b"x-forwarded-for", client.address),
            "x-forwarded-proto": client.scheme,
            "x-forwarded-host": client.authority,
            "via": _appended(inbound, b"via", f"{client.http_version} janua"),
        }
    told["x-request-id"] = client.request_id
    headers += [(name, value) for name, value in told.items() if value and name not in own]
    return headers


def with_host(headers: list[tuple[str, str]], host: str | None) -> list[tuple[str, str]]:
    """The headers with that `Host`, unless it is None or they have one."""
    return headers if host is None or any(name == "host" for name, _ in headers) else [*headers, ("host", host)]


def pass_through_metadata(inbound: Pairs, request_id: str) -> list[tuple[str, str | bytes]]:
    """The metadata for a backend. Values of names that end in `-bin` are bytes, as gRPC has them."""
    metadata: list[tuple[str, str | bytes]] = [
        (name.decode("ascii"), value if name.endswith(b"-bin") else value.decode("latin-1"))
        for name, value in inbound
        if name not in _NOT_FORWARDED_METADATA and not name.startswith((b"grpc-", b"x-janua-", b":"))
    ]
    metadata.append(("x-request-id", request_id))
    return metadata


def text(value: bytes) -> str:
    """A header value such that the transport, which writes UTF-8, writes the same bytes if they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _values(pairs: Pairs, name: bytes, separator: str) -> str:
    """All values of a header as one. HTTP/2 clients send a cookie in pieces (RFC 9113 section 8.2.3)."""
    return separator.join(text(value) for key, value in pairs if key == name)


def _appended(pairs: Pairs, name: bytes, value: str) -> str:
    before = _values(pairs, name, ", ")
    return f"{before}, {value}" if before else value
