"""An issuer of tokens (JWT), for tests: keys, key sets as it publishes them, and tokens right and wrong."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

ISSUER: Final = "https://id.example"
AUDIENCE: Final = "ai"


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of RSA, new each time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A key on a curve, by default P-256, new each time."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def ed25519_key() -> ed25519.Ed25519PrivateKey:
    """A key of Ed25519, new each time."""
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: PrivateKey, key_id: str | None = "k1", **members: Any) -> dict[str, Any]:
    """The public part as an issuer publishes it."""
    published: dict[str, Any]
    match key:
        case rsa.RSAPrivateKey():
            published = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            published = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            published = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    published.pop("key_ops", None)
    return {**published, "use": "sig", **({} if key_id is None else {"kid": key_id}), **members}


def key_set(*keys: Mapping[str, Any]) -> str:
    """The JSON of a set."""
    return json.dumps({"keys": keys})


def claims(subject: str = "alice@example", *, now: float | None = None, **changes: Any) -> dict[str, Any]:
    """What a good token says; a value of None leaves a claim out."""
    moment = int(time.time() if now is None else now)
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": moment, "nbf": moment, "exp": moment + 600}
    return {name: value for name, value in (told | changes).items() if value is not None}


def token(
    key: PrivateKey, said: Mapping[str, Any], *, algorithm: str = "ES256", key_id: str | None = "k1", **header: Any
) -> str:
    """A token signed with the key."""
    fields = {**({} if key_id is None else {"kid": key_id}), **header}
    return jwt.encode(dict(said), key, algorithm=algorithm, headers=fields)


def assembled(header: Mapping[str, Any], said: object, signature: bytes = b"") -> str:
    """A token of these parts, whatever they are."""
    return ".".join(map(_base64, (json.dumps(header).encode(), json.dumps(said).encode(), signature)))


def with_other_claims(original: str, said: Mapping[str, Any]) -> str:
    """A token that has been changed under its signature."""
    header, _, signature = original.split(".")
    return ".".join((header, _base64(json.dumps(said).encode()), signature))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def policy(**fields: Any) -> dict[str, Any]:
    """A `jwt_auth` policy named `sso` that trusts this issuer."""
    spec: dict[str, Any] = {"issuer": ISSUER, "audiences": [AUDIENCE], **fields}
    return {"name": "sso", "jwt_auth": {name: value for name, value in spec.items() if value is not None}}
