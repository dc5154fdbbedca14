"""The official Anthropic client for Python reads what is written here, and what it writes is read."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.errors import ErrorCode
from gateway.schemas.anthropic.errors import error_body, error_event
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import answer

anthropic = pytest.importorskip("anthropic")

MESSAGES = AnthropicMessages()
SETTINGS = AnswerSettings(model="asked")
ASKED: Any = {"model": "asked", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}

EVENTS: list[ChatEvent] = [
    AnswerStarted(id="msg_1", model="x", created=5),
    ReasoningDelta(choice=0, text="h"),
    ReasoningDelta(choice=0, text="m"),
    ReasoningSigned(choice=0, signature="s"),
    ReasoningRedacted(choice=0, data="x"),
    TextDelta(choice=0, text="gr"),
    TextDelta(choice=0, text="üße"),
    CitationAdded(choice=0, citation=Citation(url="https://x", title="t")),
    ToolCallDelta(choice=0, index=0, id="t", name="f", arguments='{"a":'),
    ToolCallDelta(choice=0, index=1, id="u", name="g"),
    ToolCallDelta(choice=0, index=0, arguments="1}"),
    ToolCallDelta(choice=0, index=1, arguments='{"b":2}'),
    ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS),
    UsageReported(usage=Usage(input_tokens=9, cached_input_tokens=2, output_tokens=7, reasoning_tokens=3)),
]


@pytest.fixture
async def client(faulty_upstream: FaultyUpstream) -> AsyncIterator[Any]:
    async with anthropic.AsyncAnthropic(base_url=faulty_upstream.url, api_key="k", max_retries=0) as opened:
        yield opened


@pytest.fixture
async def faulty_upstream() -> AsyncIterator[FaultyUpstream]:
    upstream = FaultyUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()
    assert not upstream.errors


def streamed(events: list[ChatEvent]) -> bytes:
    encoder = MESSAGES.event_encoder(SETTINGS)
    return b"".join(encoder.encode([event]) for event in events) + encoder.finish()


def check(message: Any) -> None:
    """The message says what the events say."""
    thought, redacted, text, first, second = message.content
    assert (thought.thinking, thought.signature, redacted.data) == ("hm", "s", "x")
    assert (text.text, text.citations[0].url) == ("grüße", "https://x")
    assert (first.id, first.name, first.input) == ("t", "f", {"a": 1})
    assert (second.id, second.name, second.input) == ("u", "g", {"b": 2})
    assert (message.id, message.model, message.stop_reason) == ("msg_1", "asked", "tool_use")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (7, 2, 7)


async def test_stream_is_put_together(client: Any, faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = answer(response(200, streamed(EVENTS), content_type="text/event-stream"))
    async with client.messages.stream(**ASKED) as stream:
        seen = [event.type async for event in stream]
        check(await stream.get_final_message())
    assert seen.count("message_start") == seen.count("message_stop") == 1
    assert seen.count("content_block_stop") == 5


async def test_whole_answer_is_read(client: Any, faulty_upstream: FaultyUpstream) -> None:
    body = MESSAGES.encode_answer(EVENTS, SETTINGS)
    faulty_upstream.script = answer(response(200, body, content_type="application/json"))
    check(await client.messages.create(**ASKED))


async def test_answer_given_back_is_understood(client: Any, faulty_upstream: FaultyUpstream) -> None:
    body = MESSAGES.encode_answer(EVENTS, SETTINGS)
    faulty_upstream.script = answer(response(200, body, content_type="application/json"))
    message = await client.messages.create(**ASKED)
    messages = [*ASKED["messages"], {"role": "assistant", "content": message.content}]
    await client.messages.create(**{**ASKED, "messages": messages})
    again = MESSAGES.decode_request(faulty_upstream.requests[1].body, "asked")
    _, answered = again.messages
    assert [type(part).__name__ for part in answered.content] == [
        "ReasoningPart",
        "ReasoningPart",
        "TextPart",
        "ToolCall",
        "ToolCall",
    ]


async def test_error_within_a_stream_is_raised(client: Any, faulty_upstream: FaultyUpstream) -> None:
    encoder = MESSAGES.event_encoder(SETTINGS)
    raw = encoder.encode(EVENTS[:4]) + error_event(ErrorCode.UNAVAILABLE, "come back later")
    faulty_upstream.script = answer(response(200, raw, content_type="text/event-stream"))
    with pytest.raises(anthropic.APIStatusError, match="come back later"):
        async with client.messages.stream(**ASKED) as stream:
            await stream.get_final_message()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, ErrorCode.INVALID_REQUEST, "BadRequestError"),
        (401, ErrorCode.UNAUTHENTICATED, "AuthenticationError"),
        (404, ErrorCode.NOT_FOUND, "NotFoundError"),
        (429, ErrorCode.RATE_LIMITED, "RateLimitError"),
        (503, ErrorCode.UNAVAILABLE, "InternalServerError"),
    ],
)
async def test_error_is_raised_with_its_text(
    client: Any, faulty_upstream: FaultyUpstream, status: int, code: ErrorCode, error: str
) -> None:
    raw = error_body(code, "nö", "req_1")
    faulty_upstream.script = answer(response(status, raw, content_type="application/json"))
    with pytest.raises(getattr(anthropic, error), match="nö"):
        await client.messages.create(**ASKED)
