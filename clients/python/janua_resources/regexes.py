"""RE2 expressions: linear in time, so that no configuration can stop a node. Every plane compiles them here."""

from typing import Final, Protocol, cast

import re2

from janua_resources.quoting import quoted


class Regex(Protocol):
    """A compiled expression."""

    def fullmatch(self, text: str) -> object | None:
        """Something if the expression matches all of `text`, else None."""


def _quiet() -> re2.Options:
    options = re2.Options()
    # Otherwise the C++ library writes each bad expression to stderr.
    options.log_errors = False
    return options


_OPTIONS: Final = _quiet()
_MAX_REASON: Final = 100


def compile_regex(pattern: str) -> Regex:
    """Compiles an RE2 expression (not one of Python's `re`). Raises ValueError with RE2's reason."""
    try:
        return cast("Regex", re2.compile(pattern, _OPTIONS))
    except re2.error as error:
        [reason] = error.args
        # The reason ends with the part of the pattern that it is about, in bytes.
        text = reason[:_MAX_REASON].decode("utf-8", "replace")
        raise ValueError(f"{quoted(pattern)} is not an RE2 expression: {text}") from None
