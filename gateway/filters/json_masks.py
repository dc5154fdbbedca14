"""Masks in JSON that is still being written: what is masked within a text stays within it, and what is masked outside
of texts, such as a number, becomes a text. Pure."""

import json
import re
from collections.abc import Sequence

from gateway.filters.text_rules import Mask

# What numbers and the words `true`, `false` and `null` consist of. They are not let go before their end: if something
# is masked in one, the whole of it becomes a text.
_BARE = frozenset("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SPACE = " \t\r\n"

# One that may go on, then a pair that stands for one character, and any other.
_ESCAPE = re.compile(
    r"""(?P<open>(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z)
    |\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
    |\\u[0-9a-fA-F]{4}
    |\\.""",
    re.VERBOSE | re.DOTALL,
)


class PlainEscapes:
    """Reads the escapes of one text that is JSON if it begins with an object or an array: a rule finds what they stand
    for. Quotes and backslashes keep theirs; line ends and the like stand as they are, until they are written again."""

    __slots__ = ("_held", "_is_json")

    def __init__(self) -> None:
        self._is_json: bool | None = None  # None: nothing has come
        self._held = ""  # the beginning of one

    def feed(self, text: str) -> str:
        """What has come, but for an escape that is not at its end."""
        if self._is_json is None and (begun := text.lstrip(_SPACE)):
            self._is_json = begun[0] in "{["
        if not self._is_json or not (self._held or "\\" in text):
            return text
        text, self._held = self._held + text, ""
        return _ESCAPE.sub(self._plain, text)

    def finish(self) -> str:
        """What is held."""
        return self._held

    def _plain(self, escape: re.Match[str]) -> str:
        written = escape[0]
        if escape["open"] is not None:
            self._held += written  # nothing, at the very end
            return ""
        try:
            character: str = json.loads(f'"{written}"')
        except ValueError:
            return written
        if "\ud800" <= character <= "\udfff":
            return written  # half of a character is none
        return f"\\{character}" if character in '"\\' else character


class JsonMasks:
    """One text that is JSON if it begins with an object or an array; else it is masked as any other."""

    __slots__ = ("_bare", "_escape", "_is_broken", "_is_in_text", "_is_json", "_is_masked")

    def __init__(self) -> None:
        self._is_json: bool | None = None  # None: nothing has come
        self._is_in_text = False
        self._escape = ""  # the beginning of one, which is not let go before its end
        self._is_broken = False  # part of it has been masked, and with that the whole of it
        self._bare = ""
        self._is_masked = False

    def write(self, text: str, masks: Sequence[Mask], start: int, end: int) -> str:
        """The text from `start` to `end` with its masks. The end of it may be held."""
        out: list[str] = []
        for mask in masks:
            out += (self._pass(text[start : mask.start]), self._mask(text[mask.start : mask.end], mask.replacement))
            start = mask.end
        out.append(self._pass(text[start:end]))
        return "".join(out)

    def finish(self) -> str:
        """What is held."""
        return self._ended_bare() + ("" if self._is_broken else self._escape)

    def _pass(self, text: str) -> str:
        if self._is_json is None and (begun := text.lstrip(_SPACE)):
            self._is_json = begun[0] in "{["
        if not self._is_json:
            return text
        out: list[str] = []
        for character in text:
            if self._is_in_text:
                out.append(self._step(character))
            elif character in _BARE:
                self._bare += character
            else:
                out += (self._ended_bare(), self._step(character))
        return "".join(out)

    def _mask(self, text: str, replacement: str) -> str:
        if self._is_json is None:
            self._is_json = False  # its beginning is masked
        if not self._is_json:
            return replacement
        was_in_text = self._is_in_text
        for character in text:
            self._step(character)
        self._is_broken = bool(self._escape)
        written = json.dumps(replacement, ensure_ascii=False)[1:-1]
        if was_in_text:
            return written if self._is_in_text else f'{written}"'
        if self._is_in_text:
            return f'{self._ended_bare()}"{written}'
        self._bare += written
        self._is_masked = True
        return ""

    def _step(self, character: str) -> str:
        """What goes on with the next character that is not of something bare."""
        if self._escape or (self._is_in_text and character == "\\"):
            self._escape += character
            if len(self._escape) < (6 if self._escape[1:2] == "u" else 2):
                return ""
            ended, self._escape = "" if self._is_broken else self._escape, ""
            self._is_broken = False
            return ended
        if character == '"':
            self._is_in_text = not self._is_in_text
        elif self._is_in_text and character < " ":
            return json.dumps(character)[1:-1]
        return character

    def _ended_bare(self) -> str:
        bare, is_masked = self._bare, self._is_masked
        self._bare, self._is_masked = "", False
        return f'"{bare}"' if is_masked else bare
