"""The command `validate`: files are checked without a server, as if they were the whole configuration."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from janua_client.cli.batch import Batch, Problem, count, read
from janua_client.cli.failures import CommandError
from janua_client.cli.options import Files, Output
from janua_client.cli.output import Json, OutputFormat, print_data, stdout, warn
from janua_client.cli.sources import read_sources


def validate(files: Files, output: Output = OutputFormat.TABLE) -> None:
    """Check configuration files without a server, as if they were the whole configuration.

    Every violation is printed with its file, line and column, and so is what
    works but is probably not meant.

    Examples:

      janua validate -f janua.yaml
      janua validate -f config/ -o json

    Exit codes: 0 valid, perhaps with warnings, 1 not valid, 2 wrong usage.
    """
    reading = read(read_sources(files))
    problems = reading.problems or reading.batch.violations()
    warnings = [] if problems else reading.batch.warnings(datetime.now(UTC))
    if output is OutputFormat.TABLE:
        _print(reading.batch, problems, warnings)
    else:
        print_data(_data(reading.batch, problems, warnings), output)
    if problems:
        raise CommandError(f"{count(problems)}: correct the files and validate again")


def _print(batch: Batch, problems: Sequence[Problem], warnings: Sequence[Problem]) -> None:
    for warning in warnings:
        warn(str(warning))
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
    else:
        stdout().print(f"valid: {len(batch.located)} resource{'' if len(batch.located) == 1 else 's'}")


def _data(batch: Batch, problems: Sequence[Problem], warnings: Sequence[Problem]) -> Json:
    return {
        "valid": not problems,
        "resources": len(batch.located),
        "violations": [_place(each) for each in problems],
        "warnings": [_place(each) for each in warnings],
    }


def _place(problem: Problem) -> Json:
    place: dict[str, Json] = {"file": problem.source, "line": problem.line, "column": problem.column}
    found = problem.violation
    if found is None:
        return {**place, "message": problem.message}
    resource = {"kind": found.kind.field, "name": found.name, "field": found.field}
    return {**place, **resource, "reason": found.reason, "message": found.message}
