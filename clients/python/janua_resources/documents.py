"""Configuration as text: YAML or JSON to resources with their places, and back. Files are for callers to read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, assert_never

import yaml

from janua_resources.document_errors import DocumentError, LocatedError
from janua_resources.kinds import ConfigMessage, kind_of
from janua_resources.located_resources import Located, ResourceReader
from janua_resources.message_encoder import Plain, encode
from janua_resources.nodes import Place
from janua_resources.text_nodes import read_text

__all__ = ["Document", "DocumentError", "Located", "LocatedError", "Place", "dump", "parse"]

# Nobody reads more, and looking for the nearest name takes time.
MAX_ERRORS: Final = 1000

# The order in which people read a configuration.
_DUMP_ORDER: Final = ("upstreams", "services", "routes", "policies", "consumers", "secrets")

_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# Folded lines are hard to read and to search.
_NEVER_FOLD: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What one text says, in its order."""

    source: str
    resources: tuple[Located, ...]


def parse(text: str, *, source: str, environ: Mapping[str, str] | None = None) -> Document:
    """Reads YAML or JSON: one or many documents, each with the plurals of kinds as keys (`services: […]`).

    `source` is the name of the text in errors and places. `${NAME}` in values is replaced from `environ`; without the
    argument no variable is set. What the resources mean is not checked. Raises DocumentError with all that is wrong,
    up to MAX_ERRORS errors.
    """
    errors: list[LocatedError] = []

    def report(place: Place, message: str) -> None:
        errors.append(LocatedError(source=source, line=place.line, column=place.column, message=message))
        if len(errors) == MAX_ERRORS:
            raise DocumentError(errors)

    reader = ResourceReader(source=source, environ=environ or {}, report=report)
    for root in read_text(text, report):
        reader.take(root)
    if errors:
        raise DocumentError(errors)
    return Document(source=source, resources=tuple(reader.resources))


def dump(
    messages: Iterable[ConfigMessage],
    format: Literal["yaml", "json"] = "yaml",  # noqa: A002 - the word that people know
) -> str:
    """Writes resources as one document that `parse` reads back: kinds in reading order, within a kind as given.

    Enum values have their short names, durations are in `s` or `ms`. Raises ValueError for a timestamp out of range,
    and for a number that is none.
    """
    of_kind: dict[str, list[Plain]] = {plural: [] for plural in _DUMP_ORDER}
    for message in messages:
        of_kind[kind_of(message).plural].append(encode(message))
    document = {plural: resources for plural, resources in of_kind.items() if resources}
    match format:
        case "json":
            return json.dumps(document, indent=2) + "\n"
        case "yaml":
            return _dump_yaml(document)
        case _:
            assert_never(format)


def _dump_yaml(document: Mapping[str, list[Plain]]) -> str:
    text = yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=_NEVER_FOLD)
    assert isinstance(text, str)
    return text
