"""One access token from who issues it: for a Google service account, or for an application of Microsoft's Entra ID."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from yarl import URL

from gateway.config.credential import EntraApp, GoogleAccount, TokenGrant
from gateway.config.secret import SecretValue
from gateway.transport.errors import TransportError
from gateway.transport.messages import HttpSender

_ASSERTION_LIFETIME_S = 3600
_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_ATTEMPTS = 3
_PAUSES_S = (0.1, 0.5)
_MAX_BYTES = 64 * 1024
_DEFAULT_LIFETIME_S = 3600.0
_LONGEST_LIFETIME_S = 86400.0

_HEADERS = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))

# The machine-readable part of an error (RFC 6749 section 5.2); the rest might repeat what was sent.
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")


class TokenError(Exception):
    """There is no token. The text shows nothing confidential."""


class _WorthAnotherTryError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class FetchedToken:
    """A token, and for how many seconds from now it is good."""

    value: SecretValue
    lifetime_s: float


class _Answer(msgspec.Struct):
    access_token: str | None = None
    expires_in: float | str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer, strict=False)


async def fetch_token(grant: TokenGrant, http: HttpSender, now: float) -> FetchedToken:
    """A new token; `now` is in seconds since 1970. What may pass is tried again. Raises `TokenError`."""
    host = URL(grant.token_url).host
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            # To sign takes tens of milliseconds.
            body = await asyncio.to_thread(_form, grant, now)
            for attempt in range(_ATTEMPTS):
                try:
                    return await _ask(URL(grant.token_url), body, http)
                except _WorthAnotherTryError as error:
                    reason = str(error)
                if attempt < len(_PAUSES_S):
                    await asyncio.sleep(_PAUSES_S[attempt])
    except TimeoutError:
        reason = f"no answer within {_TIMEOUT_S:g} s"
    except TokenError as error:
        reason = str(error)
    raise TokenError(f"no access token from {host}: {reason}")


async def _ask(url: URL, body: bytes, http: HttpSender) -> FetchedToken:
    try:
        response = await http.send("POST", url, headers=_HEADERS, body=body, connect_timeout_s=_CONNECT_TIMEOUT_S)
        try:
            status, data = response.status, await response.read_all(_MAX_BYTES)
        finally:
            response.close()
    except TransportError as error:
        raise _WorthAnotherTryError(str(error)) from None
    if status == 429 or status >= 500:
        raise _WorthAnotherTryError(f"status {status}")
    answer = _read(data)
    if status != 200:
        raise TokenError(f"status {status}{_code(answer.error)}; check the secret")
    if not answer.access_token or not (answer.access_token.isascii() and answer.access_token.isprintable()):
        raise TokenError("the answer has no access token")
    return FetchedToken(SecretValue(answer.access_token), _lifetime(answer.expires_in))


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
        raise TokenError("the secret's private_key cannot sign") from None


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
