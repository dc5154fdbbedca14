"""The providers that a proxy service can name. A provider here is where its API is; what they speak, nodes know."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# Name → base URL without a version segment: the request path, such as `/v1/chat/completions`, follows it.
# None: there is no public address, so that the service must give its own `base_url`.
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
        "together": "https://api.together.xyz",
        "fireworks": "https://api.fireworks.ai/inference",
        "openrouter": "https://openrouter.ai/api",
        "deepseek": "https://api.deepseek.com",
        "xai": "https://api.x.ai",
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
