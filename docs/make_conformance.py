"""Writes docs/conformance.md from the tests of translation that pass. With --check nothing is run: the page must have
the cells that the tests are for, which `make docs` has found to pass."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
TESTS = ROOT / "tests" / "conformance" / "test_translation.py"
HEAD = """# Conformance

Made by `make docs` from the tests in `tests/conformance/test_translation.py` that pass; do not edit.

Each table is for clients of one dialect; its columns are what the backend speaks. A cell says whether what the row
names survives the way to the backend and back in whole answers (`unary`), in streamed ones (`stream`), or in both.

- `refused`: the backend's dialect has nothing like it. The caller gets a 400 that names it, and the backend nothing;
  with `unsupported_fields: DROP` the backend gets the same request without it.
- `left out`: the backend's dialect has nothing like it. It only says how, and the request is answered without it.
- `as text`: the caller's dialect has nothing like it, and what it says stands in the text of the answer.
- `-`: the backend's dialect does not tell it, or refuses what it is part of.

Rows of what the caller's dialect has nothing like are not shown, and no cell says more than a test shows.
[translation.md](translation.md) has the rules. Where both dialects are the same, bytes pass through; backends are
asked in OpenAI's completions by clients of these alone.
"""

_WAYS = ((False, "unary"), (True, "stream"))

TITLES = {
    "openai": "OpenAI (chat completions)",
    "responses": "OpenAI (responses)",
    "completions": "OpenAI (completions)",
    "anthropic": "Anthropic (messages)",
    "gemini": "Gemini (generateContent)",
    "bedrock": "Bedrock (Converse)",
    "cohere": "Cohere (chat)",
    "ollama": "Ollama (chat)",
    "grpc": "gRPC (janua.inference.v1)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a test shows of a feature between two dialects: that it survives, or `how` else it fares."""

    client: str
    backend: str
    feature: str
    is_streamed: bool
    how: str


@dataclass(slots=True)
class Cells:
    """A plugin of pytest that notes of which cells a test is, and which tests have passed."""

    by_test: dict[str, tuple[Cell, ...]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Notes the cells of each test."""
        for item in items:
            if isinstance(item, pytest.Function) and (cells := tuple(_cells(item))):
                self.by_test[item.nodeid] = cells

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes how it went; a test can still fail when it is torn down."""
        if report.outcome != "passed":
            self.passed.discard(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)

    def collected(self) -> list[Cell]:
        """The cells that have tests, in the order of these."""
        return list(dict.fromkeys(cell for cells in self.by_test.values() for cell in cells))

    def proven(self) -> list[Cell]:
        """The cells all of whose tests have passed."""
        missing = {cell for test, cells in self.by_test.items() if test not in self.passed for cell in cells}
        return [cell for cell in self.collected() if cell not in missing]


def _cells(test: pytest.Function) -> Iterator[Cell]:
    for marker in test.iter_markers("feature"):
        params: Mapping[str, Any] = test.callspec.params
        for feature in marker.args:
            yield Cell(
                client=params["client"].name,
                backend=params["backend"].name,
                feature=feature,
                is_streamed=params.get("streamed", True),
                how=marker.kwargs.get("how", ""),
            )


def main() -> int:
    """Writes the page, or compares it."""
    is_check = sys.argv[1:] == ["--check"]
    cells = Cells()
    options = ["--collect-only"] if is_check else []
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing if is_check else sys.stderr),
    ):
        status = pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *options, str(TESTS)], [cells])
    if is_check:
        if status == pytest.ExitCode.OK and PAGE.read_text("utf-8") == page(cells.collected()):
            return 0
        sys.stderr.write("docs/conformance.md is out of date: run make docs\n")
        return 1
    PAGE.write_text(page(cells.proven()), "utf-8")
    return int(status)


def page(cells: Sequence[Cell]) -> str:
    """The page with these cells."""
    clients = dict.fromkeys(cell.client for cell in cells)
    return "\n".join([HEAD, *(_section(client, cells) for client in clients)])


def _section(client: str, cells: Sequence[Cell]) -> str:
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.client == client:
            found.setdefault((cell.backend, cell.feature), []).append(cell)
    backends = dict.fromkeys(backend for backend, _ in found)
    own = {feature for _, feature in found}
    features = dict.fromkeys(cell.feature for cell in cells if cell.feature in own)
    rows = [
        f"| {feature} | {' | '.join(_words(found.get((backend, feature), ())) for backend in backends)} |"
        for feature in features
    ]
    columns = " | ".join(TITLES[backend] for backend in backends)
    return "\n".join(
        [f"## {TITLES[client]}\n", f"| feature | {columns} |", f"|---|{'---|' * len(backends)}", *rows, ""]
    )


def _words(cells: Sequence[Cell]) -> str:
    """What stands in a cell: in which answers the feature survives, or how else it fares."""
    ways = [way for is_streamed, way in _WAYS if any(cell.is_streamed is is_streamed for cell in cells)]
    (how,) = {cell.how for cell in cells} or {""}
    words = " + ".join(ways) or "-"
    return words if not how else how if len(ways) == len(_WAYS) else f"{how} ({words})"


if __name__ == "__main__":
    sys.exit(main())
