"""The dialects that tests pair with each other."""

from collections.abc import Sequence
from typing import Final

from tests.conformance.dialect_anthropic import AnthropicBackend, AnthropicClient
from tests.conformance.dialect_backends import Backend
from tests.conformance.dialect_bedrock import BedrockBackend
from tests.conformance.dialect_cohere import CohereBackend, CohereClient
from tests.conformance.dialect_gemini import GeminiBackend, GeminiClient
from tests.conformance.dialect_grpc import GrpcClient
from tests.conformance.dialect_ollama import OllamaBackend, OllamaClient
from tests.conformance.dialect_openai import OpenAIBackend, OpenAIClient
from tests.conformance.dialects import Client, HttpClient

HTTP_CLIENTS: Final[Sequence[HttpClient]] = (
    OpenAIClient(),
    AnthropicClient(),
    GeminiClient(),
    CohereClient(),
    OllamaClient(),
)
CLIENTS: Final[Sequence[Client]] = (*HTTP_CLIENTS, GrpcClient())
BACKENDS: Final[Sequence[Backend]] = (
    OpenAIBackend(),
    AnthropicBackend(),
    GeminiBackend(),
    BedrockBackend(),
    CohereBackend(),
    OllamaBackend(),
)
