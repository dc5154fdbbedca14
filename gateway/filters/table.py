"""The table of filters: which policy becomes which filter. A new kind of policy is one file and one line here."""

from collections.abc import Callable, Mapping

from gateway.config.snapshot import ApiKeyAuthConfig, PolicyConfig
from gateway.filters.api_key_auth import ApiKeyAuth
from gateway.filters.authenticator import Authenticator, KeyIndex

FILTERS: Mapping[type[ApiKeyAuthConfig], Callable[[ApiKeyAuthConfig, KeyIndex], Authenticator]] = {
    ApiKeyAuthConfig: ApiKeyAuth,
}


def build_filter(policy: PolicyConfig, keys: KeyIndex) -> Authenticator:
    """The filter of a policy."""
    return FILTERS[type(policy.spec)](policy.spec, keys)
