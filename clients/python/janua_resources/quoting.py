"""Text of others within our error messages."""

from typing import Final

_MAX_LENGTH: Final = 100


def quoted(text: str) -> str:
    """`text` in quotes on one line, control characters escaped, shortened if it is long."""
    return repr(text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + "…")
