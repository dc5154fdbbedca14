"""The texts of a request: which are looked into, and that all else stays."""

from typing import Any

import pytest
from hypothesis import given

from gateway.config.guardrail import PersonalData
from gateway.errors import InvalidRequestError
from gateway.filters.guarded_texts import input_bytes, masked_request
from gateway.schemas.data_urls import data_url, text_url
from gateway.types import (
    ChatRequest,
    EmbeddingsRequest,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    OpaqueTool,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
)
from tests.gateway.filters.guarding import Counted, data_rule
from tests.gateway.schemas.chat_request_strategies import requests

ANN = "ann@example.com"


def masked(request: Any) -> Any:
    return masked_request(Counted(data_rule(PersonalData.EMAIL)).rules, request)


def conversation(*content: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role=Role.USER, content=content),))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (TextPart(text=f"to {ANN}"), TextPart(text="to [EMAIL]")),
        (RefusalPart(text=ANN), RefusalPart(text="[EMAIL]")),
        (ReasoningPart(text=ANN, signature="s"), ReasoningPart(text="[EMAIL]")),
        (ReasoningPart(text="hm", signature="s"), ReasoningPart(text="hm", signature="s")),
        (
            ToolCall(id="1", name="f", arguments='{"to": "ann\\u0040example.com"}'),
            ToolCall(id="1", name="f", arguments='{"to":"[EMAIL]"}'),
        ),
        (ToolCall(id="1", name="f", arguments='{ "n": 1.50 }'), ToolCall(id="1", name="f", arguments='{ "n": 1.50 }')),
        (ToolCall(id="1", name="f", arguments=f"{{{ANN}"), ToolCall(id="1", name="f", arguments="{[EMAIL]")),
        (
            ToolResult(call_id="1", content=(TextPart(text=ANN),)),
            ToolResult(call_id="1", content=(TextPart(text="[EMAIL]"),)),
        ),
        (OpaquePart(dialect="d", value={"a": [ANN]}), OpaquePart(dialect="d", value={"a": ["[EMAIL]"]})),
        (ImagePart(url=f"https://a/{ANN}"), ImagePart(url=f"https://a/{ANN}")),
        (FilePart(url=text_url(f"to {ANN}"), name=ANN), FilePart(url=text_url("to [EMAIL]"), name="[EMAIL]")),
        (FilePart(url=f"data:text/csv,{ANN}"), FilePart(url=text_url("[EMAIL]", "text/csv"))),
        (FilePart(url=text_url(ANN, "application/x")), FilePart(url=text_url("[EMAIL]", "application/x"))),
        (FilePart(url="data:text/plain,to%20ann"), FilePart(url="data:text/plain,to%20ann")),
        (
            FilePart(file_id="f", extra={"block": {"text": ANN}}),
            FilePart(file_id="f", extra={"block": {"text": "[EMAIL]"}}),
        ),
        (FilePart(url=data_url("application/pdf", "JVBERv8=")), FilePart(url=data_url("application/pdf", "JVBERv8="))),
    ],
)
def test_parts_of_messages(part: Any, expected: Any) -> None:
    assert masked(conversation(part)).messages[0].content == (expected,)


def test_all_that_is_not_messages() -> None:
    request = ChatRequest(
        model="m",
        messages=(Message(role=Role.SYSTEM, content=(TextPart(text=ANN),), name=ANN),),
        tools=(
            Tool(name="f", description=ANN, parameters={"description": ANN}),
            OpaqueTool(dialect="d", value={"a": ANN}),
        ),
        user=ANN,
        metadata={"a": ANN},
        extra={"prediction": {"content": [ANN]}},
    )
    assert ANN not in repr(masked(request))


def test_file_that_says_it_is_text_and_is_none_does_not_pass() -> None:
    with pytest.raises(InvalidRequestError):
        masked(conversation(FilePart(url=data_url("text/plain", "/w=="))))


def test_numbers_that_are_data_become_texts() -> None:
    rules = Counted(data_rule(PersonalData.CREDIT_CARD)).rules
    call = ToolCall(id="1", name="f", arguments='{"card": 4111111111111111, "n": 1}')
    (message,) = masked_request(rules, conversation(call)).messages  # type: ignore[union-attr]
    (part,) = message.content
    assert isinstance(part, ToolCall)
    assert part.arguments == '{"card":"[CREDIT_CARD]","n":1}'


def test_texts_for_vectors() -> None:
    assert masked(EmbeddingsRequest(model="m", input=(ANN, "a"))).input == ("[EMAIL]", "a")


def test_size_is_that_of_texts_in_bytes() -> None:
    request = conversation(
        TextPart(text="ä"),
        ToolResult(call_id="1", content=(TextPart(text="bc"),)),
        ImagePart(url="x"),
        FilePart(url=text_url("def")),
    )
    assert input_bytes(request) == 7
    assert input_bytes(EmbeddingsRequest(model="m", input=("ä", "b"))) == 3


@given(requests())
def test_request_in_which_nothing_is_found_is_the_same(request: ChatRequest) -> None:
    counted = Counted(data_rule(PersonalData.EMAIL))
    result = masked_request(counted.rules, request)
    if not counted.found:
        assert result == request
