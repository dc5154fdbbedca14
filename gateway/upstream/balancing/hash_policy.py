"""What tells which requests belong together."""

from collections.abc import Mapping, Sequence
from typing import Protocol, assert_never

from gateway.config.upstream import (
    HashConsumer,
    HashCookie,
    HashHeader,
    HashPolicy,
    HashPromptPrefix,
    HashSourceIp,
)
from gateway.upstream.balancing.hashing import stable_hash


class HashableRequest(Protocol):
    """What is looked at. Header names are in lower case; several values of one name are joined by `, `."""

    @property
    def headers(self) -> Mapping[bytes, bytes]: ...
    @property
    def consumer_name(self) -> str: ...
    @property
    def client_address(self) -> str: ...
    def prompt_prefix(self, size: int) -> bytes: ...


def request_key(policies: Sequence[HashPolicy], request: HashableRequest) -> int | None:
    """The hash of the first thing that is there, or None if nothing is."""
    for policy in policies:
        if value := _value(policy, request):
            return stable_hash(value)
    return None


def cookie_key(value: str) -> int:
    """The hash of a cookie's value, as `request_key` will find it when the client sends it."""
    return stable_hash(value.encode("latin-1", "replace"))


def _value(policy: HashPolicy, request: HashableRequest) -> bytes:
    match policy:
        case HashHeader(name):
            return request.headers.get(name, b"")
        case HashCookie(name):
            return _cookie(request.headers.get(b"cookie", b""), name.encode("latin-1", "replace"))
        case HashConsumer():
            return request.consumer_name.encode()
        case HashSourceIp():
            return request.client_address.encode()
        case HashPromptPrefix(size):
            return request.prompt_prefix(size)
        case _:
            assert_never(policy)


def _cookie(header: bytes, name: bytes) -> bytes:
    """The first cookie of that name (RFC 6265 section 4.2.1); empty if there is none. HTTP/2 may send several header
    fields, which arrive joined by a comma."""
    for pair in header.replace(b", ", b"; ").split(b";"):
        found, _, value = pair.partition(b"=")
        if found.strip() == name:
            return value.strip().strip(b'"')
    return b""
