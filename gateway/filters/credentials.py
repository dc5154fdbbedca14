"""Where callers carry their credentials, and what they look like."""

from collections.abc import Mapping


def bearer_credential(headers: Mapping[bytes, bytes]) -> bytes | None:
    """What follows `Bearer` in the `authorization` header, if anything does."""
    authorization = headers.get(b"authorization", b"")
    return authorization[7:].strip() or None if authorization[:7].lower() == b"bearer " else None


def is_jwt(credential: bytes) -> bool:
    """Whether it has the form of a signed token: three parts, of which the first is a JSON object in Base64."""
    return credential.startswith(b"e") and credential.count(b".") == 2
