"""Writes docs/conformance.md from the tests of translation that pass. With --check nothing is run: the page must have
the cells that the tests are for, which `make docs` has found to pass."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
TESTS = ROOT / "tests" / "conformance" / "test_translation.py"
HEAD = """# Conformance

Made by `make docs` from the tests in `tests/conformance/test_translation.py` that pass; do not edit.

Each table is for clients of one dialect; its columns are what the backend speaks. A cell says whether the feature
survives the way to the backend and back in whole answers (`unary`), in streamed ones (`stream`), or in both; `-` means
that one of the two dialects has nothing like it, or that there is no test.
"""

TITLES = {
    "openai": "OpenAI (chat completions)",
    "anthropic": "Anthropic (messages)",
    "gemini": "Gemini (generateContent)",
    "bedrock": "Bedrock (Converse)",
    "cohere": "Cohere (chat)",
    "ollama": "Ollama (chat)",
    "grpc": "gRPC (janua.inference.v1)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a test shows: a feature that survives between two dialects."""

    client: str
    backend: str
    feature: str
    is_streamed: bool


@dataclass(slots=True)
class Cells:
    """A plugin of pytest that notes which cells have tests, and which of them have one that does not pass."""

    by_test: dict[str, Cell] = field(default_factory=dict)
    failed: set[Cell] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Notes the cell of each test."""
        for item in items:
            marker = item.get_closest_marker("feature")
            if marker is not None and isinstance(item, pytest.Function):
                params: Mapping[str, Any] = item.callspec.params
                self.by_test[item.nodeid] = Cell(
                    client=params["client"].name,
                    backend=params["backend"].name,
                    feature=marker.args[0],
                    is_streamed=params.get("streamed", True),
                )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes how it went."""
        cell = self.by_test.get(report.nodeid)
        if cell is not None and report.outcome != "passed":
            self.failed.add(cell)
        elif cell is not None and report.when == "call":
            self.passed.add(report.nodeid)

    def collected(self) -> list[Cell]:
        """The cells that have tests, in the order of these."""
        return list(dict.fromkeys(self.by_test.values()))

    def proven(self) -> list[Cell]:
        """The cells all of whose tests have passed."""
        missing = {cell for test, cell in self.by_test.items() if test not in self.passed}
        return [cell for cell in self.collected() if cell not in missing | self.failed]


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
    backends = list(dict.fromkeys(cell.backend for cell in cells))
    features = dict.fromkeys(cell.feature for cell in cells)
    rows = [
        f"| {feature} | {' | '.join(_words(cells, client, backend, feature) for backend in backends)} |"
        for feature in features
    ]
    columns = " | ".join(TITLES[backend] for backend in backends)
    return "\n".join(
        [f"## {TITLES[client]}\n", f"| feature | {columns} |", f"|---|{'---|' * len(backends)}", *rows, ""]
    )


def _words(cells: Iterable[Cell], client: str, backend: str, feature: str) -> str:
    return " + ".join(_ways(cells, client, backend, feature)) or "-"


def _ways(cells: Iterable[Cell], client: str, backend: str, feature: str) -> Iterator[str]:
    for is_streamed, word in ((False, "unary"), (True, "stream")):
        if Cell(client=client, backend=backend, feature=feature, is_streamed=is_streamed) in cells:
            yield word


if __name__ == "__main__":
    sys.exit(main())
