"""When a `jwt_auth` policy makes sense: whose tokens, for whom, and where the keys come from."""

import json
from collections.abc import Iterator
from typing import Any, Final

from janua.config.v1.policy_pb2 import JWT_ALGORITHM_UNSPECIFIED, JwtAuth

from janua_resources.addresses import parse_url
from janua_resources.egress_rules import check_egress_proxy
from janua_resources.field_paths import item
from janua_resources.violations import Problem

# The members of a key that are not for everybody: private numbers, and the shared secret itself (RFC 7518 section 6).
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def check_jwt_auth(spec: JwtAuth) -> Iterator[Problem]:
    """What is wrong with the meaning of the rule, seen alone."""
    if not spec.audiences and not spec.required_claims:
        text = "needs at least one of audiences and required_claims: every token of the issuer would do"
        yield Problem(field="jwt_auth", message=text)
    for index, algorithm in enumerate(spec.algorithms):
        if algorithm == JWT_ALGORITHM_UNSPECIFIED:
            yield Problem(field=item("jwt_auth.algorithms", index), message="is not an algorithm")
    if spec.jwks_uri and spec.jwks:
        yield Problem(field="jwt_auth", message="has both jwks_uri and jwks: only one can be where the keys are")
    elif spec.jwks:
        yield from _key_set(spec.jwks)
    elif spec.jwks_uri:
        yield from _uri(spec.jwks_uri, "jwt_auth.jwks_uri")
    else:
        hint = "; without jwks_uri and jwks it must be a URL that tells where the keys are"
        yield from _uri(spec.issuer, "jwt_auth.issuer", hint)
    yield from check_egress_proxy(spec.egress_proxy, "jwt_auth.egress_proxy")


def _uri(text: str, field: str, hint: str = "") -> Iterator[Problem]:
    try:
        address = parse_url(text)
    except ValueError as error:
        yield Problem(field=field, message=f"{error}{hint}")
        return
    if address.scheme != "https" and not address.is_loopback:
        text = "must be https: who can change the keys on their way can make tokens"
        yield Problem(field=field, message=f"{text}{hint}")


def _key_set(text: str) -> Iterator[Problem]:
    keys = _keys(text)
    if not keys:
        yield Problem(field="jwt_auth.jwks", message='is not a JSON Web Key Set: {"keys": [{"kty": "RSA", …}]}')
    for index, key in enumerate(keys):
        # What stands there is a secret: it is not repeated.
        if not _PRIVATE.isdisjoint(key):
            text = f"key {index} of the set has a private part, which belongs to the issuer alone; it may be known now"
            yield Problem(field="jwt_auth.jwks", message=text)


def _keys(text: str) -> list[dict[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        return []
    return keys
