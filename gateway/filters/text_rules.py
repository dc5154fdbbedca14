"""Rules for texts, applied to a whole text or to a window of one. Pure, but that what is found is counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.config.guardrail import FindData, GuardrailAction, GuardrailConfig, TextRule
from gateway.errors import GuardrailDeniedError
from gateway.filters.personal_data import FINDERS, Finder, Span

# How long a match may be to be found in a whole text for certain.
_SEEN_OF_REGEX = 4096

Found = Callable[[str, GuardrailAction], None]


@dataclass(frozen=True, slots=True)
class Mask:
    """A piece of text, and what stands in its place."""

    start: int
    end: int
    replacement: str


class TextRules:
    """The rules of one policy. `found` is told of each match, by the name of its rule."""

    def __init__(self, policy: str, config: GuardrailConfig, found: Found) -> None:
        self._policy = policy
        self._found = found
        self._rules = tuple((rule, _finder(rule, config.window)) for rule in config.texts)
        self.count = len(self._rules)
        self.window = max((_window(rule, config.window) for rule in config.texts), default=0)

    def mask(self, text: str) -> str:
        """A whole text as it may go on; the very same if nothing is masked. Raises `GuardrailDeniedError`."""
        masks, _ = self.scan(text, [0] * self.count, 0, len(text))
        return masked(text, masks, 0, len(text)) if masks else text

    def scan(self, text: str, seen: list[int], start: int, until: int) -> tuple[Sequence[Mask], int]:
        """What is to be masked of what begins from `start` on and before `until`, and where the search goes on.

        `seen` has for each rule from where on it searches, and is changed. Raises `GuardrailDeniedError`.
        """
        masks: list[Mask] = []
        ahead: list[Span | None] = [self._next(number, text, max(start, at), until) for number, at in enumerate(seen)]
        while (number := self._first(ahead)) is not None:
            rule, _ = self._rules[number]
            begin, end = ahead[number] or (until, until)
            self._found(rule.name, rule.action)
            if rule.action is GuardrailAction.DENY:
                raise self.denied(rule.name)
            seen[number] = end
            if rule.action is GuardrailAction.MASK:
                masks.append(Mask(begin, end, rule.replacement))
                start = end
            ahead = [
                span
                if span is None or (other != number and span[0] >= start)
                else self._next(other, text, max(start, at), until)
                for other, (span, at) in enumerate(zip(ahead, seen, strict=True))
            ]
        return masks, max(start, until)

    def denied(self, rule: str) -> GuardrailDeniedError:
        """The error for what a rule has found, to be raised."""
        return GuardrailDeniedError(f"the guardrail {self._policy} does not let this pass: {rule}")

    def _next(self, number: int, text: str, start: int, until: int) -> Span | None:
        return self._rules[number][1].search(text, start, until)

    def _first(self, ahead: Sequence[Span | None]) -> int | None:
        """The rule whose match counts next."""
        candidates = [
            (span[0], self._rules[number][0].action.value, number)
            for number, span in enumerate(ahead)
            if span is not None
        ]
        return min(candidates)[2] if candidates else None


def masked(text: str, masks: Sequence[Mask], start: int, end: int) -> str:
    """The text from `start` to `end` with what stands in the place of what is masked."""
    pieces: list[str] = []
    for mask in masks:
        pieces += (text[start : mask.start], mask.replacement)
        start = mask.end
    return "".join((*pieces, text[start:end]))


def _finder(rule: TextRule, window: int) -> Finder:
    check = rule.check
    return FINDERS[check.kind] if isinstance(check, FindData) else Finder(check.compiled, max(window, _SEEN_OF_REGEX))


def _window(rule: TextRule, configured: int) -> int:
    return FINDERS[rule.check.kind].max_length if isinstance(rule.check, FindData) else configured
