"""Environment variables in values: `${NAME}` and `${NAME:-default}`; `$$` is a literal `$`."""

import re
from collections.abc import Mapping
from typing import Final

from janua_resources.quoting import quoted

# In the order of precedence. A `$` that none of these starts with stands for itself.
_PART: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\{[^}]*\}?))"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NEEDS_ESCAPE: Final = re.compile(r"\$(?=[${])")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables replaced, once: what a variable holds is not looked at again.

    The default is for a variable that is unset or empty, as in a shell. Raises ValueError for a variable that is
    unset and has no default, and for what is no variable name.
    """
    return _PART.sub(lambda found: _replacement(found, environ), text) if "$" in text else text


def escape(text: str) -> str:
    """Text that `expand` turns back into `text`, whatever the environment."""
    return _NEEDS_ESCAPE.sub("$$", text)


def _replacement(found: re.Match[str], environ: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    if found["broken"]:
        raise ValueError(f"{quoted(found[0])} is not a variable; write ${{NAME}}, or $$ for a literal $")
    name, default = found["name"], found["default"]
    value = environ.get(name)
    if default is not None and not value:
        return default
    if value is None:
        raise ValueError(f"environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    if _SURROGATE.search(value):
        # How Python passes on bytes of the environment that are not UTF-8.
        raise ValueError(f"environment variable {name} is not UTF-8")
    return value
