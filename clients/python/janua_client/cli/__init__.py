"""The `janua` command line: a thin layer over the client library."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from janua_client.cli.app import build_app
from janua_client.cli.failures import CommandError, ExitCode, one_line
from janua_client.cli.printable import shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Errors are on stderr, one line each."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its library tells of connections on stderr otherwise
    _escape_what_cannot_be_encoded()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        returned = build_app(words)(args=words or ["--help"], prog_name="janua", standalone_mode=False)
    except CommandError as error:
        return _fail(words, str(error), error.code, error.details)
    except typer.TyperException as error:  # wrong usage, found by the parser
        command = getattr(getattr(error, "ctx", None), "command_path", "janua")
        wrong = one_line(error.format_message()) or "a command is missing"  # then its help has been printed
        return _fail(words, f"{wrong.removesuffix('.')}. See `{command} --help`.", ExitCode.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.FAILED
    return returned if isinstance(returned, int) else ExitCode.DONE


def _fail(words: Sequence[str], message: str, code: ExitCode, details: Sequence[str] = ()) -> ExitCode:
    command = next((word for word in words[:1] if not word.startswith("-")), "")
    lines = (*details, f"janua {command}".rstrip() + f": {message}")
    print(*map(shown, lines), sep="\n", file=sys.stderr)
    return code


def _escape_what_cannot_be_encoded() -> None:
    """Names and models may have any characters; a terminal of another encoding must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """Keeps the interpreter from failing once more when it flushes a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
