"""The dialects that tests pair with each other."""

from collections.abc import Sequence
from typing import Final

from tests.conformance.dialect_anthropic import AnthropicBackend, AnthropicClient
from tests.conformance.dialect_backends import Backend
from tests.conformance.dialect_bedrock import BedrockBackend
from tests.conformance.dialect_cohere import CohereBackend, CohereClient
from tests.conformance.dialect_completions import CompletionsBackend, CompletionsClient
from tests.conformance.dialect_gemini import GeminiBackend, GeminiClient
from tests.conformance.dialect_grpc import GrpcClient
from tests.conformance.dialect_ollama import OllamaBackend, OllamaClient
from tests.conformance.dialect_openai import OpenAIBackend, OpenAIClient
from tests.conformance.dialect_responses import ResponsesBackend, ResponsesClient
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

RESPONSES: Final[Backend] = ResponsesBackend()
"""One more, which every client is translated to."""

_TRANSLATED: Final = (BACKENDS[0], RESPONSES, *BACKENDS[1:])

# OpenAI's other APIs, which most of its backends lack, are for the tests of translation alone.
PAIRS: Final[Sequence[tuple[Client, Backend]]] = (
    *((CLIENTS[0], backend) for backend in _TRANSLATED),
    *((ResponsesClient(), backend) for backend in (RESPONSES, *BACKENDS)),
    *((CompletionsClient(), backend) for backend in (CompletionsBackend(), *_TRANSLATED[1:])),
    *((client, backend) for client in CLIENTS[1:] for backend in _TRANSLATED),
)
