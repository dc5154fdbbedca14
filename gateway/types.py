"""The canonical form of a conversation, which dialects are translated to and from, and the operations a node serves.

An answer is a sequence of events, streamed or not; a unary answer is its events folded. `schemas` makes and reads them.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum, auto
from typing import TypeAlias

import msgspec

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


class Operation(Enum):
    """What a request asks for, whatever the protocol and dialect. What is not inference is passed through."""

    CHAT = auto()
    EMBEDDINGS = auto()
    RERANK = auto()
    COUNT_TOKENS = auto()
    IMAGES = auto()
    AUDIO = auto()
    MODERATIONS = auto()
    INVOCATION = auto()
    OPEN_INFERENCE = auto()
    FILES = auto()
    BATCHES = auto()
    PROXY = auto()


class Schema(Enum):
    """A family of wire formats that backends speak. What speaks `PASSTHROUGH` is not understood, only relayed."""

    OPENAI = auto()
    OPEN_INFERENCE = auto()
    PASSTHROUGH = auto()
    ANTHROPIC = auto()
    GEMINI = auto()
    BEDROCK = auto()
    COHERE = auto()
    OLLAMA = auto()


class Feature(Enum):
    """Something that a request may ask for and not every model can do."""

    CHAT = auto()
    EMBEDDINGS = auto()
    STREAMING = auto()
    TOOLS = auto()
    IMAGES = auto()
    AUDIO = auto()
    FILES = auto()
    JSON_OBJECT = auto()
    JSON_SCHEMA = auto()
    REASONING = auto()
    LOGPROBS = auto()
    MULTIPLE_CHOICES = auto()


class Role(StrEnum):
    """Who speaks in a conversation."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class CacheTtl(Enum):
    """How long a backend that caches prompts is asked to keep what ends at a marked place."""

    DEFAULT = auto()
    ONE_HOUR = auto()


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A piece of text. `citations` are the sources of what the model wrote, as their dialect writes them."""

    text: str
    citations: tuple["Citation", ...] = ()
    cache: CacheTtl | None = None


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """A source of a piece of text. `extra` has what only the dialect that it came in knows."""

    url: str = ""
    title: str = ""
    cited_text: str = ""
    extra: Mapping[str, JsonValue] | None = None


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A picture, as an address (`https:` or `data:`)."""

    url: str
    detail: str | None = None
    cache: CacheTtl | None = None


class AudioPart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Sound, in base64; `format` is what follows `audio/` in its media type, such as `wav` or `mp3`."""

    data: str
    format: str


class FilePart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A document: an address (`https:`, or `data:` with its media type in it), or the id of a file at the backend."""

    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    media_type: str | None = None
    extra: Mapping[str, JsonValue] | None = None
    cache: CacheTtl | None = None


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A function call by the model; `arguments` is the JSON text it wrote.

    `signature` is opaque: some backends want it back with the call.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None
    cache: CacheTtl | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a function gave. `name` is that of the function, where the dialect tells it."""

    call_id: str
    content: tuple["TextPart | ImagePart | FilePart", ...] = ()
    is_error: bool = False
    name: str | None = None
    cache: CacheTtl | None = None


class ReasoningPart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the model thought. With its signature the backend that wrote it takes it back in the next turn.

    `redacted` is thought that only the backend can read; then there is no text.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class RefusalPart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model's words for not answering."""

    text: str


class OpaquePart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What only one dialect has, such as the call of a tool that the backend runs itself: kept for the way back."""

    dialect: str
    value: Mapping[str, JsonValue]


ContentPart: TypeAlias = (
    TextPart | ImagePart | AudioPart | FilePart | ToolCall | ToolResult | ReasoningPart | RefusalPart | OpaquePart
)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation: its parts in their order.

    Calls, reasoning and refusals are the assistant's. Results stand in messages of the role TOOL, or of USER beside
    other parts. `extra` has the fields that only OpenAI's chat completions, or a server that speaks them, know.
    """

    role: Role
    content: tuple[ContentPart, ...] = ()
    name: str | None = None
    extra: Mapping[str, JsonValue] | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, JsonValue] | None = None
    strict: bool | None = None
    cache: CacheTtl | None = None


