"""What is translated in measurements: one conversation and one answer of a usual size, in the words of any dialect."""

from collections.abc import Mapping, Sequence

from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    FinishReason,
    JsonValue,
    Message,
    Role,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
    ToolResult,
    Usage,
    UsageReported,
)

MODEL = "model-1"
SETTINGS = AnswerSettings(model=MODEL)

_WORDS = "You are a careful assistant of a weather service and answer in one or two short sentences. "
_PARAMETERS: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Name of the city, with its country if it is not unique"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
    },
    "required": ["city"],
}


def _says(role: Role, *texts: str) -> Message:
    return Message(role=role, content=tuple(TextPart(text=text) for text in texts))


def _tool(name: str) -> Tool:
    return Tool(name=name, description=f"Gives the {name} of a city for some days.", parameters=_PARAMETERS)


CONVERSATION = ChatRequest(
    model=MODEL,
    messages=(
        _says(Role.SYSTEM, _WORDS * 6),
        _says(Role.USER, "What is the weather like in Reykjavík today, and will there be snow?"),
        Message(
            role=Role.ASSISTANT,
            content=(
                TextPart(text="Let me look that up."),
                ToolCall(id="call_1", name="weather", arguments='{"city":"Reykjavík","unit":"celsius"}'),
            ),
        ),
        Message(
            role=Role.TOOL,
            content=(ToolResult(call_id="call_1", name="weather", content=(TextPart(text="2 °C, rain. " * 10),)),),
        ),
        _says(Role.ASSISTANT, "It is raining at two degrees; no snow is expected today. " * 3),
        _says(Role.USER, "And tomorrow? I want to walk along the harbour in the afternoon."),
    ),
    max_output_tokens=512,
    temperature=0.5,
    tools=(_tool("weather"), _tool("tides")),
    tool_choice=ToolMode.AUTO,
)
"""Instructions, two turns with a call and its result, two functions: about 2.5 KB of JSON."""

_ANSWER = "Tomorrow afternoon stays dry, so the harbour is a fine place for a walk. " * 8
_ARGUMENTS = ('{"ci', 'ty": "Rey', "kjavík", '", "days"', ": 2}")


def _events() -> list[ChatEvent]:
    words = _ANSWER.split(" ")
    return [
        AnswerStarted(id="answer-1", model=MODEL, created=1_700_000_000),
        *(TextDelta(choice=0, text=f"{word} ") for word in words if word),
        ToolCallDelta(choice=0, index=0, id="call_2", name="tides"),
        *(ToolCallDelta(choice=0, index=0, arguments=piece) for piece in _ARGUMENTS),
        ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS),
        UsageReported(usage=Usage(input_tokens=420, output_tokens=130, cached_input_tokens=256)),
    ]


EVENTS: Sequence[ChatEvent] = tuple(_events())
"""An answer word by word, then a call whose arguments come in pieces."""


def request_body(dialect: ChatDialect) -> bytes:
    """The conversation in a dialect."""
    return dialect.encode_request(CONVERSATION, MODEL, stream=True, drop_unsupported=True)


def stream_events(dialect: ChatDialect) -> list[bytes]:
    """The answer as a stream in a dialect, event by event as a backend sends it."""
    encoder = dialect.event_encoder(SETTINGS)
    written = b"".join(encoder.encode((event,)) for event in EVENTS) + encoder.finish()
    return [event.raw for event in dialect.framing.parser().feed(written)]
