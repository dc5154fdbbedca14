"""What an apply did, or would do: as lines for people and as data for programs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from janua.config.v1.config_service_pb2 import (
    ApplyResponse,
    ChangeResult,
    FieldDiff,
    PromoteCanaryResponse,
    RollbackResponse,
)
from janua.config.v1.resource_pb2 import ResourceKey
from janua_resources.kinds import kind_info
from rich.console import Console
from rich.text import Text

from janua_client.cli.output import Json, warn

_UNCHANGED = ChangeResult.OUTCOME_UNCHANGED
_WORDS = {
    ChangeResult.OUTCOME_CREATED: ("created", "green"),
    ChangeResult.OUTCOME_UPDATED: ("updated", "yellow"),
    ChangeResult.OUTCOME_UNCHANGED: ("unchanged", "dim"),
    ChangeResult.OUTCOME_DELETED: ("deleted", "red"),
}


def resource_name(key: ResourceKey) -> str:
    """`route/chat`"""
    return f"{kind_info(key.kind).field}/{key.name}"


def outcome(result: ChangeResult) -> str:
    """`created`, `updated`, `unchanged` or `deleted`."""
    return _WORDS[result.outcome][0]


Written: TypeAlias = ApplyResponse | RollbackResponse | PromoteCanaryResponse
"""The answer to a write of several resources."""


def report_data(response: Written, *, dry_run: bool) -> dict[str, Json]:
    """The whole answer; values of fields are data again."""
    return {
        "revision": response.revision,
        "dry_run": dry_run,
        "results": changes_data(response.results),
        "warnings": [
            {
                "kind": kind_info(warning.key.kind).field,
                "name": warning.key.name,
                "field": warning.field,
                "message": warning.message,
            }
            for warning in response.warnings
        ],
        "connected_nodes": response.connected_nodes,
    }


def changes_data(results: Iterable[ChangeResult]) -> Sequence[Json]:
    """What became of each resource, as data."""
    return [
        {
            "kind": kind_info(result.key.kind).field,
            "name": result.key.name,
            "outcome": outcome(result),
            "diff": [
                {"field": diff.field, "old": _value(diff.old_json), "new": _value(diff.new_json)}
                for diff in result.diff
            ],
        }
        for result in results
    ]


def _value(text: str) -> Json:
    value: Json = json.loads(text) if text else None
    return value


def print_changes(results: Iterable[ChangeResult], console: Console) -> None:
    """One line per resource, and one per field that differs."""
    for line in change_lines(results):
        console.print(line, soft_wrap=True)


def change_lines(results: Iterable[ChangeResult]) -> Iterator[Text]:
    """Those lines."""
    for result in results:
        word, style = _WORDS[result.outcome]
        yield Text.assemble((f"{word:<9}", style), " ", resource_name(result.key))
        yield from map(_difference, result.diff)


def _difference(diff: FieldDiff) -> Text:
    line = Text(f"            {diff.field}: ")
    if diff.old_json:
        line.append(diff.old_json, "red")
    line.append(" → " if diff.old_json and diff.new_json else "")
    if diff.new_json:
        line.append(diff.new_json if diff.old_json else f"+ {diff.new_json}", "green")
    else:
        line.append(" (removed)")
    return line


def print_warnings(response: Written) -> None:
    """The server's warnings, on stderr."""
    for warning in response.warnings:
        field = f"{warning.field}: " if warning.field else ""
        warn(f"{resource_name(warning.key)}: {field}{warning.message}")


def summary(response: Written, *, dry_run: bool) -> str:
    """The last line of a report."""
    counts = _counts(response.results)
    if set(counts) <= {"unchanged"}:
        return f"nothing to change at revision {response.revision}"
    listed = ", ".join(f"{count} {word}" for word, count in counts.items())
    return (
        f"dry run at revision {response.revision}: {listed}" if dry_run else f"revision {response.revision}: {listed}"
    )


def _counts(results: Sequence[ChangeResult]) -> dict[str, int]:
    words = [outcome(result) for result in results]
    return {word: words.count(word) for word, _ in _WORDS.values() if word in words}


def changes(response: Written) -> list[ChangeResult]:
    """The results that are no UNCHANGED."""
    return [result for result in response.results if result.outcome != _UNCHANGED]
