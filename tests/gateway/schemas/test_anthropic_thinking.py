"""How much to think: Anthropic's words and numbers, kept for its own clients and found for those of other dialects."""

from typing import Any

import pytest

from gateway.errors import InvalidRequestError
from gateway.types import (
    ChatRequest,
    Message,
    NamedTool,
    Reasoning,
    ReasoningEffort,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)
from tests.gateway.schemas.anthropic_bodies import HI, body, decode, encode

BY_BUDGET = "claude-sonnet-4-5-20250929"
ADAPTIVE = "claude-opus-4-6"


def request(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(model="asked", messages=messages or (HI,), **fields)


def of_thinking(sent: dict[str, Any]) -> dict[str, Any]:
    return {name: sent[name] for name in ("thinking", "output_config") if name in sent}


@pytest.mark.parametrize(
    ("sent", "reasoning"),
    [
        ({}, None),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            Reasoning(budget_tokens=2000),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"}},
            Reasoning(budget_tokens=2000, is_shown=True),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "low"}},
            Reasoning(budget_tokens=2000, effort=ReasoningEffort.LOW),
        ),
        ({"thinking": {"type": "adaptive"}}, Reasoning(budget_tokens=-1)),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "high"}},
            Reasoning(budget_tokens=-1, effort=ReasoningEffort.HIGH, is_shown=False),
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(effort=ReasoningEffort.NONE)),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "medium"}},
            Reasoning(effort=ReasoningEffort.NONE),
        ),
        ({"output_config": {"effort": "xhigh"}}, Reasoning(effort=ReasoningEffort.XHIGH)),
        ({"output_config": {"effort": "max"}}, Reasoning(effort=ReasoningEffort.XHIGH)),
        ({"thinking": {"type": "between_tools"}}, None),
        (
            {"thinking": {"type": "something_new", "of": 5}, "output_config": {"effort": "low"}},
            Reasoning(effort=ReasoningEffort.LOW),
        ),
        ({"thinking": {"type": "adaptive", "something": "new"}}, Reasoning(budget_tokens=-1)),
    ],
)
@pytest.mark.parametrize("model", [BY_BUDGET, ADAPTIVE])
def test_wish_of_its_own_client_is_understood_and_goes_back_as_it_was(
    sent: dict[str, Any], reasoning: Reasoning | None, model: str
) -> None:
    canonical = decode(body(**sent))
    assert canonical.reasoning == reasoning
    assert of_thinking(encode(canonical, model=model)) == sent


