"""How a command fails: its exit code and the words on stderr."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_SYNCED = 3
    """A wait was not met: nodes are missing, or one refuses the configuration."""
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot do what was asked. The message is one line: what is wrong, and what to do next.

    `details` are further lines that come before it, one for each thing that is wrong.
    """

    def __init__(self, message: str, *, code: ExitCode = ExitCode.FAILED, details: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.details = tuple(details)


def usage_error(message: str) -> CommandError:
    """The command was called in a wrong way."""
    return CommandError(message, code=ExitCode.USAGE)


def one_line(text: str) -> str:
    """Text of other programs without its line breaks."""
    return " ".join(text.split())
