"""How much to think, in Gemini's requests: models before Gemini 3 know a budget in tokens, later ones a level."""

import re
from typing import Any

from gateway.schemas.json_fields import Fields
from gateway.types import Reasoning, ReasoningEffort

_GENERATION = re.compile(r"gemini-(\d+)")
_FIRST_WITH_LEVELS = 3

_BUDGETS = {
    ReasoningEffort.NONE: 0,
    ReasoningEffort.MINIMAL: 1024,
    ReasoningEffort.LOW: 1024,
    ReasoningEffort.MEDIUM: 4096,
    ReasoningEffort.HIGH: 16384,
    ReasoningEffort.XHIGH: 32768,
}
_LEVELS = {
    "MINIMAL": ReasoningEffort.MINIMAL,
    "LOW": ReasoningEffort.LOW,
    "MEDIUM": ReasoningEffort.MEDIUM,
    "HIGH": ReasoningEffort.HIGH,
}
_UNSPECIFIED = "THINKING_LEVEL_UNSPECIFIED"


def decode_thinking(thinking: Fields) -> Reasoning | None:
    """A `thinkingConfig`; None if it says nothing. Raises `FieldError`."""
    if thinking.is_empty:
        return None
    level = (thinking.optional_text("thinkingLevel") or _UNSPECIFIED).upper()
    if level != _UNSPECIFIED and level not in _LEVELS:
        raise thinking.wrong("thinkingLevel", f"'{level}' is not a level; known: {', '.join(_LEVELS)}")
    reasoning = Reasoning(
        effort=_LEVELS.get(level),
        budget_tokens=thinking.integer("thinkingBudget"),
        is_shown=thinking.truth("includeThoughts"),
    )
    return None if reasoning == Reasoning() else reasoning


def encode_thinking(reasoning: Reasoning | None, model: str, *, is_own: bool) -> dict[str, Any] | None:
    """The `thinkingConfig` for a model. Where a budget is given it is sent: it is exact, and all models know it.

    Thoughts that are asked for in another dialect are shown unless it is said that they are not to be: elsewhere they
    come unasked, here only if they are asked for too.
    """
    if reasoning is None:
        return None
    thinking: dict[str, Any] = {}
    if reasoning.budget_tokens is not None:
        thinking["thinkingBudget"] = reasoning.budget_tokens
    elif reasoning.effort is not None and _takes_levels(model):
        thinking["thinkingLevel"] = _level(reasoning.effort, model)
    elif reasoning.effort is not None:
        thinking["thinkingBudget"] = _BUDGETS[reasoning.effort]
    is_shown = reasoning.is_shown
    if is_shown is None and not is_own and not _is_off(reasoning):
        is_shown = True
    if is_shown is not None:
        thinking["includeThoughts"] = is_shown
    return thinking or None


def _is_off(reasoning: Reasoning) -> bool:
    return reasoning.budget_tokens == 0 or (
        reasoning.budget_tokens is None and reasoning.effort is ReasoningEffort.NONE
    )


def _takes_levels(model: str) -> bool:
    found = _GENERATION.search(model)
    return found is not None and int(found[1]) >= _FIRST_WITH_LEVELS


def _level(effort: ReasoningEffort, model: str) -> str:
    """The nearest level: none of these models can be kept from thinking at all, and the large ones not from some."""
    match effort:
        case ReasoningEffort.NONE | ReasoningEffort.MINIMAL:
            return "LOW" if "pro" in model else "MINIMAL"
        case ReasoningEffort.XHIGH:
            return "HIGH"
        case _:
            return effort.name
