"""What the secrets of a service hold, as its provider understands them. Pure."""

from collections.abc import Mapping

from gateway.config.credential import AwsAuth, CredentialConfig, HeaderAuth, HeaderKey, Key, QueryKey
from gateway.config.secret import SecretValue
from gateway.config.snapshot import ProviderTarget, SecretConfig
from gateway.providers.accounts import read_aws_account
from gateway.providers.table import PROVIDERS


def read_key(target: ProviderTarget, secret: SecretValue) -> Key:
    """What a secret is for that provider. Raises `ValueError`, in words that show nothing of it, if it is nothing."""
    provider = PROVIDERS[target.provider]
    auth = target.auth or provider.auth
    text = secret.reveal()
    if isinstance(auth, AwsAuth):
        return read_aws_account(text, region=target.region, service=auth.service)
    if provider.read_account is not None and text.startswith("{"):
        return provider.read_account(text, target)
    if "\n" in text or not (text.isascii() and text.isprintable()):
        kind = "JSON" if text.startswith("{") else "a certificate"
        raise ValueError(f"is {kind}, which cannot be sent as a credential")
    if isinstance(auth, HeaderAuth):
        return HeaderKey(name=auth.name, value=SecretValue(f"{auth.scheme} {text}".lstrip()))
    return QueryKey(name=auth.name, value=secret)


def read_credentials(target: ProviderTarget, secrets: Mapping[str, SecretConfig]) -> tuple[CredentialConfig, ...]:
    """The credentials of a service whose secrets are in use."""
    return tuple(
        CredentialConfig(secret=each.secret, weight=each.weight, key=read_key(target, secrets[each.secret].value))
        for each in target.credentials
    )