@pytest.mark.parametrize(
    ("reasoning", "by_budget", "adaptive"),
    [
        (Reasoning(), {}, {}),
        (
            Reasoning(effort=ReasoningEffort.NONE),
            {"thinking": {"type": "disabled"}},
            {"thinking": {"type": "disabled"}},
        ),
        (Reasoning(budget_tokens=0), {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        (
            Reasoning(effort=ReasoningEffort.MINIMAL),
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        (
            Reasoning(effort=ReasoningEffort.MEDIUM, is_shown=True),
            {"thinking": {"type": "enabled", "budget_tokens": 4096, "display": "summarized"}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "medium"}},
        ),
        (
            Reasoning(effort=ReasoningEffort.XHIGH),
            {"thinking": {"type": "enabled", "budget_tokens": 32768}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
        ),
        (
            Reasoning(budget_tokens=-1),
            {"thinking": {"type": "enabled", "budget_tokens": 4096}},
            {"thinking": {"type": "adaptive", "display": "summarized"}},
        ),
        (
            Reasoning(budget_tokens=2048),
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        (
            Reasoning(budget_tokens=9000, is_shown=False),
            {"thinking": {"type": "enabled", "budget_tokens": 9000, "display": "omitted"}},
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "high"}},
        ),
    ],
)
def test_wish_of_another_dialect_becomes_what_the_model_takes(
    reasoning: Reasoning, by_budget: dict[str, Any], adaptive: dict[str, Any]
) -> None:
    canonical = request(reasoning=reasoning)
    assert of_thinking(encode(canonical, model=BY_BUDGET)) == by_budget
    assert of_thinking(encode(canonical, model=ADAPTIVE)) == adaptive


@pytest.mark.parametrize(
    ("model", "is_adaptive"),
    [
        ("claude-opus-4-6", True),
        ("claude-sonnet-4-6", True),
        ("eu.anthropic.claude-opus-4-7-v1:0", True),
        ("claude-sonnet-5", True),
        ("claude-haiku-5-5", True),
        ("claude-mythos-preview", True),
        ("claude-opus-4-10", True),
        ("claude-opus-4-5-20251101", False),
        ("claude-opus-4-20250514", False),
        ("claude-sonnet-4@20250514", False),
        ("claude-3-7-sonnet-20250219", False),
        ("a-model-of-another-maker", False),
    ],
)
def test_which_models_are_told_an_effort(model: str, is_adaptive: bool) -> None:
    sent = encode(request(reasoning=Reasoning(effort=ReasoningEffort.LOW)), model=model)
    assert sent["thinking"]["type"] == ("adaptive" if is_adaptive else "enabled")


@pytest.mark.parametrize(("max_tokens", "budget"), [(None, 16384), (50000, 16384), (8000, 4000), (1100, 1024)])
def test_budget_made_for_an_effort_leaves_room_for_the_answer(max_tokens: int | None, budget: int) -> None:
    canonical = request(reasoning=Reasoning(effort=ReasoningEffort.HIGH), max_output_tokens=max_tokens)
    sent = encode(canonical, model="a-model-of-another-maker")
    assert sent["thinking"]["budget_tokens"] == budget
    assert sent["max_tokens"] == (max_tokens or 16384 + 4096)


def test_too_few_tokens_to_think_at_all() -> None:
    sent = encode(request(reasoning=Reasoning(effort=ReasoningEffort.HIGH), max_output_tokens=1024), model=BY_BUDGET)
    assert of_thinking(sent) == {}


CALL = ToolCall(id="t", name="f", arguments="{}")
RESULT = Message(role=Role.TOOL, content=(ToolResult(call_id="t", content=(TextPart(text="5"),)),))


@pytest.mark.parametrize(
    ("thoughts", "thinks"),
    [((), False), ((ReasoningPart(text="hm"),), False), ((ReasoningPart(text="hm", signature="s"),), True)],
)
def test_thinking_is_not_taken_up_after_a_call_without_thoughts(
    thoughts: tuple[ReasoningPart, ...], thinks: bool
) -> None:
    answered = Message(role=Role.ASSISTANT, content=(*thoughts, CALL))
    canonical = request(HI, answered, RESULT, reasoning=Reasoning(effort=ReasoningEffort.LOW))
    assert ("thinking" in encode(canonical, model=BY_BUDGET)) == thinks
    assert "thinking" in encode(canonical, model=ADAPTIVE)


def test_thinking_goes_on_once_the_calls_are_answered_for() -> None:
    messages = [
        HI,
        Message(role=Role.ASSISTANT, content=(CALL,)),
        RESULT,
        Message(role=Role.ASSISTANT, content=(TextPart(text="5"),)),
        HI,
    ]
    canonical = request(*messages, reasoning=Reasoning(effort=ReasoningEffort.LOW))
    assert "thinking" in encode(canonical, model=BY_BUDGET)


@pytest.mark.parametrize("choice", [ToolMode.REQUIRED, NamedTool(name="f")])
@pytest.mark.parametrize("model", [BY_BUDGET, ADAPTIVE])
def test_model_cannot_think_before_a_call_that_it_must_make(choice: ToolMode | NamedTool, model: str) -> None:
    canonical = request(tools=(Tool(name="f"),), tool_choice=choice, reasoning=Reasoning(effort=ReasoningEffort.LOW))
    with pytest.raises(InvalidRequestError) as caught:
        encode(canonical, model=model)
    assert caught.value.param == "reasoning"
    assert of_thinking(encode(canonical, model=model, drop=True)) == {}


@pytest.mark.parametrize("fields", [{"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 5}])
def test_what_cannot_stand_beside_thinking_is_refused_or_left_out(fields: dict[str, Any]) -> None:
    canonical = request(reasoning=Reasoning(effort=ReasoningEffort.LOW), **fields)
    with pytest.raises(InvalidRequestError) as caught:
        encode(canonical, model=BY_BUDGET)
    assert caught.value.param == next(iter(fields))
    sent = encode(canonical, model=BY_BUDGET, drop=True)
    assert "thinking" in sent
    assert not fields.keys() & sent.keys()


def test_its_own_client_is_left_to_be_told_so_by_the_backend() -> None:
    sent = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0.5, "top_k": 5}
    again = encode(decode(body(**sent)))
    assert {name: again[name] for name in sent} == sent
