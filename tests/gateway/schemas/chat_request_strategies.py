"""Plausible conversations as canonical requests, for property tests of dialects."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from gateway.types import (
    ChatRequest,
    ContentPart,
    ImagePart,
    JsonSchemaFormat,
    Message,
    NamedTool,
    PlainFormat,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)
from tests.gateway.schemas.chat_event_strategies import IDS, WORDS

SCHEMAS = st.dictionaries(IDS, WORDS | st.booleans() | st.integers(-9, 9), max_size=3).map(
    lambda properties: {"type": "object", "properties": properties}
)
_NUMBERS = st.none() | st.floats(-2, 2)
_COUNTS = st.none() | st.integers(0, 10**6)

IMAGES = st.binary(min_size=1, max_size=6).map(
    lambda data: ImagePart(url="data:image/png;base64,iVBOR" + data.hex() + "A" * (-(5 + 2 * len(data)) % 4))
)


@st.composite
def turns(draw: st.DrawFn, number: int) -> list[Message]:
    """What a user says, perhaps with pictures, and what the model answers, perhaps with calls that have results."""
    said: list[ContentPart] = [TextPart(text=draw(WORDS)), *draw(st.lists(IMAGES, max_size=1))]
    answered: list[ContentPart] = [TextPart(text=draw(WORDS))]
    if draw(st.booleans()):
        answered.insert(0, ReasoningPart(text=draw(WORDS)))
    calls = [
        ToolCall(
            id=f"call_{number}_{index}",
            name=draw(IDS),
            arguments=msgspec.json.encode(draw(st.dictionaries(IDS, WORDS, max_size=2))).decode(),
        )
        for index in range(draw(st.integers(0, 2)))
    ]
    results = [
        ToolResult(call_id=call.id, name=call.name, content=(TextPart(text=draw(WORDS)),))
        for call in draw(st.permutations(calls))
    ]
    messages = [
        Message(role=Role.USER, content=tuple(said)),
        Message(role=Role.ASSISTANT, content=(*answered, *calls)),
    ]
    return [*messages, Message(role=Role.TOOL, content=tuple(results))] if results else messages


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Instructions, turns, and a last question."""
    system = draw(st.lists(WORDS, max_size=1))
    messages = [Message(role=Role.SYSTEM, content=(TextPart(text=text),)) for text in system]
    for number in range(draw(st.integers(0, 2))):
        messages += draw(turns(number))
    return (*messages, Message(role=Role.USER, content=(TextPart(text=draw(WORDS)),)))


TOOLS = st.builds(Tool, name=IDS, description=st.none() | WORDS, parameters=st.none() | SCHEMAS)
FORMATS = (
    st.none() | st.just(PlainFormat.JSON_OBJECT) | st.builds(JsonSchemaFormat, name=st.just("answer"), schema=SCHEMAS)
)
CHOICES = st.none() | st.sampled_from(ToolMode) | st.builds(NamedTool, name=IDS)


def requests() -> st.SearchStrategy[ChatRequest]:
    """Requests with what every dialect has a place for."""
    return st.builds(
        ChatRequest,
        model=st.just("asked"),
        messages=conversations(),
        max_output_tokens=_COUNTS,
        temperature=_NUMBERS,
        top_p=_NUMBERS,
        top_k=_COUNTS,
        stop=st.lists(WORDS, max_size=2).map(tuple),
        seed=_COUNTS,
        presence_penalty=_NUMBERS,
        frequency_penalty=_NUMBERS,
        tools=st.lists(TOOLS, max_size=2, unique_by=lambda tool: tool.name).map(tuple),
        response_format=FORMATS,
        top_logprobs=st.none() | st.integers(0, 5),
    )


def merged(messages: Sequence[Message]) -> list[tuple[Role, list[ContentPart]]]:
    """The conversation with messages of one role that follow each other as one: what they say does not differ."""
    found: list[tuple[Role, list[ContentPart]]] = []
    for message in messages:
        if found and found[-1][0] is message.role:
            found[-1][1].extend(message.content)
        else:
            found.append((message.role, list(message.content)))
    return found
