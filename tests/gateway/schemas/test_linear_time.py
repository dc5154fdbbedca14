"""What a request or an answer costs grows with its size, and no faster.

Nobody must be able to hold up a node with a body of a few megabytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from gateway.errors import InvalidRequestError
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
)
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningSigned,
    TextDelta,
    ToolCallDelta,
)
from tests.gateway.schemas.dialect_streams import SETTINGS, decoded, streamed
from tests.support.linear_time import assert_linear

DIALECTS: Sequence[ChatDialect] = (
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    ANTHROPIC_MESSAGES,
    GEMINI,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    OLLAMA_CHAT,
)
SMALL, LARGE = 200, 1600
MOST = 24
"""Times as long may what is eight times as large take; what grows with the square takes 64 times as long."""

assert_grows_evenly = partial(assert_linear, most=MOST)

# Requests.

ASKED = {"role": "user", "content": "a"}
ASKED_OF_GEMINI = {"role": "user", "parts": [{"text": "a"}]}


def openai_call(number: int) -> dict[str, Any]:
    return {"id": f"c{number}", "type": "function", "function": {"name": f"f{number}", "arguments": "{}"}}


def gemini_call(number: int) -> dict[str, Any]:
    return {"functionCall": {"name": f"f{number}", "args": {}}}


def gemini_result(number: int) -> dict[str, Any]:
    return {"functionResponse": {"name": f"f{number}", "response": {}}}


def anthropic(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"max_tokens": 1, "messages": [ASKED, *messages], **fields}


Make = Callable[[int], dict[str, Any]]

REQUESTS: Mapping[str, tuple[ChatDialect, Make]] = {
    "turns": (OPENAI_CHAT, lambda count: {"messages": [ASKED, {"role": "assistant", "content": "b"}] * count}),
    "messages of one side": (OPENAI_CHAT, lambda count: {"messages": [ASKED] * count}),
    "instructions": (OPENAI_CHAT, lambda count: {"messages": [{"role": "system", "content": "a"}] * count + [ASKED]}),
    "parts": (OPENAI_CHAT, lambda count: {"messages": [{**ASKED, "content": [{"type": "text", "text": "a"}] * count}]}),
    "calls and results": (
        OPENAI_CHAT,
        lambda count: {
            "messages": [ASKED]
            + [
                message
                for number in range(count)
                for message in (
                    {"role": "assistant", "tool_calls": [openai_call(number)]},
                    {"role": "tool", "tool_call_id": f"c{number}", "content": "r"},
                )
            ]
        },
    ),
    "calls by name, answered from the last on": (
        OPENAI_CHAT,
        lambda count: {
            "messages": [ASKED]
            + [{"role": "assistant", "function_call": {"name": f"f{number}"}} for number in range(count)]
            + [{"role": "function", "name": f"f{number}", "content": "r"} for number in reversed(range(count))]
        },
    ),
    "pieces of a thought": (
        OPENAI_CHAT,
        lambda count: {
            "messages": [
                {
                    "role": "assistant",
                    "content": "b",
                    "reasoning_details": [{"type": "reasoning.text", "text": "x", "index": 0}] * count,
                },
                ASKED,
            ]
        },
    ),
    "functions": (
        ANTHROPIC_MESSAGES,
        lambda count: anthropic(
            tools=[{"name": f"f{number}", "input_schema": {}, "own": 1} for number in range(count)]
        ),
    ),
    "fields of its own": (ANTHROPIC_MESSAGES, lambda count: anthropic(**{f"x{number}": 1 for number in range(count)})),
    "signed thoughts": (
        ANTHROPIC_MESSAGES,
        lambda count: anthropic(
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}] * count}, ASKED
        ),
    ),
    "calls and results by turns, without ids": (
        GEMINI,
        lambda count: {
            "contents": [ASKED_OF_GEMINI]
            + [
                content
                for number in range(count)
                for content in (
                    {"role": "model", "parts": [gemini_call(number)]},
                    {"role": "user", "parts": [gemini_result(number)]},
                )
            ]
        },
    ),
    "calls without ids, answered from the last on": (
        GEMINI,
        lambda count: {
            "contents": [
                ASKED_OF_GEMINI,
                {"role": "model", "parts": [gemini_call(number) for number in range(count)]},
                {"role": "user", "parts": [gemini_result(number) for number in reversed(range(count))]},
            ]
        },
    ),
    "functions that may be called": (
        GEMINI,
        lambda count: {
            "contents": [ASKED_OF_GEMINI],
            "tools": [{"functionDeclarations": [{"name": f"f{number}", "behavior": "b"} for number in range(count)]}],
            "toolConfig": {
                "functionCallingConfig": {
                    "mode": "ANY",
                    "allowedFunctionNames": [f"f{number}" for number in range(count)],
                }
            },
        },
    ),
    "calls of a client of Ollama": (
        OLLAMA_CHAT,
        lambda count: {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": f"f{number}", "arguments": {}}} for number in range(count)],
                },
                *({"role": "tool", "content": "r", "tool_name": f"f{number}"} for number in reversed(range(count))),
            ]
        },
    ),
    "items": (
        OPENAI_RESPONSES,
        lambda count: {
            "input": [ASKED]
            + [
                item
                for number in range(count)
                for item in (
                    {"type": "reasoning", "id": f"r{number}", "summary": [], "encrypted_content": "x"},
                    {"type": "function_call", "call_id": f"c{number}", "name": f"f{number}", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": f"c{number}", "output": "r"},
                )
            ]
        },
    ),
    "marks to cache": (
        BEDROCK_CONVERSE,
        lambda count: {
            "messages": [{"role": "user", "content": [{"text": "a"}, {"cachePoint": {"type": "default"}}] * count}]
        },
    ),
    "documents": (
        COHERE_CHAT,
        lambda count: {"messages": [ASKED], "documents": [{"id": f"d{number}", "data": {}} for number in range(count)]},
    ),
    "citations": (
        COHERE_CHAT,
        lambda count: {
            "messages": [
                {
                    "role": "assistant",
                    "content": "b" * count,
                    "citations": [
                        {"start": number, "end": number + 1, "text": "b", "sources": [{"type": "tool", "id": "x"}]}
                        for number in range(count)
                    ],
                },
                ASKED,
            ]
        },
    ),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_request(kind: str) -> None:
    source, make = REQUESTS[kind]
    small, large = (json.dumps({"model": "m", **make(count)}).encode() for count in (SMALL, LARGE))
    assert_grows_evenly(lambda: source.decode_request(small, "m"), lambda: source.decode_request(large, "m"))


@pytest.mark.parametrize("target", DIALECTS, ids=lambda dialect: f"to-{dialect.name}")
@pytest.mark.parametrize("kind", REQUESTS)
def test_translated_request(kind: str, target: ChatDialect) -> None:
    source, make = REQUESTS[kind]
    small, large = (
        source.decode_request(json.dumps({"model": "m", **make(count)}).encode(), "m") for count in (SMALL, LARGE)
    )

    def encode(request: Any) -> bytes:
        return target.encode_request(request, "anthropic.claude-3", stream=False, drop_unsupported=True)

    try:
        encode(small)
    except InvalidRequestError:
        pytest.skip("nothing is left of it here")
    assert_grows_evenly(lambda: encode(small), lambda: encode(large))


# Answers.


def started(*events: ChatEvent) -> list[ChatEvent]:
    finished = ChoiceFinished(choice=0, reason=FinishReason.STOP)
    return [AnswerStarted(id="a", model="m", created=1), *events, finished]


def call(number: int, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(choice=0, index=number, id=f"c{number}", name="f", arguments=arguments)


def more(number: int, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(choice=0, index=number, arguments=arguments)


TEXT: ChatEvent = TextDelta(choice=0, text="t")
THOUGHT: ChatEvent = ReasoningDelta(choice=0, text="r")
SIGNED: ChatEvent = ReasoningSigned(choice=0, signature="c2ln")
SOURCE: ChatEvent = CitationAdded(choice=0, citation=Citation(url="https://example.org", title="t"))
OWN: Sequence[ChatEvent] = [
    OpaqueAdded(choice=0, part=OpaquePart(dialect=dialect.name, value={"type": "thing"}))
    for dialect in (ANTHROPIC_MESSAGES, OPENAI_RESPONSES, GEMINI)
]

ANSWERS: Mapping[str, Callable[[int], list[ChatEvent]]] = {
    "texts": lambda count: started(*[TEXT] * count),
    "thoughts": lambda count: started(*[THOUGHT] * count, SIGNED),
    "signed thoughts": lambda count: started(*[THOUGHT, SIGNED] * count),
    "sources": lambda count: started(*[TEXT, SOURCE] * count),
    "blocks of its own": lambda count: started(*list(OWN) * count),
    "calls": lambda count: started(*(call(number, '{"a":1}') for number in range(count))),
    "pieces of a call": lambda count: started(call(0, '{"a":"'), *[more(0, "x")] * count, more(0, '"}')),
    "pieces of calls by turns": lambda count: started(
        *(call(number, '{"a":"') for number in range(4)),
        *(more(number % 4, "x") for number in range(count)),
        *(more(number, '"}') for number in range(4)),
    ),
    "pieces of a call between texts and thoughts": lambda count: started(
        call(0, '{"a":"'), *[more(0, "x" * 50 + "}"), TEXT, THOUGHT] * count, more(0, '"}')
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("kind", ANSWERS)
def test_streamed_answer(kind: str, dialect: ChatDialect) -> None:
    """Written event by event, and read again."""
    small, large = (ANSWERS[kind](count) for count in (SMALL, LARGE))
    assert_grows_evenly(
        lambda: streamed(dialect, [[event] for event in small]), lambda: streamed(dialect, [[event] for event in large])
    )
    read_small, read_large = (streamed(dialect, [[event] for event in events]) for events in (small, large))
    assert_grows_evenly(lambda: decoded(dialect, [read_small]), lambda: decoded(dialect, [read_large]))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("kind", ANSWERS)
def test_whole_answer(kind: str, dialect: ChatDialect) -> None:
    small, large = (ANSWERS[kind](count) for count in (SMALL, LARGE))
    assert_grows_evenly(lambda: dialect.encode_answer(small, SETTINGS), lambda: dialect.encode_answer(large, SETTINGS))
    read_small, read_large = (dialect.encode_answer(events, SETTINGS) for events in (small, large))
    assert_grows_evenly(lambda: dialect.decode_answer(read_small), lambda: dialect.decode_answer(read_large))
