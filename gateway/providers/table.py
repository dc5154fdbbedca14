"""The table of providers. A new provider that speaks OpenAI's API is one row; its default base URL stands in
`janua_resources.providers`, which the config server validates against too."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from janua_resources.providers import PROVIDER_BASE_URLS

from gateway.config.secret import SecretValue
from gateway.types import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider. A credential is sent as `auth_header: auth_scheme CREDENTIAL`; `base_url` None must be configured.

    `strip_headers` are client headers that would name another account than that of the credential.
    """

    name: str
    base_url: str | None
    schema: Schema = Schema.OPENAI
    auth_header: str = "authorization"
    auth_scheme: str = "Bearer"
    strip_headers: frozenset[bytes] = frozenset({b"openai-organization", b"openai-project"})

    def credential_header(self, credential: SecretValue) -> tuple[str, str]:
        """The header that carries the credential."""
        return self.auth_header, f"{self.auth_scheme} {credential.reveal()}".lstrip()


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {name: Provider(name=name, base_url=base_url) for name, base_url in PROVIDER_BASE_URLS.items()}
)
