"""Secrets that are more than a key: JSON that tells of an account in somebody's cloud. Pure.

What is wrong with one is a `ValueError` in words that show nothing of it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from janua_resources.addresses import Address, parse_url

from gateway.config.credential import (
    AwsAccount,
    AwsKey,
    AwsMachine,
    AwsRole,
    EntraApp,
    GoogleAccount,
    Key,
    WebIdentity,
)
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

# AWS's own; an endpoint in a private network has a name before it. Other names under amazonaws.com are customers'.
_STS_HOST: Final = re.compile(
    r"sts(?:-fips)?(?:\.[a-z]+(?:-[a-z]+)+-[0-9]+)?\.amazonaws\.com(?:\.cn)?"
    r"|vpce-[a-z0-9-]+\.sts(?:-fips)?\.[a-z]+(?:-[a-z]+)+-[0-9]+\.vpce\.amazonaws\.com"
)
_SESSION_NAME: Final = re.compile(r"[A-Za-z0-9_=,.@-]{2,64}")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/.+")

_decoder = msgspec.json.Decoder(dict[str, Any])


def read_aws_account(text: str, *, region: str, service: str) -> AwsAccount:
    """An AWS credential: a key, or where a temporary one is to be had, in the words of AWS's configuration files."""
    if not region:
        raise ValueError("is an AWS credential, which needs proxy_service.region")
    fields = _fields(text, "an AWS credential")
    source = _aws_source(fields)
    if "role_arn" in fields:
        return AwsAccount(source=_aws_role(fields, source, region), region=region, service=service)
    if isinstance(source, WebIdentity):
        raise ValueError("has a web_identity_token_file and no role_arn to assume with it")
    return AwsAccount(source=source, region=region, service=service)


def _aws_source(fields: Mapping[str, Any]) -> AwsKey | AwsMachine | WebIdentity:
    keys = ("access_key_id", "AccessKeyId", "secret_access_key", "SecretAccessKey")
    kinds = (keys, ("credential_source",), ("web_identity_token_file",))
    if sum(any(name in fields for name in names) for names in kinds) > 1:
        raise ValueError("has more than one of access_key_id, credential_source and web_identity_token_file")
    if "web_identity_token_file" in fields:
        file = _text(fields, "web_identity_token_file")
        if not file.startswith("/"):
            raise ValueError("has a web_identity_token_file that is no absolute path")
        return WebIdentity(token_file=file)
    if "credential_source" in fields:
        known = {each.value: each for each in AwsMachine}
        if (name := _text(fields, "credential_source")) in known:
            return known[name]
        raise ValueError(f"has a credential_source that is none of {', '.join(known)}")
    session_token = _text(fields, "session_token", "SessionToken", default="")
    return AwsKey(
        access_key_id=SecretValue(_text(fields, "access_key_id", "AccessKeyId")),
        secret_access_key=SecretValue(_text(fields, "secret_access_key", "SecretAccessKey")),
        session_token=SecretValue(session_token) if session_token else None,
    )


def _aws_role(fields: Mapping[str, Any], source: AwsKey | AwsMachine | WebIdentity, region: str) -> AwsRole:
    arn = _text(fields, "role_arn")
    if _ROLE.fullmatch(arn) is None:
        raise ValueError("has a role_arn that is not the ARN of a role")
    session_name = _text(fields, "role_session_name", default="janua")
    if _SESSION_NAME.fullmatch(session_name) is None:
        raise ValueError("has a role_session_name that AWS does not take: 2 to 64 letters, digits and any of _=,.@-")
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return AwsRole(
        arn=arn,
        source=source,
        session_name=session_name,
        external_id=_text(fields, "external_id", default=""),
        sts_url=_url(_text(fields, "sts_url", default=f"https://sts.{region}.{domain}"), "sts_url"),
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


def foreign_issuer(key: Key) -> str | None:
    """The host that tokens or keys are fetched from, unless it is one of Amazon's, Google's or Microsoft's."""
    match key:
        case GoogleAccount() | EntraApp():
            host = parse_url(key.token_url).host
            return None if host in _ISSUERS else host
        case AwsAccount(source=AwsRole() as role):
            host = parse_url(role.sts_url).host
            return None if _STS_HOST.fullmatch(host) else host
    return None


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
