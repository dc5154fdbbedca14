"""What is written for Mistral and Groq: nothing that they do not know."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequestError
from gateway.schemas.openai.chat import OpenAIChat
from gateway.schemas.openai.strict import GroqChat, MistralChat
from gateway.schemas.table import ANTHROPIC_MESSAGES, GROQ, MISTRAL, OPENAI_CHAT

MISTRAL_CHAT, GROQ_CHAT = MistralChat(), GroqChat()
USER = {"role": "user", "content": "hello"}


def written(
    fields: dict[str, Any], *, drop: bool = False, dialect: Any = OPENAI_CHAT, target: OpenAIChat = MISTRAL_CHAT
) -> Any:
    request = dialect.decode_request(json.dumps({"model": "m", "messages": [USER], **fields}).encode(), "m")
    return json.loads(target.encode_request(request, "m", stream=True, drop_unsupported=drop))


def test_other_clients_than_openais_are_translated_so() -> None:
    assert isinstance(MISTRAL.chat[0], MistralChat)
    assert isinstance(GROQ.chat[0], GroqChat)
    assert OPENAI_CHAT in MISTRAL.chat
    assert OPENAI_CHAT in GROQ.chat


def test_seed_has_another_name_and_usage_is_not_asked_for() -> None:
    assert written({"seed": 7}) == {"model": "m", "messages": [USER], "stream": True, "random_seed": 7}


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"user": "alice"}, "user"), ({"messages": [{**USER, "name": "alice"}]}, "messages")],
)
def test_what_it_has_no_place_for_is_named_or_left_out(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError, match="Mistral's chat completions") as refused:
        written(fields)
    assert refused.value.param == param
    assert written(fields, drop=True) == {"model": "m", "messages": [USER], "stream": True}


def test_thoughts_are_parts_of_the_content_without_signatures() -> None:
    thought = {"type": "thinking", "thinking": "They greet me.", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    turns = [USER, {"role": "assistant", "content": [thought, {"type": "text", "text": "hi"}, call]}]
    _, message = written({"max_tokens": 9, "messages": turns}, dialect=ANTHROPIC_MESSAGES)["messages"]
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "They greet me."}]}
    function = {"name": "f", "arguments": "{}"}
    assert message == {
        "role": "assistant",
        "content": [thinking, {"type": "text", "text": "hi"}],
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }


def test_refusal_is_a_text_and_a_call_has_no_signature_of_googles() -> None:
    google = {"google": {"thought_signature": "s"}}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": google}
    turns = [USER, {"role": "assistant", "refusal": "no"}, USER, {"role": "assistant", "tool_calls": [call]}]
    _, refused, _, called = written({"messages": turns})["messages"]
    assert refused == {"role": "assistant", "content": [{"type": "text", "text": "no"}]}
    assert called["tool_calls"][0].keys() == {"id", "type", "function"}


def test_groq_gets_no_thoughts_of_earlier_turns() -> None:
    thought = {"type": "thinking", "thinking": "They greet me.", "signature": "c2ln"}
    turns = [USER, {"role": "assistant", "content": [thought, {"type": "text", "text": "hi"}]}, USER]
    asked = written({"max_tokens": 9, "messages": turns}, dialect=ANTHROPIC_MESSAGES, target=GROQ_CHAT)
    assert asked["messages"] == [USER, {"role": "assistant", "content": "hi"}, USER]
    assert asked["stream_options"] == {"include_usage": True}


def test_what_groq_has_no_place_for_is_named_or_left_out() -> None:
    fields = {"max_tokens": 9, "top_k": 5}
    with pytest.raises(InvalidRequestError, match=r"top_k cannot be carried: .* Groq's chat completions"):
        written(fields, dialect=ANTHROPIC_MESSAGES, target=GROQ_CHAT)
    assert "top_k" not in written(fields, drop=True, dialect=ANTHROPIC_MESSAGES, target=GROQ_CHAT)
    with pytest.raises(InvalidRequestError, match="the name of who speaks"):
        written({"messages": [{**USER, "name": "alice"}]}, target=GROQ_CHAT)
    turns = [USER, {"role": "assistant", "refusal": "no"}, USER]
    assert written({"messages": turns}, target=GROQ_CHAT)["messages"][1] == {"role": "assistant", "content": "no"}
