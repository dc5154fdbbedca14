"""The providers that a proxy service can name. A provider here is where its API is; what they speak, nodes know."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# Name → base URL without a version segment: the request path, such as `/v1/chat/completions`, follows it.
# None: there is no one public address, so that the service must give its own `base_url`, or its `region`.
PROVIDER_BASE_URLS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "openai": "https://api.openai.com",
        "azure_openai": None,
        "anthropic": "https://api.anthropic.com",
        "gemini": "https://generativelanguage.googleapis.com",
        "vertex_ai": None,
        "bedrock": None,
        "cohere": "https://api.cohere.com",
        "mistral": "https://api.mistral.ai",
        "groq": "https://api.groq.com/openai",
        "together": "https://api.together.ai",
        "fireworks": "https://api.fireworks.ai/inference",
        "openrouter": "https://openrouter.ai/api",
        "deepseek": "https://api.deepseek.com",
        "xai": "https://api.x.ai",
        "perplexity": "https://api.perplexity.ai",
        "nvidia": "https://integrate.api.nvidia.com",
        "huggingface": "https://router.huggingface.co",
        "ollama": "http://127.0.0.1:11434",
        "vllm": None,
        "llama_cpp": None,
        "tgi": None,
        "sglang": None,
        "triton": None,
        "mlserver": None,
        "custom": None,
    }
)

PUBLISHED_PRICES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "openai": "openai",
        "azure_openai": "azure",
        "anthropic": "anthropic",
        "gemini": "google",
        "vertex_ai": "google",
        "bedrock": "aws",
        "cohere": "cohere",
        "mistral": "mistral",
        "groq": "groq",
        "together": "together",
        "fireworks": "fireworks",
        "openrouter": "openrouter",
        "deepseek": "deepseek",
        "xai": "x-ai",
    }
)
"""The providers whose list prices `genai-prices` has, and what it calls them."""

WITHOUT_EMBEDDINGS: Final = frozenset({"anthropic", "triton", "mlserver"})
"""The providers that nodes cannot ask for vectors. A test compares them with the nodes' own table."""

REGIONAL_PROVIDERS: Final = frozenset({"bedrock", "vertex_ai"})
"""Those with an address in each region."""

_GOOGLE: Final = "aiplatform.googleapis.com"
# Locations of Google's that are several regions have hosts of another form.
_GOOGLE_HOSTS: Final[Mapping[str, str]] = MappingProxyType(
    {"global": _GOOGLE, "us": "aiplatform.us.rep.googleapis.com", "eu": "aiplatform.eu.rep.googleapis.com"}
)
_BEDROCK_HOST: Final = re.compile(
    r"(?:[a-z0-9-]+\.)*bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com"
)


def regional_url(provider: str, region: str) -> str:
    """The base URL in that region of a provider that has one in each."""
    if provider == "bedrock":
        return f"https://bedrock-runtime.{region}.amazonaws.com"
    return f"https://{_GOOGLE_HOSTS.get(region) or f'{region}-{_GOOGLE}'}"


def region_of_bedrock(host: str) -> str:
    """The region in a host name of Bedrock's; empty for other names."""
    found = _BEDROCK_HOST.fullmatch(host)
    return found[1] if found is not None else ""
