"""Encryption of secrets at rest. Knows keys and bytes, no store."""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config_server.resources import Key
from config_server.store.base import StoreError

# No protobuf message begins with a zero byte, so sealed bodies are told from open ones.
_MAGIC: Final = b"\0janua-sealed-1"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_HEAD_BYTES: Final = len(_MAGIC) + _ID_BYTES + _NONCE_BYTES


@dataclass(frozen=True, slots=True)
class _SealingKey:
    id: bytes
    cipher: AESGCM


class Sealer:
    """Seals with the first of its keys, and opens with any: AES-256-GCM, bound to the resource's kind and name."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [_SealingKey(hashlib.sha256(key).digest()[:_ID_BYTES], AESGCM(key)) for key in keys]

    @property
    def can_seal(self) -> bool:
        return bool(self._keys)

    def seal(self, key: Key, content: bytes) -> bytes:
        """Raises IndexError without any key."""
        first = self._keys[0]
        nonce = os.urandom(_NONCE_BYTES)
        return _MAGIC + first.id + nonce + first.cipher.encrypt(nonce, content, _bound_to(key))

    def open(self, key: Key, sealed: bytes) -> bytes:
        """Raises StoreError if none of the keys fits."""
        key_id, nonce = sealed[len(_MAGIC) :][:_ID_BYTES], sealed[:_HEAD_BYTES][-_NONCE_BYTES:]
        for each in self._keys:
            if each.id == key_id:
                try:
                    return each.cipher.decrypt(nonce, sealed[_HEAD_BYTES:], _bound_to(key))
                except InvalidTag:
                    raise StoreError(f"{key} in the store is damaged: restore it from a backup") from None
        raise StoreError(
            f"{key} in the store is sealed with the key {key_id.hex()}, which this server does not have: "
            "give it with --encryption-key-file"
        )

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed with the first key."""
        return sealed[len(_MAGIC) :][:_ID_BYTES] == self._keys[0].id


def is_sealed(body: bytes) -> bool:
    return body.startswith(_MAGIC)


def make_key() -> str:
    """A new key, as it stands in a file."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def read_keys(file: Path | None, text: str) -> Sequence[bytes]:
    """The keys of the file, or of `text` if there is none: base64 of 32 bytes each, one a line or with commas between.

    Raises StoreError. Nothing of a key is ever in the text.
    """
    source = "JANUA_ENCRYPTION_KEY"
    if file is not None:
        source = str(file)
        try:
            text = file.read_text("ascii")
        except OSError as error:
            raise StoreError(f"--encryption-key-file {file}: {(error.strerror or 'unreadable').lower()}") from None
        except UnicodeDecodeError:
            raise StoreError(f"--encryption-key-file {file} is no text: {_MAKE}") from None
    keys = [_decode(word, source) for word in text.replace(",", "\n").split()]
    if file is not None and not keys:
        raise StoreError(f"--encryption-key-file {file} is empty: {_MAKE}")
    return keys


_MAKE: Final = "make a key with `head -c 32 /dev/urandom | base64`"


def _decode(word: str, source: str) -> bytes:
    try:
        key = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise StoreError(f"{source} holds what is no key, which is base64 of {_KEY_BYTES} bytes: {_MAKE}")
    return key


def _bound_to(key: Key) -> bytes:
    return f"{int(key.kind)}/{key.name}".encode()
