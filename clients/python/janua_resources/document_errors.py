"""Errors in configuration text, each with its place."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedError:
    """One thing that is wrong in a text. Lines and columns count from 1, columns in characters."""

    source: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}: {self.message}"


class DocumentError(ValueError):
    """A text that cannot be read, with all that is wrong in it, by place. As text it has one line per error."""

    def __init__(self, errors: Iterable[LocatedError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: (error.line, error.column)))
        super().__init__("\n".join(str(error) for error in self.errors))
