"""The arguments of a call as they come in pieces, and when there can be no more of them."""

import re

from gateway.schemas.anthropic.arguments import is_object

_OUTSIDE = re.compile(r'[{}\[\]"]')
_IN_STRING = re.compile(r'["\\]')


class GrowingArguments:
    """A JSON text that grows. Pieces may be cut anywhere; each is looked at once, however often is asked."""

    __slots__ = ("_depth", "_is_escaped", "_is_in_string", "_is_whole", "_pieces", "_seen")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._seen = 0
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False
        self._is_whole = False

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, piece: str) -> None:
        """More of the text."""
        if piece:
            self._pieces.append(piece)

    def text(self) -> str:
        """All that has come."""
        return "".join(self._pieces)

    def is_whole(self) -> bool:
        """Whether the text is a JSON object, to which nothing can be added."""
        if self._seen < len(self._pieces):
            for piece in self._pieces[self._seen :]:
                self._scan(piece)
            self._seen = len(self._pieces)
            self._is_whole = self._depth == 0 and not self._is_in_string and is_object(self.text())
        return self._is_whole

    def _scan(self, piece: str) -> None:
        """Follows brackets and strings. What is no JSON at all is found when the brackets are closed."""
        at = int(self._is_escaped)
        self._is_escaped = False
        while found := (_IN_STRING if self._is_in_string else _OUTSIDE).search(piece, at):
            at = found.end()
            match found[0]:
                case '"':
                    self._is_in_string = not self._is_in_string
                case "\\":
                    self._is_escaped = at == len(piece)
                    at += 1
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
