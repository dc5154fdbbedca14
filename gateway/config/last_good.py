"""The last good configuration on disk, so that a node can serve after a restart without a config server.

The file, or what is sealed in it: magic, format version, then length-delimited `DeltaDiscoveryResponse` messages, the
first with the `SyncState`, the others with the resources of one type each; at the end the SHA-256 of all before.
"""

import hashlib
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Final

import structlog
from google.protobuf import proto
from google.protobuf.message import DecodeError
from janua.config.v1 import sync_state_pb2
from janua.discovery.v3 import ads_pb2
from janua_resources.sealing import NotOpenedError, OtherKeyError, Sealer, is_sealed

from gateway.config.resources import SYNC_STATE, ReceivedResource
from gateway.config.state_file import move_aside, write_atomically

_FILE_NAME: Final = "last-good"
_MAGIC: Final = b"JANUALG\n"
_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">8sH")
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_PAGE: Final = 100  # resources; the event loop has its turn between two

_log = structlog.get_logger("janua.config")


@dataclass(frozen=True, slots=True)
class LastGood:
    """What a node has accepted: of which history of the store, up to which revision, and the resources."""

    epoch: str
    revision: int
    resources: tuple[ReceivedResource, ...]


class _BadFileError(Exception):
    """The content is not what this program has written."""


class LastGoodStore:
    """Keeps one `LastGood` in a directory. Blocks: to be called from a thread; calls from several are serialised."""

    def __init__(self, directory: Path, sealer: Sealer | None = None) -> None:
        """With a key in `sealer` the file is sealed; one that is not yet is read all the same."""
        self._path = directory / _FILE_NAME
        self._sealer = sealer or Sealer(())
        self._lock = threading.Lock()

    def load(self) -> LastGood | None:
        """What was saved last; None if nothing was.

        A file that is damaged or of another format is moved aside with a warning, and counts as none; so does one that
        is sealed with a key that is not there, which stays until it is replaced. Raises OSError if there is a file that
        cannot be read.
        """
        with self._lock:
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return None
            try:
                return _decode(self._opened(data))
            except OtherKeyError as error:
                _log.warning(
                    "the last good configuration on disk cannot be read: waiting for a config server",
                    file=str(self._path),
                    reason=f"{error}: give it in JANUA_STATE_KEY",
                )
                return None
            except (_BadFileError, NotOpenedError) as error:
                self._set_aside(str(error))
                return None

    def save(self, last_good: LastGood) -> None:
        """Replaces what was saved, at once or not at all. Raises OSError; what was saved before is then unharmed."""
        with self._lock:
            write_atomically(self._path, self._sealed(_encode(last_good)))

    def _sealed(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        return [self._sealer.seal(_FILE_NAME, b"".join(chunks))] if self._sealer.can_seal else chunks

    def _opened(self, data: bytes) -> bytes:
        return self._sealer.open(_FILE_NAME, data) if is_sealed(data) else data

    def _set_aside(self, reason: str) -> None:
        _log.warning(
            "the last good configuration on disk cannot be used: waiting for a config server",
            file=str(self._path),
            reason=reason,
            moved_to=str(move_aside(self._path) or ""),
        )


def _encode(last_good: LastGood) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in _encode_body(last_good):
        digest.update(chunk)
        yield chunk
    yield digest.digest()


def _encode_body(last_good: LastGood) -> Iterator[bytes]:
    yield _HEAD.pack(_MAGIC, _FORMAT)
    state = sync_state_pb2.SyncState(epoch=last_good.epoch, revision=last_good.revision)
    yield _delimited([ReceivedResource(SYNC_STATE, "sync", "", state.SerializeToString())])
    for _, group in groupby(last_good.resources, key=lambda resource: resource.type_url):
        resources = list(group)
        for start in range(0, len(resources), _PAGE):
            yield _delimited(resources[start : start + _PAGE])


def _delimited(resources: list[ReceivedResource]) -> bytes:
    message = ads_pb2.DeltaDiscoveryResponse(type_url=resources[0].type_url)
    for resource in resources:
        entry = message.resources.add(name=resource.name, version=resource.version)
        entry.resource.type_url = resource.type_url
        entry.resource.value = resource.value
    buffer = BytesIO()
    proto.serialize_length_prefixed(message, buffer)
    return buffer.getvalue()


def _decode(data: bytes) -> LastGood:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if len(body) < _HEAD.size:
        raise _BadFileError("too short")
    magic, version = _HEAD.unpack_from(body)
    if magic != _MAGIC:
        raise _BadFileError("not a file of this kind")
    if version != _FORMAT:
        raise _BadFileError(f"format {version}, this program reads format {_FORMAT}")
    if hashlib.sha256(body).digest() != digest:
        raise _BadFileError("the checksum does not match: cut or damaged")
    try:
        return _decode_messages(BytesIO(body[_HEAD.size :]))
    except (DecodeError, ValueError, IndexError, OverflowError) as error:
        raise _BadFileError(f"not the expected messages: {error}") from error


def _decode_messages(buffer: BytesIO) -> LastGood:
    first, *rest = _messages(buffer)
    state = sync_state_pb2.SyncState.FromString(first.resources[0].resource.value)
    return LastGood(state.epoch, state.revision, tuple(_resources(rest)))


def _messages(buffer: BytesIO) -> Iterator[ads_pb2.DeltaDiscoveryResponse]:
    while (message := proto.parse_length_prefixed(ads_pb2.DeltaDiscoveryResponse, buffer)) is not None:
        yield message


def _resources(messages: Iterable[ads_pb2.DeltaDiscoveryResponse]) -> Iterator[ReceivedResource]:
    for message in messages:
        for entry in message.resources:
            yield ReceivedResource(entry.resource.type_url, entry.name, entry.version, entry.resource.value)
