"""Host names, IP addresses and host patterns: their legal and canonical forms, and whether a pattern covers a host."""

import ipaddress
import re
from typing import Final

from janua_resources.quoting import quoted

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# Resolvers read such a last label as (part of) an IPv4 address, `0x7f.1` for 127.0.0.1.
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_LENGTH: Final = 253


def normalize_host(text: str) -> str:
    """The canonical form of a host: lower case, IPv6 addresses compressed and without brackets.

    Raises ValueError, in words, if `text` is neither a host name (RFC 1123, and `_`, which is common in containers)
    nor an IP address.
    """
    if not text:
        raise ValueError("the host is empty")
    if not text.isascii():
        raise ValueError(f"host {quoted(text)} has characters outside ASCII; write its punycode form (xn--…)")
    if ":" in text or text.startswith("["):
        return _normalize_ipv6(text)
    host = text.lower()
    labels = host.removesuffix(".").split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _normalize_ipv4(text)
    if len(host) > _MAX_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quoted(text)} is not a host name")
    return host


def _normalize_ipv6(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in bare:
        raise ValueError(f"{quoted(text)} has a zone, which is not supported")
    try:
        return str(ipaddress.IPv6Address(bare))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv6 address") from None


def _normalize_ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv4 address") from None


def normalize_host_pattern(text: str) -> str:
    """The canonical form of a host, or of `*.` and a host name. Raises ValueError as `normalize_host` does."""
    suffix = text.removeprefix("*.")
    if "*" in suffix:
        raise ValueError(f"{quoted(text)} is no host pattern; a wildcard is '*.' and a suffix: '*.example.com'")
    host = normalize_host(suffix)
    if suffix == text:
        return host
    if _is_ip_address(host):
        raise ValueError(f"{quoted(text)} puts a wildcard before an IP address")
    return f"*.{host}"


def pattern_covers(pattern: str, host: str) -> bool:
    """Whether a canonical pattern covers a canonical host. `*.` stands for one or more labels, never for none."""
    bare_host, bare_pattern = host.removesuffix("."), pattern.removesuffix(".")
    if bare_pattern.startswith("*."):
        return bare_host.endswith(bare_pattern[1:]) and len(bare_host) >= len(bare_pattern)
    return bare_host == bare_pattern


def is_loopback(host: str) -> bool:
    """Whether a canonical host is this machine for certain: `localhost` or a loopback address."""
    if host.removesuffix(".") == "localhost":
        return True
    if not _is_ip_address(host):
        return False
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
