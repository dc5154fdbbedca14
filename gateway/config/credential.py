"""Credentials of services as frozen values: how a provider wants a key, and what a secret was found to hold."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from gateway.config.secret import SecretValue


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderAuth:
    """A key goes in a header, after a word; the name is in lower case."""

    name: str = "authorization"
    scheme: str = "Bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAuth:
    """A key goes in the query of the URL."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAuth:
    """Requests are signed for this service of AWS."""

    service: str


AuthConfig: TypeAlias = HeaderAuth | QueryAuth | AwsAuth


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderKey:
    """A header as it is sent."""

    name: str
    value: SecretValue


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryKey:
    """A parameter of the query."""

    name: str
    value: SecretValue


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKey:
    """A key to sign requests with; a temporary one has a session token."""

    access_key_id: SecretValue
    secret_access_key: SecretValue
    session_token: SecretValue | None = None


class AwsMachine(Enum):
    """Who gives a node a key for being where it runs, by the name that AWS has for it (`credential_source`)."""

    CONTAINER = "EcsContainer"
    INSTANCE = "Ec2InstanceMetadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebIdentity:
    """A token of another identity provider, in a file in which somebody keeps a fresh one."""

    token_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsRole:
    """A role to assume, and as whom. `external_id` is empty where the role asks for none."""

    arn: str
    source: AwsKey | AwsMachine | WebIdentity
    session_name: str
    external_id: str
    sts_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccount:
    """What requests are signed with, for a service in a region."""

    source: AwsKey | AwsMachine | AwsRole
    region: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleAccount:
    """A service account, which gets access tokens for assertions that it signs (RFC 7523)."""

    email: str
    key_id: str
    private_key: SecretValue
    token_url: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraApp:
    """An application, which gets access tokens for its password (RFC 6749 section 4.4)."""

    client_id: str
    client_secret: SecretValue
    token_url: str
    scope: str


TokenGrant: TypeAlias = GoogleAccount | EntraApp
Key: TypeAlias = HeaderKey | QueryKey | AwsAccount | TokenGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialConfig:
    """One credential of a service: the name of its secret, its share of the requests, and what it is."""

    secret: str
    weight: int
    key: Key
