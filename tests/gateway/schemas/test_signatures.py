"""Signatures on their way to clients of other dialects, and back to the backends that they are of."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.signatures import MARK, sealed, unsealed, with_conversation
from gateway.schemas.table import ANTHROPIC_MESSAGES, COHERE_CHAT, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    ContentPart,
    FinishReason,
    Message,
    ReasoningDelta,
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    Role,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
)

USER = Message(role=Role.USER, content=(TextPart(text="hello"),))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
signing = pytest.mark.parametrize(
    "client", [OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, COHERE_CHAT], ids=lambda dialect: dialect.name
)


def conversation(*parts: ContentPart, dialect: str = "theirs") -> ChatRequest:
    return ChatRequest(model="m", messages=(USER, Message(role=Role.ASSISTANT, content=parts), USER), dialect=dialect)


def said(request: ChatRequest) -> tuple[ContentPart, ...]:
    return tuple(part for message in request.messages for part in message.content if message.role is Role.ASSISTANT)


def seal(signature: str, dialect: str) -> str:
    (event,) = sealed([ReasoningSigned(choice=0, signature=signature)], dialect)
    assert isinstance(event, ReasoningSigned)
    return event.signature


@given(texts, st.sampled_from(["a", "openai_chat"]))
def test_signature_goes_back_to_its_own_dialect_alone(signature: str, dialect: str) -> None:
    written = seal(signature, dialect)
    assert written.encode().startswith(MARK)
    assert base64.b64decode(written, validate=True)
    request = conversation(ReasoningPart(text="hm", signature=written), dialect="other")
    assert said(unsealed(request, dialect)) == (ReasoningPart(text="hm", signature=signature),)
    assert said(unsealed(request, "other")) == (ReasoningPart(text="hm"),)


@given(texts)
def test_other_alphabet_of_base64_is_read_too(signature: str) -> None:
    written = seal(signature, "d").replace("+", "-").replace("/", "_")
    request = conversation(ToolCall(id="1", name="f", arguments="{}", signature=written))
    assert said(unsealed(request, "d")) == (ToolCall(id="1", name="f", arguments="{}", signature=signature),)


@pytest.mark.parametrize("written", ["own", "", "amFudWE6", "amFudWE6!", "amFudWE6/w==", "amFudWE6eA=="])
def test_what_is_not_sealed_is_of_the_dialect_that_it_came_in(written: str) -> None:
    request = conversation(ReasoningPart(text="hm", signature=written), dialect="theirs")
    assert unsealed(request, "theirs") == request
    assert said(unsealed(request, "other")) == (ReasoningPart(text="hm"),)


def test_signature_of_nobody_knows_whom_goes_to_nobody() -> None:
    request = conversation(ReasoningPart(text="hm", signature="x"), dialect="")
    assert said(unsealed(request, "openai_chat")) == (ReasoningPart(text="hm"),)


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ((ReasoningPart(redacted="x"), TextPart(text="hi")), (TextPart(text="hi"),)),
        ((ReasoningPart(signature="x"), TextPart(text="hi")), (TextPart(text="hi"),)),
        ((ToolCall(id="1", name="f", arguments="{}", signature="x"),), (ToolCall(id="1", name="f", arguments="{}"),)),
        ((ReasoningPart(text="hm"),), (ReasoningPart(text="hm"),)),
    ],
)
def test_what_is_left_for_others(parts: tuple[ContentPart, ...], left: tuple[ContentPart, ...]) -> None:
    assert said(unsealed(conversation(*parts), "other")) == left


def test_turn_of_which_nothing_is_left_is_left_out() -> None:
    assert unsealed(conversation(ReasoningPart(redacted="x")), "other").messages == (USER, USER)


def test_conversation_without_thoughts_and_calls_is_the_same() -> None:
    request = conversation(TextPart(text="hi"))
    assert unsealed(request, "other") is request


def thought(*, is_redacted: bool) -> list[ChatEvent]:
    signed: list[ChatEvent] = [ReasoningDelta(choice=0, text="hm"), ReasoningSigned(choice=0, signature="sig")]
    return [
        AnswerStarted(id="1", model="m", created=1),
        *([ReasoningRedacted(choice=0, data="sig")] if is_redacted else signed),
        TextDelta(choice=0, text="hi"),
        ToolCallDelta(choice=0, index=0, id="c", name="f", arguments="{}", signature="of call"),
        ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS),
    ]


def answered(client: ChatDialect, events: list[ChatEvent]) -> bytes:
    """The next request of a client that has been given this answer."""
    answer = json.loads(client.encode_answer(events, AnswerSettings(model="m")))
    user = {"role": "user", "content": "hello"}
    body: dict[str, Any]
    if client is OPENAI_CHAT:
        body = {"messages": [user, answer["choices"][0]["message"]], "stream_options": {"x": 1}}
    elif client is OPENAI_RESPONSES:
        body = {"input": [user, *answer["output"]], "instructions": "Be short."}
    elif client is ANTHROPIC_MESSAGES:
        content = answer["content"]
        body = {"messages": [user, {"role": "assistant", "content": content}], "max_tokens": 9, "system": "Be short."}
    elif client is GEMINI:
        told = answer["candidates"][0]["content"]
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}, told], "system_instruction": "Be short."}
    else:
        body = {"messages": [user, answer["message"]]}
    return json.dumps({"model": "m", "unheard_of": [1.0], **body}).encode()


@signing
@pytest.mark.parametrize("is_redacted", [False, True], ids=["signed", "redacted"])
def test_every_dialect_carries_what_others_have_signed(client: ChatDialect, is_redacted: bool) -> None:
    if client is GEMINI and is_redacted:
        pytest.skip("Gemini's answers have no place for a thought without text")
    body = answered(client, sealed(thought(is_redacted=is_redacted), "theirs"))
    assert MARK in body
    request = client.decode_request(body, "m")
    back = said(unsealed(request, "theirs"))
    expected = ReasoningPart(redacted="sig") if is_redacted else ReasoningPart(text="hm", signature="sig")
    assert expected in back
    assert [part.signature for part in back if isinstance(part, ToolCall)] == ["of call"]


def without_thoughts(request: ChatRequest) -> list[tuple[ContentPart, ...]]:
    """What is said; Anthropic takes no thoughts without signature."""
    return [
        tuple(part for part in message.content if not isinstance(part, ReasoningPart)) for message in request.messages
    ]


@signing
@pytest.mark.parametrize("is_redacted", [False, True], ids=["signed", "redacted"])
def test_body_loses_what_others_have_signed_and_keeps_the_rest(client: ChatDialect, is_redacted: bool) -> None:
    body = answered(client, sealed(thought(is_redacted=is_redacted), "theirs"))
    own = unsealed(client.decode_request(body, "m"), client.name)
    cleaned = with_conversation(body, client.encode_request(own, "m", stream=False, drop_unsupported=True))
    assert MARK not in cleaned
    assert b"janua" not in cleaned
    before, after = json.loads(body), json.loads(cleaned)
    for name in ("model", "unheard_of", "stream_options", "max_tokens", "instructions", "system"):
        assert after.get(name) == before.get(name)
    assert without_thoughts(client.decode_request(cleaned, "m")) == without_thoughts(own)
