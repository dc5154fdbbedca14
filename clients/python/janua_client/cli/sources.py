"""The files behind `-f`: found, read, and nothing more."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from janua_client.cli.failures import CommandError

STDIN = "-"
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one file. `name` is its path as a person knows it."""

    name: str
    text: str


def find_files(arguments: Iterable[str]) -> tuple[Path, ...]:
    """The files that the arguments name; of a directory all YAML and JSON files below it, by path.

    Standard input is not among them. Raises `CommandError` for what is not there, and for a directory without files.
    """
    return tuple(dict.fromkeys(path for argument in arguments if argument != STDIN for path in _files(Path(argument))))


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise CommandError(f"{path}: no such file or directory")
    if not path.is_dir():
        yield path
        return
    found = sorted(each for each in path.rglob("*") if _is_configuration(each.relative_to(path)) and each.is_file())
    if not found:
        raise CommandError(f"{path}: no .yaml, .yml or .json file in this directory")
    yield from found


def _is_configuration(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not any(part.startswith(".") for part in path.parts)


def read_sources(arguments: Iterable[str]) -> tuple[Source, ...]:
    """Reads what the arguments name, `-` being standard input. Raises `CommandError` naming every unreadable file."""
    arguments = tuple(arguments)
    sources: list[Source] = []
    problems: list[str] = []
    for path in find_files(arguments):
        try:
            sources.append(Source(str(path), path.read_text("utf-8")))
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
        except UnicodeDecodeError as error:
            problems.append(f"{path}: not UTF-8 text (byte {error.start})")
    if STDIN in arguments:
        sources.append(_read_stdin())
    if problems:
        *others, last = problems
        raise CommandError(last, details=others)
    return tuple(sources)


def _read_stdin() -> Source:
    try:
        return Source("<stdin>", sys.stdin.buffer.read().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CommandError(f"<stdin>: not UTF-8 text (byte {error.start})") from error
