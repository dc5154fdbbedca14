"""Rules of guardrails for tests, and what they find."""

from collections import Counter

import re2

from gateway.config.guardrail import (
    FindData,
    FindRegex,
    GuardrailAction,
    GuardrailConfig,
    PersonalData,
    TextRule,
)
from gateway.filters.text_rules import TextRules


def data_rule(kind: PersonalData, action: GuardrailAction = GuardrailAction.MASK) -> TextRule:
    return TextRule(name=kind.name, action=action, check=FindData(kind=kind), replacement=f"[{kind.name}]")


def regex_rule(
    pattern: str, action: GuardrailAction = GuardrailAction.MASK, name: str = "REGEX", replacement: str = "#"
) -> TextRule:
    check = FindRegex(pattern=pattern, compiled=re2.compile(pattern))
    return TextRule(name=name, action=action, check=check, replacement=replacement)


EVERY_KIND = tuple(data_rule(kind) for kind in PersonalData)


class Counted:
    """Rules, and how often each has found something."""

    def __init__(self, *rules: TextRule, window: int = 128) -> None:
        self.found: Counter[tuple[str, str]] = Counter()
        config = GuardrailConfig(texts=rules or EVERY_KIND, window=window)
        self.rules = TextRules("guard", config, self._count)

    def _count(self, rule: str, action: GuardrailAction) -> None:
        self.found[rule, action.name] += 1
