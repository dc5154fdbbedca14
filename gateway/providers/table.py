"""The table of providers. One that speaks OpenAI's API as OpenAI does needs no row here, only its base URL in
`janua_resources.providers`, which the config server validates against too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from janua_resources.providers import PROVIDER_BASE_URLS

from gateway.config.credential import HeaderAuth, Key
from gateway.config.snapshot import ProviderTarget
from gateway.providers.accounts import read_aws_account, read_entra_app, read_google_account
from gateway.providers.paths import azure_path, path_without_version, vertex_path
from gateway.schemas.table import (
    GEMINI,
    GROQ,
    MISTRAL,
    OPENAI_EMBEDDINGS,
    OPENAI_ITSELF,
    OPENAI_RESPONSES,
    VERTEX_COUNT_TOKENS,
    VERTEX_EMBEDDINGS,
    Family,
)
from gateway.types import Feature, Schema

AccountReader: TypeAlias = Callable[[str, ProviderTarget], Key]
PathMaker: TypeAlias = Callable[[ProviderTarget, str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider. `base_url` None must be configured, or follows from a region.

    A secret is a key, sent as `auth` says, unless it is JSON and `read_account` knows what it tells. `make_path` makes
    the path of an inference request from the dialect's and the model. `strip_headers` are client headers that would
    name another account than that of the credential. `own_family`: it speaks more, or less, than others of its schema.
    `lacks`: what it refuses from whatever model, by its own documentation.
    """

    name: str
    base_url: str | None
    schema: Schema = Schema.OPENAI
    auth: HeaderAuth = field(default_factory=HeaderAuth)
    read_account: AccountReader | None = None
    make_path: PathMaker | None = None
    strip_headers: frozenset[bytes] = frozenset({b"openai-organization", b"openai-project"})
    own_family: Family | None = None
    lacks: frozenset[Feature] = frozenset()


_NOTHING: frozenset[bytes] = frozenset()

# What differs from OpenAI.
_ROWS: Mapping[str, Mapping[str, Any]] = {
    "openai": {"own_family": OPENAI_ITSELF},
    "azure_openai": {
        "auth": HeaderAuth(name="api-key", scheme=""),
        "read_account": lambda text, _: read_entra_app(text),
        "make_path": azure_path,
        "own_family": OPENAI_ITSELF,
    },
    # Its chat completions ended in September 2026; responses took their place. Vectors are none that others can read,
    # but pass (docs.perplexity.ai/docs/agent-api/openai-compatibility, …/api-reference/embeddings-post).
    "perplexity": {"own_family": Family(chat=(OPENAI_RESPONSES,), embeddings=(OPENAI_EMBEDDINGS,))},
    "mistral": {"own_family": MISTRAL},
    # docs.x.ai/developers/model-capabilities/text/comparison
    "xai": {"own_family": OPENAI_ITSELF},
    # api-docs.deepseek.com
    "deepseek": {"make_path": path_without_version},
    "anthropic": {
        "schema": Schema.ANTHROPIC,
        "auth": HeaderAuth(name="x-api-key", scheme=""),
        "strip_headers": frozenset({b"anthropic-organization-id"}),
    },
    "gemini": {
        "schema": Schema.GEMINI,
        "auth": HeaderAuth(name="x-goog-api-key", scheme=""),
        "strip_headers": frozenset({b"x-goog-user-project"}),
    },
    "vertex_ai": {
        "schema": Schema.GEMINI,
        "read_account": lambda text, _: read_google_account(text),
        "make_path": vertex_path,
        "strip_headers": frozenset({b"x-goog-user-project"}),
        "own_family": Family(chat=(GEMINI,), embeddings=(VERTEX_EMBEDDINGS,), count_tokens=(VERTEX_COUNT_TOKENS,)),
    },
    "bedrock": {
        "schema": Schema.BEDROCK,
        "read_account": lambda text, target: read_aws_account(text, region=target.region, service="bedrock"),
        "strip_headers": _NOTHING,
    },
    "cohere": {"schema": Schema.COHERE, "strip_headers": _NOTHING},
    # console.groq.com/docs/openai: with these, 400
    "groq": {"own_family": GROQ, "lacks": frozenset({Feature.LOGPROBS, Feature.MULTIPLE_CHOICES})},
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
