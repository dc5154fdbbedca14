"""The known name that a person probably meant."""

import difflib
from collections.abc import Iterable
from typing import Final

# Nobody mistypes a known name this long, and comparing takes time in proportion to the length.
_MAX_LENGTH: Final = 64


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A clause for the end of an error message, `; did you mean 'policy'?`, or nothing if no name is near."""
    if len(word) > _MAX_LENGTH:
        return ""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
