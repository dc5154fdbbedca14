"""Key sets of issuers: which keys are taken, and for which algorithms."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.filters.key_set import BadKeySetError, read_key_set
from tests.support.tokens import ec_key, ed25519_key, jwk, key_set, rsa_key

RSA, EC = rsa_key(), ec_key()


def algorithms(*keys: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted(read_key_set(key_set(*keys)).keys)


def test_key_is_for_the_algorithms_of_its_type() -> None:
    assert [name for _, name in algorithms(jwk(RSA))] == ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]
    assert algorithms(jwk(EC)) == [("k1", "ES256")]
    assert algorithms(jwk(ec_key(ec.SECP384R1()))) == [("k1", "ES384")]
    assert algorithms(jwk(ec_key(ec.SECP521R1()))) == [("k1", "ES512")]
    assert algorithms(jwk(ed25519_key())) == [("k1", "EdDSA")]


def test_key_that_names_its_algorithm_is_for_no_other() -> None:
    assert algorithms(jwk(RSA, alg="RS512")) == [("k1", "RS512")]


@pytest.mark.parametrize(
    "useless",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"},
        jwk(RSA, alg="HS256"),
        jwk(RSA, use="enc"),
        jwk(RSA, key_ops=["sign"]),
        jwk(rsa_key(1024)),
        jwk(ec_key(ec.SECP256K1())),
        {"kty": "RSA", "kid": "x"},
        {"kty": "RSA", "n": 5, "e": [], "kid": "x"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": ["RSA"]},
        {},
    ],
    ids=lambda key: json.dumps({name: key.get(name) for name in ("kty", "alg", "use", "crv")}),
)
def test_what_cannot_check_signatures_is_passed_over(useless: dict[str, Any]) -> None:
    assert algorithms(useless, jwk(EC, "good")) == [("good", "ES256")]
    with pytest.raises(BadKeySetError, match="no key"):
        read_key_set(key_set(useless))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"keys": {}}', '{"keys": [1]}', "\x00", "[" * 100_000, '{"keys":[]}'])
def test_what_is_no_key_set_is_refused(text: str) -> None:
    with pytest.raises(BadKeySetError):
        read_key_set(text)
    with pytest.raises(BadKeySetError):
        read_key_set(b"\xff\xfe")


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(BadKeySetError, match="100"):
        read_key_set(key_set(*[jwk(EC)] * 101))


def test_token_without_key_id_gets_the_only_key_there_is() -> None:
    one = read_key_set(key_set(jwk(EC), jwk(RSA, "k2", alg="RS256")))
    assert one.find("", "ES256") is not None
    assert one.find("", "RS384") is None
    two = read_key_set(key_set(jwk(EC), jwk(ec_key(), "k2")))
    assert two.find("", "ES256") is None
    assert two.find("k2", "ES256") is not two.find("k1", "ES256")


def test_key_without_id_is_found_by_a_token_without_one() -> None:
    keys = read_key_set(key_set(jwk(EC, None)))
    assert keys.find("", "ES256") is not None
    assert keys.find("k1", "ES256") is None


def test_private_parts_are_not_kept() -> None:
    (key,) = read_key_set(key_set(jwk(EC, d="c2VjcmV0"))).keys.values()
    assert isinstance(key.key, ec.EllipticCurvePublicKey)
