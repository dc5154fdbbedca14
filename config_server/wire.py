"""Discovery responses as bytes, joined from parts that are encoded once and shared by all streams."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

_LENGTH_DELIMITED: Final = 2

# Field numbers of `envoy.service.discovery.v3.DeltaDiscoveryResponse` …
_SYSTEM_VERSION_INFO: Final = 1
_RESOURCES: Final = 2
_TYPE_URL: Final = 4
_NONCE: Final = 5
_REMOVED_RESOURCES: Final = 6
_CONTROL_PLANE: Final = 7
# … of `DiscoveryResponse` …
_STATE_VERSION_INFO: Final = 1
_STATE_RESOURCES: Final = 2
_STATE_TYPE_URL: Final = 4
_STATE_NONCE: Final = 5
_STATE_CONTROL_PLANE: Final = 6
# … of `Resource`, of `google.protobuf.Any`, of `ControlPlane`.
_RESOURCE_VERSION: Final = 1
_RESOURCE_RESOURCE: Final = 2
_RESOURCE_NAME: Final = 3
_ANY_TYPE_URL: Final = 1
_ANY_VALUE: Final = 2
_CONTROL_PLANE_IDENTIFIER: Final = 1


@dataclass(frozen=True, slots=True)
class EncodedResource:
    """One entry of `DeltaDiscoveryResponse.resources`. `header` and `body` joined are its bytes with the field's tag.

    The body is the stored one, not a copy: a resource stands in memory once.
    """

    name: str
    version: str
    header: bytes
    body: bytes

    @property
    def size(self) -> int:
        return len(self.header) + len(self.body)


def encode_resource(*, type_url: str, name: str, version: str, body: bytes) -> EncodedResource:
    any_header = _text(_ANY_TYPE_URL, type_url) + _head(_ANY_VALUE, len(body))
    inner = (
        _text(_RESOURCE_VERSION, version)
        + _text(_RESOURCE_NAME, name)
        + _head(_RESOURCE_RESOURCE, len(any_header) + len(body))
        + any_header
    )
    return EncodedResource(name, version, _head(_RESOURCES, len(inner) + len(body)) + inner, body)


def removed_size(name: str) -> int:
    """Bytes that a removed name adds to a response, at most."""
    return len(name) * 4 + 4


class Encoder(Protocol):
    """Encodes responses of one server replica, in one variant of the protocol."""

    def encode(
        self, *, type_url: str, nonce: str, revision: int, resources: Iterable[EncodedResource], removed: Sequence[str]
    ) -> bytes: ...


class ResponseEncoder:
    """The encoder of delta."""

    def __init__(self, replica_id: str) -> None:
        control_plane = _text(_CONTROL_PLANE_IDENTIFIER, replica_id)
        self._control_plane = _head(_CONTROL_PLANE, len(control_plane)) + control_plane

    def encode(
        self, *, type_url: str, nonce: str, revision: int, resources: Iterable[EncodedResource], removed: Sequence[str]
    ) -> bytes:
        """A serialized `DeltaDiscoveryResponse`."""
        parts = [_text(_SYSTEM_VERSION_INFO, str(revision)), _text(_TYPE_URL, type_url), _text(_NONCE, nonce)]
        for resource in resources:
            parts.append(resource.header)
            parts.append(resource.body)
        parts.extend(_text(_REMOVED_RESOURCES, name) for name in removed)
        parts.append(self._control_plane)
        return b"".join(parts)


class StateResponseEncoder:
    """The encoder of the state of the world."""

    def __init__(self, replica_id: str) -> None:
        control_plane = _text(_CONTROL_PLANE_IDENTIFIER, replica_id)
        self._control_plane = _head(_STATE_CONTROL_PLANE, len(control_plane)) + control_plane

    def encode(
        self, *, type_url: str, nonce: str, revision: int, resources: Iterable[EncodedResource], removed: Sequence[str]
    ) -> bytes:
        """A serialized `DiscoveryResponse`. Revision and removed names have no place in it."""
        version = hashlib.sha256()
        parts = [_text(_STATE_TYPE_URL, type_url), _text(_STATE_NONCE, nonce)]
        any_type = _text(_ANY_TYPE_URL, type_url)
        for resource in sorted(resources, key=lambda resource: resource.name):
            version.update(f"{len(resource.name)}:{resource.name}={resource.version};".encode())
            any_header = any_type + _head(_ANY_VALUE, len(resource.body))
            parts.append(_head(_STATE_RESOURCES, len(any_header) + len(resource.body)) + any_header)
            parts.append(resource.body)
        parts.append(_text(_STATE_VERSION_INFO, version.hexdigest()[:32]))
        parts.append(self._control_plane)
        return b"".join(parts)


def _text(field: int, value: str) -> bytes:
    encoded = value.encode()
    return _head(field, len(encoded)) + encoded


def _head(field: int, length: int) -> bytes:
    """Tag and length of a length-delimited field. All our field numbers are below 16: one byte of tag."""
    head = bytearray([field << 3 | _LENGTH_DELIMITED])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)
