"""The table of schemas: what each family of wire formats speaks."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.schemas.anthropic.count_tokens import AnthropicCountTokens
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.bedrock.converse import BedrockConverse
from gateway.schemas.bedrock.count_tokens import BedrockCountTokens
from gateway.schemas.bedrock.embeddings import BedrockEmbeddings
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.cohere.chat import CohereChat
from gateway.schemas.cohere.embeddings import CohereEmbeddings
from gateway.schemas.cohere.rerank import CohereRerank
from gateway.schemas.gemini.count_tokens import GeminiCountTokens
from gateway.schemas.gemini.embeddings import GeminiBatchEmbedContents, GeminiEmbedContent
from gateway.schemas.gemini.generate_content import GeminiGenerateContent
from gateway.schemas.gemini.vertex_count_tokens import VertexCountTokens
from gateway.schemas.gemini.vertex_embeddings import VertexEmbeddings
from gateway.schemas.ollama.dialects import OllamaChat, OllamaEmbeddings
from gateway.schemas.openai.chat import OpenAIChat
from gateway.schemas.openai.completions import OpenAICompletions
from gateway.schemas.openai.embeddings import OpenAIEmbeddings
from gateway.schemas.openai.rerank import OpenAIRerank
from gateway.schemas.openai.responses import OpenAIResponses
from gateway.schemas.openai.strict import GroqChat, MistralChat
from gateway.schemas.whole_dialect import CountTokensTarget, EmbeddingsTarget, RerankDialect
from gateway.types import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of wire formats: its dialects for each operation, first the one that others are translated to.

    `is_openai`: it may have OpenAI's other operations too, which are passed through as they are. `tells_usage`: its
    streams tell their usage unasked, and it refuses to be asked.
    """

    chat: tuple[ChatDialect, ...] = ()
    embeddings: tuple[EmbeddingsTarget, ...] = ()
    rerank: tuple[RerankDialect, ...] = ()
    count_tokens: tuple[CountTokensTarget, ...] = ()
    is_openai: bool = False
    tells_usage: bool = False


OPENAI_CHAT = OpenAIChat()
OPENAI_RESPONSES = OpenAIResponses()
OPENAI_COMPLETIONS = OpenAICompletions()
OPENAI_EMBEDDINGS = OpenAIEmbeddings()
OPENAI_RERANK = OpenAIRerank()

GEMINI = GeminiGenerateContent()
GEMINI_BATCH_EMBEDDINGS = GeminiBatchEmbedContents()
GEMINI_EMBEDDINGS = GeminiEmbedContent()
GEMINI_COUNT_TOKENS = GeminiCountTokens()
VERTEX_EMBEDDINGS = VertexEmbeddings()
VERTEX_COUNT_TOKENS = VertexCountTokens()
ANTHROPIC_MESSAGES = AnthropicMessages()
ANTHROPIC_COUNT_TOKENS = AnthropicCountTokens()
BEDROCK_CONVERSE = BedrockConverse()
BEDROCK_EMBEDDINGS = BedrockEmbeddings()
BEDROCK_COUNT_TOKENS = BedrockCountTokens()
COHERE_CHAT = CohereChat()
COHERE_EMBEDDINGS = CohereEmbeddings()
COHERE_RERANK = CohereRerank()
OLLAMA_CHAT = OllamaChat()
OLLAMA_EMBEDDINGS = OllamaEmbeddings()

# Not OpenAI itself, but many servers of its API rank texts too.
_OPENAI = Family(
    chat=(OPENAI_CHAT, OPENAI_COMPLETIONS),
    embeddings=(OPENAI_EMBEDDINGS,),
    rerank=(OPENAI_RERANK,),
    is_openai=True,
)

OPENAI_ITSELF = Family(
    chat=(OPENAI_CHAT, OPENAI_RESPONSES, OPENAI_COMPLETIONS), embeddings=(OPENAI_EMBEDDINGS,), is_openai=True
)
"""What OpenAI, Azure and few others speak; most who speak OpenAI's chat have no responses, or only a part of them."""

MISTRAL = Family(chat=(MistralChat(), OPENAI_CHAT), embeddings=(OPENAI_EMBEDDINGS,), is_openai=True, tells_usage=True)
"""What Mistral speaks: OpenAI's chat completions, with fewer fields."""

GROQ = Family(chat=(GroqChat(), OPENAI_CHAT), embeddings=(OPENAI_EMBEDDINGS,), is_openai=True)
"""What Groq speaks: the same, with other fields."""

_EVERYTHING = Family(
    chat=(OPENAI_CHAT, OPENAI_RESPONSES, OPENAI_COMPLETIONS, ANTHROPIC_MESSAGES, GEMINI, COHERE_CHAT, OLLAMA_CHAT),
    embeddings=(
        OPENAI_EMBEDDINGS,
        GEMINI_BATCH_EMBEDDINGS,
        GEMINI_EMBEDDINGS,
        COHERE_EMBEDDINGS,
        OLLAMA_EMBEDDINGS,
    ),
    rerank=(OPENAI_RERANK, COHERE_RERANK),
    count_tokens=(ANTHROPIC_COUNT_TOKENS, GEMINI_COUNT_TOKENS),
    is_openai=True,
)

SCHEMAS: Mapping[Schema, Family] = MappingProxyType(
    {
        Schema.OPENAI: _OPENAI,
        Schema.OPEN_INFERENCE: Family(),
        Schema.GEMINI: Family(
            chat=(GEMINI,),
            embeddings=(GEMINI_BATCH_EMBEDDINGS, GEMINI_EMBEDDINGS),
            count_tokens=(GEMINI_COUNT_TOKENS,),
        ),
        Schema.ANTHROPIC: Family(chat=(ANTHROPIC_MESSAGES,), count_tokens=(ANTHROPIC_COUNT_TOKENS,)),
        Schema.BEDROCK: Family(
            chat=(BEDROCK_CONVERSE,), embeddings=(BEDROCK_EMBEDDINGS,), count_tokens=(BEDROCK_COUNT_TOKENS,)
        ),
        Schema.COHERE: Family(chat=(COHERE_CHAT,), embeddings=(COHERE_EMBEDDINGS,), rerank=(COHERE_RERANK,)),
        Schema.OLLAMA: Family(chat=(OLLAMA_CHAT,), embeddings=(OLLAMA_EMBEDDINGS,)),
        # What is not understood is relayed, whatever it is.
        Schema.PASSTHROUGH: _EVERYTHING,
    },
)
