"""What stands between fences on a page."""

import re
from collections.abc import Iterator
from pathlib import Path


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a language, whole."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """The lines to type, one by one."""
    for block in blocks(page, "sh"):
        yield from block.splitlines()
