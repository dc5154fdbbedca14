"""Authentication by token: forged, stale and foreign ones are refused, and who a right one makes the caller."""

import json
from collections.abc import Coroutine
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import ConsumerConfig, JwtAuthConfig, KeySource
from gateway.errors import Credential, UnauthenticatedError
from gateway.filters.jwt_auth import JwtAuth
from gateway.filters.key_set import KeySet, read_key_set
from gateway.filters.published_keys import KeyFetcher, PublishedKeys
from tests.gateway.filters.requests import context
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    assembled,
    claims,
    ec_key,
    ed25519_key,
    jwk,
    key_set,
    rsa_key,
    token,
    with_other_claims,
)

NOW = 1_800_000_000.0
RSA, EC, ED, STRANGER = rsa_key(), ec_key(), ed25519_key(), ec_key()
KEYS = read_key_set(key_set(jwk(EC, "ec"), jwk(RSA, "rsa"), jwk(ED, "ed")))
ALICE = ConsumerConfig(name="alice", groups=frozenset({"staff"}), policies=("month",))
SUBJECTS = {"alice@example": ALICE}


def auth(**changes: Any) -> JwtAuth:
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "algorithms": frozenset({"RS256", "ES256"}),
        "audiences": frozenset({AUDIENCE}),
    }
    return JwtAuth(JwtAuthConfig(**(fields | changes)), KEYS, SUBJECTS, lambda: NOW)


def caller(presented: str | None, **changes: Any) -> ConsumerConfig | None:
    return run(authenticating(presented, **changes))


def authenticating(presented: str | None, **changes: Any) -> Coroutine[None, None, ConsumerConfig | None]:
    headers = {} if presented is None else {b"authorization": f"Bearer {presented}".encode()}
    return auth(**changes).authenticate(context(headers=headers))


