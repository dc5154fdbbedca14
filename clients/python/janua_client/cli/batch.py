"""Resources read from files: parsed, checked as far as one can without a server, and where each of them stands."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from janua_resources import documents, field_rules, rules, world
from janua_resources.documents import DocumentError, Located, LocatedError
from janua_resources.kinds import ConfigMessage, Key, kind_of
from janua_resources.violations import DUPLICATE, UNRESOLVED_REFERENCE, Violation, first_per_field, violation

from janua_client.cli.failures import CommandError
from janua_client.cli.sources import Source, read_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong or doubtful at a place in a file. `violation` is None where the text itself is wrong."""

    source: str
    line: int
    column: int
    message: str
    violation: Violation | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}: {self.message}"


class Batch:
    """Resources from files, each name once, in the order of the files."""

    def __init__(self, located: Iterable[Located]) -> None:
        self.located = tuple(located)
        self._by_key = {key(each.message): each for each in self.located}

    @property
    def messages(self) -> tuple[ConfigMessage, ...]:
        return tuple(each.message for each in self.located)

    def violations(self, *, ignored: Collection[str] = ()) -> list[Problem]:
        """What is wrong among the resources, but for the ignored reasons."""
        found = world.check_world({key: each.message for key, each in self._by_key.items()})
        return [self._problem(each) for each in found if each.reason not in ignored]

    def warnings(self, now: datetime) -> list[Problem]:
        """What is right and probably not as meant."""
        found = world.warnings({key: each.message for key, each in self._by_key.items()}, now=now)
        return [self._problem(each) for each in found]

    def _problem(self, found: Violation) -> Problem:
        return problem(self._by_key[found.kind.kind, found.name], found)


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading files: a batch, and what is wrong with the texts and with single resources."""

    batch: Batch
    problems: tuple[Problem, ...]


def key(message: ConfigMessage) -> Key:
    """Identifies a resource."""
    return kind_of(message).kind, message.name


def problem(located: Located, found: Violation) -> Problem:
    """A violation of a resource, at the place of the field in the file."""
    line, column = located.position(found.field)
    return Problem(source=located.source, line=line, column=column, message=str(found), violation=found)


def read_batch(files: Iterable[str]) -> Batch:
    """Reads files for a server that may know more resources: dangling references are its business.

    Raises `CommandError` with every problem of every file.
    """
    reading = read(read_sources(files))
    problems = reading.problems or reading.batch.violations(ignored={UNRESOLVED_REFERENCE})
    if problems:
        raise CommandError(f"{count(problems)} in the files; nothing was sent", details=map(str, problems))
    return reading.batch


def count(problems: Sequence[Problem]) -> str:
    """`1 problem`, `2 problems`"""
    return f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"


def read(sources: Iterable[Source]) -> Reading:
    """Parses all files and checks each resource by itself. `${NAME}` in values stands for our environment's.

    Problems come in the order of the files and their lines.
    """
    sources = tuple(sources)
    located, problems = _parse(sources)
    problems += [problem(each, found) for each in located for found in _own_violations(each.message)]
    unique, duplicates = _without_duplicates(located)
    order = {source.name: number for number, source in enumerate(sources)}
    in_order = sorted((*problems, *duplicates), key=lambda each: (order[each.source], each.line, each.column))
    return Reading(Batch(unique), tuple(in_order))


def _parse(sources: Iterable[Source]) -> tuple[list[Located], list[Problem]]:
    located: list[Located] = []
    problems: list[Problem] = []
    for source in sources:
        try:
            located += documents.parse(source.text, source=source.name, environ=os.environ).resources
        except DocumentError as error:
            problems += map(_unreadable, error.errors)
    return located, problems


def _own_violations(message: ConfigMessage) -> list[Violation]:
    return first_per_field([*field_rules.check_fields(message), *rules.check(message)])


def _unreadable(error: LocatedError) -> Problem:
    return Problem(source=error.source, line=error.line, column=error.column, message=error.message)


def _without_duplicates(located: Iterable[Located]) -> tuple[list[Located], list[Problem]]:
    first: dict[Key, Located] = {}
    duplicates: list[Problem] = []
    for each in located:
        before = first.setdefault(key(each.message), each)
        if before is not each:
            line, column = before.position("name")
            text = f"is in {before.source}:{line}:{column} already; a name may occur once within its kind"
            duplicates.append(problem(each, violation(each.message, "name", text, DUPLICATE)))
    return list(first.values()), duplicates
