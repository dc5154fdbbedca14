"""One text that comes piece by piece, under rules: no more of it is held back than a match can be long. Pure."""

from collections.abc import Sequence

from gateway.filters.json_masks import JsonMasks, PlainEscapes
from gateway.filters.text_rules import TextRules, masked

# How much is decided at once. Less would have more of the text searched again, more would hold more of it back.
_STEP = 16


class TextWindow:
    """Decides of a text from its beginning on, in steps of their own: how it was cut into pieces makes no difference.

    Of what begins in a step all is seen that follows within the rules' window. With `is_whole` nothing is decided
    before the end of the text. `json` is there if it may be JSON, and has to stay so. `decided` counts characters,
    `masks` are the places of what was masked.
    """

    def __init__(self, rules: TextRules, *, is_whole: bool = False, json: JsonMasks | None = None) -> None:
        self._rules = rules
        self._json = json
        self._escapes = None if json is None else PlainEscapes()
        self._ahead = None if is_whole else _STEP + rules.window
        self._text = ""  # what is not decided, after the character before it
        self._start = 0
        self._seen = [0] * rules.count
        self.decided = 0
        self.masks: list[tuple[int, int]] = []

    def feed(self, text: str) -> str:
        """What can go on now. Raises `GuardrailDeniedError`."""
        self._text += text if self._escapes is None else self._escapes.feed(text)
        if self._ahead is None:
            return ""
        out: list[str] = []
        at = 0
        while len(self._text) - at - self._start >= self._ahead:
            block = self._text[at : at + self._start + self._ahead]
            decided, end = self._decide(block, self._start + _STEP)
            out.append(decided)
            at += end - 1
        self._text = self._text[at:]
        return "".join(out)

    def finish(self) -> str:
        """What has been held: the text is at its end. Raises `GuardrailDeniedError`."""
        if self._escapes is not None:
            self._text += self._escapes.finish()
        decided, _ = self._decide(self._text, len(self._text))
        self._text, self._start, self._seen = "", 0, [0] * self._rules.count
        return decided if self._json is None else decided + self._json.finish()

    def _decide(self, block: str, until: int) -> tuple[str, int]:
        """What goes on of what begins before `until`, and the end of that in the block. One character is kept before
        the rest, for expressions that look at it."""
        start = self._start
        masks, end = self._rules.scan(block, self._seen, start, until)
        self.masks += ((self.decided + mask.start - start, self.decided + mask.end - start) for mask in masks)
        self.decided += end - start
        self._seen = [max(0, at - end + 1) for at in self._seen]
        self._start = 1
        if self._json is not None:
            return self._json.write(block, masks, start, end), end
        return masked(block, masks, start, end), end

    def has_masked(self, places: Sequence[int]) -> bool:
        """Whether anything from the first to the second place was masked."""
        first, last = places
        return any(start < last and first < end for start, end in self.masks)
