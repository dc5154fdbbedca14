"""Secrets that are more than a key: JSON that tells of an account in somebody's cloud. Pure.

What is wrong with one is a `ValueError` in words that show nothing of it.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from janua_resources.addresses import Address, parse_url

from gateway.config.credential import AwsKey, EntraApp, GoogleAccount, TokenGrant
from gateway.config.secret import SecretValue

_GOOGLE_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105  # where they are issued
_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_ENTRA: Final = "https://login.microsoftonline.com"
_AZURE_SCOPE: Final = "https://cognitiveservices.azure.com/.default"

_ISSUERS: Final = frozenset(
    {
        "oauth2.googleapis.com",
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
    }
)

_decoder = msgspec.json.Decoder(dict[str, Any])


def read_aws_key(text: str, *, region: str, service: str) -> AwsKey:
    """An AWS credential, in our names or in those of the AWS command line."""
    if not region:
        raise ValueError("is an AWS credential, which needs proxy_service.region")
    fields = _fields(text, "an AWS credential")
    session_token = _text(fields, "session_token", "SessionToken", default="")
    return AwsKey(
        access_key_id=SecretValue(_text(fields, "access_key_id", "AccessKeyId")),
        secret_access_key=SecretValue(_text(fields, "secret_access_key", "SecretAccessKey")),
        session_token=SecretValue(session_token) if session_token else None,
        region=region,
        service=service,
    )


def read_google_account(text: str) -> GoogleAccount:
    """The file of a Google service account."""
    # Only nodes with such an account need it.
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    fields = _fields(text, "a Google service account")
    if fields.get("type") != "service_account":
        raise ValueError("is not a Google service account: its type is not service_account")
    private_key = _text(fields, "private_key", has_lines=True)
    try:
        # Whether its numbers fit together takes long to find out, and is for Google to say.
        key = load_pem_private_key(private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
        is_rsa = isinstance(key, RSAPrivateKey)
    except (ValueError, TypeError):
        is_rsa = False
    if not is_rsa:
        raise ValueError("has a private_key that is not an RSA key in PEM")
    return GoogleAccount(
        email=_text(fields, "client_email"),
        key_id=_text(fields, "private_key_id", default=""),
        private_key=SecretValue(private_key),
        token_url=_url(_text(fields, "token_uri", default=_GOOGLE_TOKEN_URL), "token_uri"),
        scope=_GOOGLE_SCOPE,
    )


def read_entra_app(text: str) -> EntraApp:
    """An application of Microsoft's Entra ID."""
    fields = _fields(text, "an Entra application")
    tenant = _text(fields, "tenant_id")
    if not tenant.replace("-", "").replace(".", "").isalnum():
        raise ValueError("has a tenant_id that is neither an id nor a domain")
    authority = _url(_text(fields, "authority_host", default=_ENTRA), "authority_host")
    return EntraApp(
        client_id=_text(fields, "client_id"),
        client_secret=SecretValue(_text(fields, "client_secret")),
        token_url=f"{authority}/{tenant}/oauth2/v2.0/token",
        scope=_AZURE_SCOPE,
    )


def foreign_issuer(grant: TokenGrant) -> str | None:
    """The host that issues tokens, unless it is one of Google's or Microsoft's."""
    host = parse_url(grant.token_url).host
    return None if host in _ISSUERS else host


def _fields(text: str, what: str) -> Mapping[str, Any]:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"is not {what}: it is no JSON object") from None


def _text(fields: Mapping[str, Any], *names: str, default: str | None = None, has_lines: bool = False) -> str:
    """The field of the first of the names that is there."""
    value = next((fields[name] for name in names if fields.get(name) not in (None, "")), default)
    if value is None:
        raise ValueError(f"has no {names[0]}")
    if not isinstance(value, str) or not (has_lines or (value.isascii() and value.isprintable())):
        raise ValueError(f"has something else than printable text as its {names[0]}")
    return value


def _url(text: str, name: str) -> str:
    try:
        address: Address = parse_url(text)
    except ValueError:
        raise ValueError(f"has no https:// URL as its {name}") from None
    if address.scheme != "https" and not address.is_loopback:
        raise ValueError(f"has no https:// URL as its {name}")
    return str(address)
