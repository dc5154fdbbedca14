"""The canonical form of a conversation, which dialects are translated to and from, and the operations a node serves.

An answer is a sequence of events, streamed or not; a unary answer is its events folded. `schemas` makes and reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


class Operation(Enum):
    """What a request asks for, whatever the protocol and dialect. What is not inference is passed through."""

    CHAT = auto()
    EMBEDDINGS = auto()
    OPEN_INFERENCE = auto()
    PROXY = auto()


class Schema(Enum):
    """A family of wire formats that backends speak. What speaks `PASSTHROUGH` is not understood, only relayed."""

    OPENAI = auto()
    OPEN_INFERENCE = auto()
    PASSTHROUGH = auto()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """A picture, as an address (`https:` or `data:`)."""

    url: str
    detail: str | None = None


ContentPart: TypeAlias = TextPart | ImagePart


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function call by the model; `arguments` is the JSON text it wrote."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: tuple[ContentPart, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, JsonValue] | None = None
    strict: bool | None = None


class ToolMode(StrEnum):
    """How freely the model chooses whether to call a function."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTool:
    """A tool choice: this function must be called."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchemaFormat:
    """An answer format: JSON that obeys a schema."""

    name: str
    schema: Mapping[str, JsonValue]
    description: str | None = None
    strict: bool | None = None


class PlainFormat(StrEnum):
    """An answer format without parameters."""

    TEXT = "text"
    JSON_OBJECT = "json_object"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation and how to answer it. None means the backend's default."""

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolMode | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainFormat | JsonSchemaFormat | None = None
    top_logprobs: int | None = None
    user: str | None = None
    extra: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of a request. `input_tokens` includes cached ones, `output_tokens` includes reasoning."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """Natural logarithm of a token's probability, with the likeliest alternatives at its place."""

    token: str
    logprob: float
    bytes: bytes = b""
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStarted:
    """First event of an answer."""

    id: str
    model: str
    created: int
    system_fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """More text of one alternative."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalDelta:
    """More of a refusal."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """More of what the model thought."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """More of a function call; `id` and `name` come with its first piece."""

    choice: int
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobsDelta:
    """Probabilities of new tokens."""

    choice: int
    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceFinished:
    """One alternative has ended; None is a reason that Janua does not know."""

    choice: int
    reason: FinishReason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReported:
    """The tokens of the whole answer."""

    usage: Usage


ChatEvent: TypeAlias = (
    AnswerStarted
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ToolCallDelta
    | LogprobsDelta
    | ChoiceFinished
    | UsageReported
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsRequest:
    """Texts to be turned into vectors."""

    model: str
    input: tuple[str, ...]
    dimensions: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsAnswer:
    """One vector per text, in order."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage
