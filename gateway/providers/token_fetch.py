"""One access token from who issues it: for a Google service account, or for an application of Microsoft's Entra ID."""

import asyncio
import re
from typing import Any
from urllib.parse import urlencode

import msgspec
from yarl import URL

from gateway.config.credential import EntraApp, GoogleAccount, TokenGrant
from gateway.config.secret import SecretValue
from gateway.providers.fetching import Fetched, NoCredentialError, exchange, fetch
from gateway.transport.messages import HttpSender

_ASSERTION_LIFETIME_S = 3600
_DEFAULT_LIFETIME_S = 3600.0
_LONGEST_LIFETIME_S = 86400.0

_HEADERS = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))

# The machine-readable part of an error (RFC 6749 section 5.2); the rest might repeat what was sent.
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")


class _Answer(msgspec.Struct):
    access_token: str | None = None
    expires_in: float | str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer, strict=False)


async def fetch_token(grant: TokenGrant, http: HttpSender, now: float) -> Fetched[SecretValue]:
    """A new token; `now` is in seconds since 1970. Raises `NoCredentialError`."""
    return await fetch(f"access token from {URL(grant.token_url).host}", lambda: _ask(grant, http, now))


async def _ask(grant: TokenGrant, http: HttpSender, now: float) -> Fetched[SecretValue]:
    # To sign takes tens of milliseconds.
    body = await asyncio.to_thread(_form, grant, now)
    status, data = await exchange(http, "POST", URL(grant.token_url), _HEADERS, body)
    answer = _read(data)
    if status != 200:
        raise NoCredentialError(f"status {status}{_code(answer.error)}; check the secret")
    if not answer.access_token or not (answer.access_token.isascii() and answer.access_token.isprintable()):
        raise NoCredentialError("the answer has no access token")
    return Fetched(SecretValue(answer.access_token), _lifetime(answer.expires_in))


def _form(grant: TokenGrant, now: float) -> bytes:
    match grant:
        case GoogleAccount():
            fields = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": _assertion(grant, now)}
        case EntraApp():
            fields = {
                "grant_type": "client_credentials",
                "client_id": grant.client_id,
                "client_secret": grant.client_secret.reveal(),
                "scope": grant.scope,
            }
    return urlencode(fields).encode()


def _assertion(account: GoogleAccount, now: float) -> str:
    # Only nodes with such an account need it.
    import jwt

    claims = {
        "iss": account.email,
        "scope": account.scope,
        "aud": account.token_url,
        "iat": int(now),
        "exp": int(now) + _ASSERTION_LIFETIME_S,
    }
    headers = {"kid": account.key_id} if account.key_id else None
    try:
        return jwt.encode(claims, account.private_key.reveal(), algorithm="RS256", headers=headers)
    except (ValueError, jwt.PyJWTError):
        raise NoCredentialError("the secret's private_key cannot sign") from None


def _read(data: bytes) -> _Answer:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _Answer()


def _code(error: Any) -> str:
    return f" ({error})" if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else ""


def _lifetime(expires_in: float | str | None) -> float:
    try:
        lifetime_s = float(expires_in) if expires_in is not None else _DEFAULT_LIFETIME_S
    except ValueError:
        return _DEFAULT_LIFETIME_S
    return min(lifetime_s, _LONGEST_LIFETIME_S) if lifetime_s > 0 else 0.0
