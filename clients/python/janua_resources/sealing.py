"""Encryption of what is kept on a disk. Knows keys and bytes, no file format and no store."""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # imported by the first key: whoever has none does without it
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# No protobuf message begins with a zero byte, so sealed messages are told from open ones.
_MAGIC: Final = b"\0janua-sealed-1"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_HEAD_BYTES: Final = len(_MAGIC) + _ID_BYTES + _NONCE_BYTES

MAKE_A_KEY: Final = "make a key with `head -c 32 /dev/urandom | base64`"


class SealingKeyError(Exception):
    """What should be a key is none. One line, with nothing of it in the text."""


class NotOpenedError(Exception):
    """What is sealed cannot be opened."""


class OtherKeyError(NotOpenedError):
    """It is sealed with a key that is not there."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"is sealed with the key {key_id}, which is not there")
        self.key_id = key_id


class DamagedError(NotOpenedError):
    """It is not what was sealed, or not in the place that it was sealed for."""


@dataclass(frozen=True, slots=True)
class _SealingKey:
    id: bytes
    cipher: "AESGCM"

    @classmethod
    def of(cls, key: bytes) -> "_SealingKey":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return cls(hashlib.sha256(key).digest()[:_ID_BYTES], AESGCM(key))


class Sealer:
    """Seals with the first of its keys, and opens with any: AES-256-GCM.

    What is sealed is bound to its place, a text that names it: moved to another one it does not open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Keys are those of `read_keys`."""
        self._keys = [_SealingKey.of(key) for key in keys]

    @property
    def can_seal(self) -> bool:
        return bool(self._keys)

    def seal(self, place: str, content: bytes) -> bytes:
        """Raises IndexError without any key."""
        first = self._keys[0]
        nonce = os.urandom(_NONCE_BYTES)
        return _MAGIC + first.id + nonce + first.cipher.encrypt(nonce, content, place.encode())

    def open(self, place: str, sealed: bytes) -> bytes:
        """Raises NotOpenedError."""
        key = next((each for each in self._keys if each.id == _key_id(sealed)), None)
        if key is None:
            raise OtherKeyError(_key_id(sealed).hex())
        from cryptography.exceptions import InvalidTag

        nonce = sealed[:_HEAD_BYTES][-_NONCE_BYTES:]
        try:
            return key.cipher.decrypt(nonce, sealed[_HEAD_BYTES:], place.encode())
        except (InvalidTag, ValueError):  # cut within its head, or anywhere
            raise DamagedError("is damaged") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether it is sealed with the first key."""
        return _key_id(sealed) == self._keys[0].id


def _key_id(sealed: bytes) -> bytes:
    return sealed[len(_MAGIC) :][:_ID_BYTES]


def is_sealed(content: bytes) -> bool:
    return content.startswith(_MAGIC)


def make_key() -> str:
    """A new key, as it stands in a file."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def read_keys(text: str, source: str) -> Sequence[bytes]:
    """The keys in a text: base64 of 32 bytes each, one a line or with commas between. `source` says where it is from.

    Raises SealingKeyError.
    """
    return [_decode(word, source) for word in text.replace(",", "\n").split()]


def _decode(word: str, source: str) -> bytes:
    try:
        key = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        text = f"{source} holds what is no key, which is base64 of {_KEY_BYTES} bytes: {MAKE_A_KEY}"
        raise SealingKeyError(text)
    return key
