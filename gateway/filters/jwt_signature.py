"""Whether a token (JWT) is signed by its issuer. PyJWT is imported when the first `jwt_auth` policy is in use."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.config.snapshot import JwtAuthConfig
from gateway.errors import Credential, UnauthenticatedError, UnavailableError
from gateway.filters.key_set import KeySet
from gateway.filters.published_keys import NoKeysError, PublishedKeys

if TYPE_CHECKING:
    from jwt import PyJWK

_MAX_BYTES = 16 * 1024
_MAX_KEPT = 1024
_RETRY_AFTER_S = 5.0

# What a token that is presented to an API calls itself (RFC 8725 section 3.11). Others are for other ends.
_TYPES = frozenset({"jwt", "at+jwt"})

_read_claims = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class _Verified:
    """What is known of a token whose signature was right, as long as its key is that one."""

    key_id: str
    algorithm: str
    key: "PyJWK"
    claims: Mapping[str, Any]


class TokenSignatures:
    """Checks signatures of tokens of one issuer.

    A key is found by the token's `kid` and algorithm, and made for that algorithm: one that is not configured, or not
    of the key's type, never checks a signature. Tokens come with request after request, and to check one takes longer
    than all else that is done with a request; so the last thousand that were right are known by their digests.
    """

    def __init__(self, config: JwtAuthConfig, keys: KeySet | PublishedKeys) -> None:
        from jwt import PyJWS

        self._issuer = config.issuer
        self._algorithms = config.algorithms
        self._keys = keys
        self._jws = PyJWS(algorithms=sorted(config.algorithms))
        self._verified: dict[bytes, _Verified] = {}

    async def verify(self, token: bytes) -> Mapping[str, Any]:
        """The claims of a token whose signature is right. Whether they are those of a good token is not looked at.

        Raises `UnauthenticatedError`, and `UnavailableError` while the issuer's keys cannot be had.
        """
        if len(token) > _MAX_BYTES:
            raise invalid_token(f"the token is larger than {_MAX_BYTES} bytes")
        digest = sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None and await self._find_key(known.key_id, known.algorithm) is known.key:
            return known.claims
        verified = await self._verify(token)
        self._verified[digest] = verified
        if len(self._verified) > _MAX_KEPT:
            del self._verified[next(iter(self._verified))]
        return verified.claims

    async def _verify(self, token: bytes) -> _Verified:
        from jwt import InvalidTokenError

        try:
            unverified = self._jws.decode_complete(token, options={"verify_signature": False})
            claims = _read_claims(unverified["payload"])
        except (InvalidTokenError, msgspec.MsgspecError, RecursionError, ValueError):
            raise invalid_token("the token cannot be read") from None
        key_id, algorithm = self._checked_header(unverified["header"])
        # Of what is not of this issuer, the key is not worth asking for.
        if claims.get("iss") != self._issuer:
            raise invalid_token("the token is of another issuer", Credential.OF_ANOTHER_KIND)
        key = await self._find_key(key_id, algorithm)
        if key is None:
            raise invalid_token("the token is signed with a key that is not known")
        try:
            self._jws.decode_complete(token, key, algorithms=[algorithm])
        except InvalidTokenError:
            raise invalid_token("the token's signature is wrong") from None
        return _Verified(key_id, algorithm, key, claims)

    def _checked_header(self, header: Mapping[str, Any]) -> tuple[str, str]:
        """Id of the key, and algorithm. Extensions that must be understood are not."""
        algorithm, token_type = header.get("alg"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise invalid_token("the token is signed with an algorithm that is not taken here")
        if "crit" in header or header.get("b64", True) is not True:
            raise invalid_token("the token has extensions that are not known")
        if not isinstance(token_type, str) or token_type.lower().removeprefix("application/") not in _TYPES:
            raise invalid_token("the token is of a type that is not taken here")
        return header.get("kid", ""), algorithm

    async def _find_key(self, key_id: str, algorithm: str) -> "PyJWK | None":
        keys: KeySet | None
        if isinstance(self._keys, KeySet):
            keys = self._keys
        else:
            try:
                keys = await self._keys.find(key_id, algorithm)
            except NoKeysError:
                text = "the keys of the token's issuer cannot be read at present"
                raise UnavailableError(text, reason="JWKS_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S) from None
        return keys.find(key_id, algorithm) if keys is not None else None


def invalid_token(message: str, credential: Credential = Credential.WRONG) -> UnauthenticatedError:
    """The refusal of a token that is not a good one. The text shows nothing of it."""
    return UnauthenticatedError(message, reason="INVALID_TOKEN", credential=credential)
