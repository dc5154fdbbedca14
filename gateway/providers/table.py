"""The table of providers. One that speaks OpenAI's API as OpenAI does needs no row here, only its base URL in
`janua_resources.providers`, which the config server validates against too."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from janua_resources.providers import PROVIDER_BASE_URLS

from gateway.config.secret import SecretValue
from gateway.schemas.table import OPENAI_ITSELF, SCHEMAS, Family
from gateway.types import Feature, Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider. A credential is sent as `auth_header: auth_scheme CREDENTIAL`; `base_url` None must be configured.

    `strip_headers` are client headers that would name another account than that of the credential. `own_family`: it
    speaks more than others of its schema. `lacks`: what it refuses from whatever model, by its own documentation.
    """

    name: str
    base_url: str | None
    schema: Schema = Schema.OPENAI
    auth_header: str = "authorization"
    auth_scheme: str = "Bearer"
    strip_headers: frozenset[bytes] = frozenset({b"openai-organization", b"openai-project"})
    own_family: Family | None = None
    lacks: frozenset[Feature] = frozenset()

    @property
    def family(self) -> Family:
        """What it speaks."""
        return self.own_family or SCHEMAS[self.schema]

    def credential_header(self, credential: SecretValue) -> tuple[str, str]:
        """The header that carries the credential."""
        return self.auth_header, f"{self.auth_scheme} {credential.reveal()}".lstrip()


_NOTHING: frozenset[bytes] = frozenset()

# What differs from OpenAI.
_ROWS: Mapping[str, Mapping[str, Any]] = {
    "openai": {"own_family": OPENAI_ITSELF},
    "azure_openai": {"auth_header": "api-key", "auth_scheme": "", "own_family": OPENAI_ITSELF},
    "anthropic": {
        "schema": Schema.ANTHROPIC,
        "auth_header": "x-api-key",
        "auth_scheme": "",
        "strip_headers": frozenset({b"anthropic-organization-id"}),
    },
    "gemini": {
        "schema": Schema.GEMINI,
        "auth_header": "x-goog-api-key",
        "auth_scheme": "",
        "strip_headers": frozenset({b"x-goog-user-project"}),
    },
    "cohere": {"schema": Schema.COHERE, "strip_headers": _NOTHING},
    "groq": {"lacks": frozenset({Feature.LOGPROBS, Feature.MULTIPLE_CHOICES})},
    "ollama": {"schema": Schema.OLLAMA, "strip_headers": _NOTHING},
    "triton": {"schema": Schema.OPEN_INFERENCE, "strip_headers": _NOTHING},
    "mlserver": {"schema": Schema.OPEN_INFERENCE, "strip_headers": _NOTHING},
}

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        name: Provider(name=name, base_url=base_url, **_ROWS.get(name, {}))
        for name, base_url in PROVIDER_BASE_URLS.items()
    }
)