def run(coroutine: Coroutine[None, None, ConsumerConfig | None]) -> ConsumerConfig | None:
    """What a coroutine that never waits returns."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    found: ConsumerConfig | None = end.value.value
    return found


def refusal(presented: str | None, **changes: Any) -> UnauthenticatedError:
    with pytest.raises(UnauthenticatedError) as refused:
        authenticating(presented, **changes).send(None)
    return refused.value


def good(subject: str = "alice@example", *, now: float = NOW, **changes: Any) -> str:
    return token(EC, claims(subject, now=now, **changes), key_id="ec")


@pytest.mark.parametrize(
    ("key", "key_id", "algorithm"),
    [
        (EC, "ec", "ES256"),
        *((RSA, "rsa", algorithm) for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (ED, "ed", "EdDSA"),
    ],
)
def test_each_algorithm(key: Any, key_id: str, algorithm: str) -> None:
    presented = token(key, claims(now=NOW), algorithm=algorithm, key_id=key_id)
    assert caller(presented, algorithms=frozenset({algorithm})) == ALICE
    assert refusal(presented, algorithms=frozenset({"ES384"})).reason == "INVALID_TOKEN"


def test_known_subject_is_its_consumer_and_in_the_groups_of_both() -> None:
    found = caller(good(roles=["ops"]), groups_claim="roles")
    assert found == ConsumerConfig(name="alice", groups=frozenset({"staff", "ops"}), policies=("month",))
    assert caller(good(roles=["ops"])) == ALICE


def test_unknown_subject_is_nobodys_consumer() -> None:
    assert caller(good("alice", roles="ops"), groups_claim="roles") == ConsumerConfig(
        name="jwt:alice", groups=frozenset({"ops"})
    )
    assert refusal(good("alice"), require_consumer=True).message == "no consumer has the token's subject"


def test_prefix_keeps_issuers_apart() -> None:
    found = caller(good(), subject_prefix="corp/")
    assert found is not None
    assert found.name == "jwt:corp/alice@example"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+JWT", None])
def test_types_of_tokens_for_apis(kind: str | None) -> None:
    assert caller(token(EC, claims(now=NOW), key_id="ec", typ=kind)) == ALICE


def test_token_without_key_id_is_checked_with_the_only_key() -> None:
    assert caller(token(EC, claims(now=NOW), key_id=None)) == ALICE


def hmac_with_public_key() -> str:
    """The oldest forgery: the public key, which everybody has, as the secret of a MAC."""
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    unsigned = assembled(header, claims(now=NOW)).rpartition(".")[0]
    mac = jwt.get_algorithm_by_name("HS256")
    assert isinstance(mac, jwt.algorithms.HMACAlgorithm)
    signature = mac.sign(unsigned.encode(), public)
    return f"{unsigned}.{jwt.utils.base64url_encode(signature).decode()}"


FORGED = {
    "alg none": assembled({"alg": "none", "kid": "ec"}, claims(now=NOW)),
    "alg None": assembled({"alg": "None", "kid": "ec"}, claims(now=NOW)),
    "no alg": assembled({"kid": "ec"}, claims(now=NOW), b"x"),
    "alg is no text": assembled({"alg": ["ES256"], "kid": "ec"}, claims(now=NOW), b"x"),
    "hmac with the public key": hmac_with_public_key(),
    "key of another": token(STRANGER, claims(now=NOW), key_id="ec"),
    "key of another algorithm": assembled({"alg": "RS256", "kid": "ec"}, claims(now=NOW), b"x" * 256),
    "unknown key": token(STRANGER, claims(now=NOW), key_id="stranger"),
    "key id is no text": assembled({"alg": "ES256", "kid": 5}, claims(now=NOW), b"x"),
    "its own key": token(STRANGER, claims(now=NOW), key_id="ec", jwk=jwk(STRANGER, "ec")),
    "changed claims": with_other_claims(good(), claims("bob", now=NOW)),
    "no signature": good().rpartition(".")[0] + ".",
    "short signature": good()[:-8],
    "extension to be understood": token(EC, claims(now=NOW), key_id="ec", crit=["x"], x=1),
    "detached": assembled({"alg": "ES256", "kid": "ec", "b64": False, "crit": ["b64"]}, "", b"x"),
    "other type": token(EC, claims(now=NOW), key_id="ec", typ="dpop+jwt"),
    "type is no text": assembled({"alg": "ES256", "kid": "ec", "typ": {}}, claims(now=NOW), b"x"),
    "claims are a list": assembled({"alg": "ES256", "kid": "ec"}, [1], b"x"),
    "claims are deep": assembled({"alg": "ES256", "kid": "ec"}, json.loads("[" * 900 + "]" * 900), b"x"),
    "no base64": "eyJ!.e30.x",
    "no JSON": "eyJh.eyJh.eyJh",
    "empty parts": "e..",
    "not signed for long": good(now=NOW - 10_000),
    "not valid yet": good(now=NOW + 10_000),
    "other audience": good(aud="other"),
    "no audience": good(aud=None),
    "never expires": good(exp=None),
    "no subject": good(sub=None),
    "huge": good(filler="x" * 16_384),
}


@pytest.mark.parametrize("name", FORGED)
def test_bad_tokens_are_refused_and_not_repeated(name: str) -> None:
    refused = refusal(FORGED[name])
    assert refused.reason == ("EXPIRED_TOKEN" if name == "not signed for long" else "INVALID_TOKEN")
    assert refused.credential is Credential.WRONG
    assert "eyJ" not in refused.message
    assert refusal(FORGED[name], optional=True).reason == refused.reason


def test_other_issuer_is_a_credential_of_another_kind() -> None:
    assert refusal(good(iss="https://else.example")).credential is Credential.OF_ANOTHER_KIND


@pytest.mark.parametrize("presented", ["sk-a-key", "a.b.c", "e.b", "eyJh.b.c.d.e"])
def test_bearer_of_something_else_is_a_credential_of_another_kind(presented: str) -> None:
    refused = refusal(presented, optional=True)
    assert (refused.reason, refused.credential) == ("INVALID_TOKEN", Credential.OF_ANOTHER_KIND)


def test_no_token() -> None:
    assert refusal(None).credential is Credential.MISSING
    assert refusal(None).reason == "MISSING_TOKEN"
    assert caller(None, optional=True) is None
    headers = {b"authorization": b"Basic YWxpY2U6c2VjcmV0", b"x-api-key": good().encode()}
    assert run(auth(optional=True).authenticate(context(headers=headers))) is None


def test_token_that_was_right_is_asked_again_for_its_time_and_its_key() -> None:
    now, keys = NOW, KEYS

    class Issuer(PublishedKeys):
        async def find(self, key_id: str, algorithm: str, wait_s: float = 0) -> KeySet | None:
            return keys

    config = JwtAuthConfig(issuer=ISSUER, algorithms=frozenset({"ES256"}), audiences=frozenset({AUDIENCE}))
    policy = JwtAuth(config, Issuer(KeySource(), KeyFetcher(), lambda: 0), SUBJECTS, lambda: now)
    headers = {b"authorization": f"Bearer {good()}".encode()}

    def refused() -> str:
        with pytest.raises(UnauthenticatedError) as error:
            policy.authenticate(context(headers=headers)).send(None)
        return error.value.message

    for _ in range(2):
        assert run(policy.authenticate(context(headers=headers))) == ALICE
    now = NOW + 10_000
    assert refused() == "the token has expired"
    now = NOW
    keys = read_key_set(key_set(jwk(STRANGER, "ec")))
    assert refused() == "the token's signature is wrong"
    keys = read_key_set(key_set(jwk(STRANGER, "other"), jwk(RSA, "ec")))
    assert refused() == "the token is signed with a key that is not known"


def test_tokens_are_known_up_to_a_bound() -> None:
    policy = auth()
    for number in range(1100):
        headers = {b"authorization": f"Bearer {good(number=number)}".encode()}
        assert run(policy.authenticate(context(headers=headers))) == ALICE
    assert len(policy._signatures._verified) == 1024


@given(st.data())
def test_a_token_that_is_changed_anywhere_is_refused(data: st.DataObject) -> None:
    original = good()
    place = data.draw(st.integers(0, len(original) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.=")).replace(original[place], "q")
    # The last character of a part has bits that mean nothing; strict Base64 refuses those too.
    refusal(original[:place] + other + original[place + 1 :])


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    headers = {b"authorization": b"Bearer e" + garbage + b".x.y"}
    with pytest.raises(UnauthenticatedError):
        auth().authenticate(context(headers=headers)).send(None)
