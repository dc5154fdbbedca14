"""Whether and how much to think: Anthropic's `thinking` and `output_config.effort`, to canonical and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.schemas.anthropic.models import thinks_adaptively
from gateway.schemas.json_fields import Fields
from gateway.types import Reasoning, ReasoningEffort

MIN_BUDGET = 1024

_ADAPTIVE = -1

_EFFORTS: Mapping[str, ReasoningEffort] = MappingProxyType(
    {
        "low": ReasoningEffort.LOW,
        "medium": ReasoningEffort.MEDIUM,
        "high": ReasoningEffort.HIGH,
        "xhigh": ReasoningEffort.XHIGH,
        "max": ReasoningEffort.XHIGH,
    }
)
_BUDGETS: Mapping[ReasoningEffort, int] = MappingProxyType(
    {
        ReasoningEffort.MINIMAL: MIN_BUDGET,
        ReasoningEffort.LOW: MIN_BUDGET,
        ReasoningEffort.MEDIUM: 4096,
        ReasoningEffort.HIGH: 16384,
        ReasoningEffort.XHIGH: 32768,
    }
)
_DISPLAYS: Mapping[str, bool] = MappingProxyType({"summarized": True, "omitted": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """What a request says of thinking: the field `thinking`, and the effort in `output_config`.

    `is_derived`: its budget was made from what another dialect asked for, and may be made smaller or left out.
    """

    config: dict[str, Any] | None = None
    effort: str | None = None
    is_derived: bool = False

    @property
    def is_on(self) -> bool:
        """Whether the model is asked to think."""
        return self.config is not None and self.config["type"] in ("enabled", "adaptive")

    @property
    def budget(self) -> int:
        """The tokens it may think; 0 where there is no number."""
        budget: int = self.config.get("budget_tokens", 0) if self.config is not None else 0
        return budget


def decode_thinking(fields: Fields, output_config: Fields, extra: dict[str, Any]) -> Reasoning | None:
    """The canonical wish. What has no canonical place is put into `extra`, under the names of the request's fields."""
    effort = _decode_effort(output_config, extra)
    if not fields.has("thinking"):
        return None if effort is None else Reasoning(effort=effort)
    thinking = fields.object("thinking")
    match kind := thinking.text("type"):
        case "enabled":
            budget = thinking.integer("budget_tokens")
            if budget is None:
                raise thinking.wrong("budget_tokens", "is missing")
            reasoning = Reasoning(effort=effort, budget_tokens=budget, is_shown=_decode_display(thinking))
        case "adaptive":
            reasoning = Reasoning(effort=effort, budget_tokens=_ADAPTIVE, is_shown=_decode_display(thinking))
        case "disabled":
            if effort is not None:  # how much to write; thinking is off
                extra.setdefault("output_config", {}).setdefault("effort", effort.value)
            reasoning = Reasoning(effort=ReasoningEffort.NONE)
        case _:
            extra["thinking"] = {"type": kind, **thinking.extra}
            return None if effort is None else Reasoning(effort=effort)
    if thinking.extra:
        extra["thinking"] = thinking.extra
    return reasoning


def _decode_effort(output_config: Fields, extra: dict[str, Any]) -> ReasoningEffort | None:
    effort = output_config.optional_text("effort")
    if effort is None:
        return None
    if effort not in _EFFORTS:
        raise output_config.wrong("effort", f"'{effort}' is not an effort; known: {', '.join(_EFFORTS)}")
    if effort == "max":
        extra.setdefault("output_config", {})["effort"] = effort
    return _EFFORTS[effort]


def _decode_display(thinking: Fields) -> bool | None:
    display = thinking.optional_text("display")
    if display is None:
        return None
    if display not in _DISPLAYS:
        raise thinking.wrong("display", f"'{display}' is not a way to show it; known: {', '.join(_DISPLAYS)}")
    return _DISPLAYS[display]


def encode_thinking(
    reasoning: Reasoning | None, model: str, *, is_own: bool, max_tokens: int | None, can_show: bool = True
) -> Thinking:
    """The wish in Anthropic's words. One that came in this dialect (`is_own`) goes back as it was. `can_show`: the
    backend can be told to show thoughts that the model would keep to itself.

    Of other dialects a model that thinks adaptively is told the effort, any other a budget. It is what was asked for if
    the model takes that, and else leaves at least half of `max_tokens` for the answer; with fewer tokens than thinking
    takes there is no thinking.
    """
    if reasoning is None:
        return Thinking()
    effort, budget = reasoning.effort, reasoning.budget_tokens
    if effort is ReasoningEffort.NONE or budget == 0:
        return Thinking(config={"type": "disabled"})
    word = None if effort is None else _word(effort)
    if is_own:
        return Thinking(config=_own_config(reasoning), effort=word)
    if effort is None and budget is None:
        return Thinking()
    if thinks_adaptively(model):
        if word is None and budget is not None and budget > 0:
            word = _word_of(budget)
        # The later of these models keep their thoughts to themselves unless it is said that they are to be shown.
        is_shown = True if reasoning.is_shown is None and can_show else reasoning.is_shown
        return Thinking(config=_shown({"type": "adaptive"}, is_shown), effort=word)
    asked = None if budget is None or budget < 0 else budget
    wished = _BUDGETS[effort or ReasoningEffort.MEDIUM] if asked is None else max(asked, MIN_BUDGET)
    if max_tokens is not None:
        if max_tokens <= MIN_BUDGET:
            return Thinking()
        if asked is None or wished >= max_tokens:
            wished = max(MIN_BUDGET, min(wished, max_tokens // 2))
    config = _shown({"type": "enabled", "budget_tokens": wished}, reasoning.is_shown)
    return Thinking(config=config, is_derived=asked is None)


def _own_config(reasoning: Reasoning) -> dict[str, Any] | None:
    match reasoning.budget_tokens:
        case None:
            return None
        case -1:
            return _shown({"type": "adaptive"}, reasoning.is_shown)
        case budget:
            return _shown({"type": "enabled", "budget_tokens": budget}, reasoning.is_shown)


def _shown(config: dict[str, Any], is_shown: bool | None) -> dict[str, Any]:
    if is_shown is None:
        return config
    return {**config, "display": "summarized" if is_shown else "omitted"}


def _word(effort: ReasoningEffort) -> str:
    return ReasoningEffort.LOW.value if effort is ReasoningEffort.MINIMAL else effort.value


def _word_of(budget: int) -> str:
    """The effort that comes nearest."""
    if budget <= 2048:
        return ReasoningEffort.LOW.value
    return ReasoningEffort.MEDIUM.value if budget <= 8192 else ReasoningEffort.HIGH.value
