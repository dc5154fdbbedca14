"""The public keys of an issuer: a JSON Web Key Set (RFC 7517), read. PyJWT is imported when the first is."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from jwt import PyJWK

_MAX_KEYS = 100
_RSA_BITS = range(2048, 8193)

# The algorithms that a key may be used with, by its `kty` and `crv`.
_ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        ("EC", "P-256"): ("ES256",),
        ("EC", "P-384"): ("ES384",),
        ("EC", "P-521"): ("ES512",),
        ("OKP", "Ed25519"): ("EdDSA",),
    }
)


class BadKeySetError(ValueError):
    """There is no usable key in it. The text says why, and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by their `kid`, empty for one without, and the algorithm that a token names."""

    keys: Mapping[tuple[str, str], "PyJWK"]

    def find(self, key_id: str, algorithm: str) -> "PyJWK | None":
        """The key that such a token is signed with. A token that names none gets the only one for its algorithm."""
        if key_id:
            return self.keys.get((key_id, algorithm))
        fitting = [key for (_, of), key in self.keys.items() if of == algorithm]
        return fitting[0] if len(fitting) == 1 else None


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


_decoder = msgspec.json.Decoder(_Document)


def read_key_set(data: bytes | str) -> KeySet:
    """The keys of a set that are for checking signatures; others are passed over. Raises `BadKeySetError`."""
    try:
        document = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise BadKeySetError("it is not a JSON Web Key Set") from None
    if len(document.keys) > _MAX_KEYS:
        raise BadKeySetError(f"it has more than {_MAX_KEYS} keys")
    keys: dict[tuple[str, str], PyJWK] = {}
    for entry in document.keys:
        for algorithm in _usable_with(entry):
            if (key := _read_key(entry, algorithm)) is not None:
                keys.setdefault((_text(entry, "kid"), algorithm), key)
    if not keys:
        raise BadKeySetError("it has no key that signatures can be checked with")
    return KeySet(keys)


def _usable_with(entry: Mapping[str, Any]) -> tuple[str, ...]:
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ("verify",)):
        return ()
    algorithms = _ALGORITHMS.get((_text(entry, "kty"), _text(entry, "crv")), ())
    only = entry.get("alg")
    return algorithms if only is None else tuple(each for each in algorithms if each == only)


def _read_key(entry: dict[str, Any], algorithm: str) -> "PyJWK | None":
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from jwt import InvalidKeyError, PyJWK, PyJWKError

    # What else stands in an entry, such as the private part of a key, is nothing to keep.
    public = {name: value for name, value in entry.items() if name in ("kty", "crv", "n", "e", "x", "y")}
    try:
        key = PyJWK(public, algorithm)
    # A member may be missing, of any type, or no number.
    except (InvalidKeyError, PyJWKError, AttributeError, KeyError, TypeError, ValueError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
        return None
    return key


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name, "")
    return value if isinstance(value, str) else ""
