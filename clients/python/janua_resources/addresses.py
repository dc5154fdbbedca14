"""Addresses of backends: `host:port`, or a URL with a base path."""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from janua_resources.hosts import is_loopback, normalize_host
from janua_resources.quoting import quoted

Scheme = Literal["http", "https"]

_DEFAULT_PORTS: Final = MappingProxyType({"http": 80, "https": 443})
# RFC 3986: what a path may consist of. Percent signs must begin an escape.
_PATH: Final = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a backend is.

    `host` is canonical (lower case, IPv6 without brackets); `base_path` is empty, or starts with `/` and does not end
    with one. Equal addresses are the same backend, however they were written.
    """

    scheme: Scheme
    host: str
    port: int
    base_path: str = ""

    @property
    def authority(self) -> str:
        """`host:port`, IPv6 in brackets, the port always given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the backend is on this machine for certain."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base_path}"


def parse_address(text: str) -> Address:
    """Reads `host:port`, `[ipv6]:port`, or an `http://` or `https://` URL, whose port may be left out.

    Without a scheme it is plain HTTP. Raises ValueError that says, in words, what is wrong.
    """
    if not text:
        raise ValueError("the address is empty")
    _check_characters(text)
    if "://" in text:
        return parse_url(text)
    if "/" in text:
        raise ValueError(f"{quoted(text)} has a path but no scheme; write http:// or https:// before it")
    host, port = _split_host_port(text)
    if port is None:
        raise ValueError(f"{quoted(text)} has no port; write host:port")
    return Address(scheme="http", host=normalize_host(host), port=port)


def parse_url(text: str) -> Address:
    """Reads an `http://` or `https://` URL. Raises ValueError that says, in words, what is wrong."""
    _check_characters(text)
    scheme = _parse_scheme(text)
    if "?" in text or "#" in text:
        raise ValueError(f"{quoted(text)} has a query or a fragment; only a base path may follow the host")
    rest = text[len(scheme) + 3 :]
    authority, slash, path = rest.partition("/")
    host, port = _split_host_port(authority)
    if port is None:
        port = _DEFAULT_PORTS[scheme]
    return Address(scheme=scheme, host=normalize_host(host), port=port, base_path=parse_base_path(slash + path))


def check_host_header(text: str) -> None:
    """Raises ValueError, in words, unless `text` is a host, with or without a port, as in a `Host` header."""
    host, _ = _split_host_port(text)
    normalize_host(host)


def parse_base_path(text: str) -> str:
    """The path without slashes at its end. Raises ValueError unless it is empty or a legal, resolved URL path."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a path; one starts with '/' and has no query, fragment or space")
    if not {".", ".."}.isdisjoint(text.split("/")):
        raise ValueError(f"path {quoted(text)} has '.' or '..' in it")
    return text.rstrip("/")


def _check_characters(text: str) -> None:
    # First of all checks, so that no other error message repeats a password.
    if "@" in text.partition("://")[2].partition("/")[0] or "@" in text.partition("/")[0]:
        raise ValueError("the address holds a user name or password; keep credentials in a secret")
    if _UNPRINTABLE.search(text):
        raise ValueError(f"{quoted(text)} has white space, control characters or characters outside ASCII")


def _parse_scheme(text: str) -> Scheme:
    match text.partition("://")[0].lower():
        case "http":
            return "http"
        case "https":
            return "https"
        case _:
            raise ValueError(f"{quoted(text)} does not start with http:// or https://")


def _split_host_port(text: str) -> tuple[str, int | None]:
    bracket = text.rfind("]")
    if bracket < 0 and text.count(":") > 1:
        raise ValueError(f"{quoted(text)} is ambiguous; write an IPv6 address in brackets: [::1]:8080")
    colon = text.find(":", bracket + 1)
    if colon < 0:
        return text, None
    digits = text[colon + 1 :]
    if not _PORT.fullmatch(digits) or not 1 <= int(digits) <= 65535:
        raise ValueError(f"port {quoted(digits)} is not a number from 1 to 65535")
    return text[:colon], int(digits)