class OpaqueTool(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A tool that only one dialect has, such as a web search that the backend makes itself."""

    dialect: str
    value: Mapping[str, JsonValue]


class ToolMode(StrEnum):
    """How freely the model chooses whether to call a function."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


class NamedTool(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A tool choice: this function must be called."""

    name: str


class JsonSchemaFormat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An answer format: JSON that obeys a schema."""

    name: str
    schema: Mapping[str, JsonValue]
    description: str | None = None
    strict: bool | None = None

    def described_schema(self) -> Mapping[str, JsonValue]:
        """The schema, with the description in it, for dialects that have no other place for that."""
        return self.schema if self.description is None else {"description": self.description, **self.schema}


class PlainFormat(StrEnum):
    """An answer format without parameters."""

    TEXT = "text"
    JSON_OBJECT = "json_object"


class ReasoningEffort(StrEnum):
    """How much the model is to think."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and how much to think: in words, or in tokens (0: not at all, -1: as the model likes).

    `is_shown` says whether the caller wants to see it, in full or in summary; None is the backend's default.
    """

    effort: ReasoningEffort | None = None
    budget_tokens: int | None = None
    is_shown: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation and how to answer it. None means the backend's default.

    `extra` has the fields that only the dialect it came in knows; `dialect` names that.
    """

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: tuple[Tool | OpaqueTool, ...] = ()
    tool_choice: ToolMode | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainFormat | JsonSchemaFormat | None = None
    top_logprobs: int | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: Mapping[str, str] | None = None
    dialect: str = ""
    extra: Mapping[str, JsonValue] | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a request.

    `input_tokens` includes those read from a cache, those written to one and those of sound; `output_tokens` includes
    reasoning and sound. `search_units` are what some charge for ranking by instead of tokens.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_creation_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    search_units: int = 0


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a request will take as far as can be told before it is answered: tokens, 0 for one that takes none.

    `output_tokens` is the most that it asks for, None if it sets no bound.
    """

    input_tokens: int = 0
    output_tokens: int | None = None


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """Natural logarithm of a token's probability, with the likeliest alternatives at its place."""

    token: str
    logprob: float
    bytes: bytes = b""
    top: tuple["TokenLogprob", ...] = ()


class AnswerStarted(msgspec.Struct, frozen=True, kw_only=True):
    """First event of an answer."""

    id: str
    model: str
    created: int
    system_fingerprint: str = ""


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More text of one alternative."""

    choice: int
    text: str


class CitationAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A source of the text before it."""

    choice: int
    citation: Citation


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of a refusal."""

    choice: int
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of what the model thought."""

    choice: int
    text: str


class ReasoningSigned(msgspec.Struct, frozen=True, kw_only=True):
    """The thought before it is complete, and this is its signature."""

    choice: int
    signature: str


class ReasoningRedacted(msgspec.Struct, frozen=True, kw_only=True):
    """A thought that only the backend can read."""

    choice: int
    data: str


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of a function call; `id` and `name` come with its first piece. Calls are numbered from 0 on in a choice."""

    choice: int
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""


class OpaqueAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A whole piece of the answer that only one dialect has."""

    choice: int
    part: OpaquePart


class LogprobsDelta(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities of new tokens."""

    choice: int
    tokens: tuple[TokenLogprob, ...]


class ChoiceFinished(msgspec.Struct, frozen=True, kw_only=True):
    """One alternative has ended; None is a reason that Janua does not know. `stop_sequence` is what ended it."""

    choice: int
    reason: FinishReason | None
    stop_sequence: str | None = None


class UsageReported(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of the whole answer."""

    usage: Usage


ChatEvent: TypeAlias = (
    AnswerStarted
    | TextDelta
    | CitationAdded
    | RefusalDelta
    | ReasoningDelta
    | ReasoningSigned
    | ReasoningRedacted
    | ToolCallDelta
    | LogprobsDelta
    | OpaqueAdded
    | ChoiceFinished
    | UsageReported
)


class EmbeddingPurpose(StrEnum):
    """What vectors are for, where a model makes different ones for each."""

    DOCUMENT = "document"
    QUERY = "query"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    SIMILARITY = "similarity"


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to be turned into vectors.

    `purpose` is what the vectors are for; models that know of none make them for all. `as_base64`: the caller wants
    each as the base64 of its 32-bit floats. `extra` has what only `dialect` knows.
    """

    model: str
    input: tuple[str, ...]
    dimensions: int | None = None
    user: str | None = None
    purpose: EmbeddingPurpose | None = None
    as_base64: bool = False
    dialect: str = ""
    extra: Mapping[str, JsonValue] | None = None


class EmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One vector per text, in order."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage


class TokenCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a conversation would be to a model, some of them from its cache. Counting itself costs none."""

    input_tokens: int
    cached_input_tokens: int = 0
    usage: Usage | None = None


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to be put in the order of how much they have to do with `query`.

    `top_n` None ranks all. `returns_documents`: the caller wants the texts back in the answer. `extra` has what only
    `dialect` knows.
    """

    model: str
    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    returns_documents: bool = False
    dialect: str = ""
    extra: Mapping[str, JsonValue] | None = None


WholeRequest: TypeAlias = ChatRequest | EmbeddingsRequest | RerankRequest
"""What is said in requests that are looked into."""


class RankedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The place of a text among those of the request, from 0 on, and its score: the higher, the more relevant."""

    index: int
    score: float


class RerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The most relevant text first."""

    results: tuple[RankedDocument, ...]
    usage: Usage
