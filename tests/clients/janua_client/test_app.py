"""The command line as a whole: help, versions, variables, wrong usage, and programs that are passed through to."""

import inspect
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from janua_client.cli import main
from janua_client.cli.app import COMMANDS, Command, build_app

from tests.clients.janua_client.cli_runner import JANUA, run_janua

OWN = [command for command in COMMANDS if not command.passes_through]
WRONG_SERVER = "janua nodes: Invalid value for '--server' (env var: 'JANUA_SERVER'):"
ids = [command.name for command in OWN]


def loaded(name: str) -> Any:
    """The parser's command, with its parameters."""
    group: Any = typer.main.get_command(build_app([name]))
    return group.commands[name]


def test_help_names_every_command_and_loads_none() -> None:
    heavy = ("grpc", "google.protobuf", "yaml", "aiohttp", "janua_resources")
    program = (
        "import sys; from janua_client.cli import main; code = main(['--help']);"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for command in COMMANDS:
        assert f" {command.name} " in done.stdout


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: janua" in capsys.readouterr().out


def test_a_group_without_a_command_says_so_under_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "janua rollout: a command is missing. See `janua rollout --help`.\n"
    assert "status" in captured.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"janua {version('janua')}\n"


@pytest.mark.parametrize("command", OWN, ids=ids)
def test_help_of_a_command_has_examples(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command.name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: janua {command.name}" in out
    assert "Examples:" in out
    assert f"janua {command.name}" in out.partition("Examples:")[2]


@pytest.mark.parametrize("command", OWN, ids=ids)
def test_every_option_is_a_variable_too(command: Command) -> None:
    for parameter in loaded(command.name).params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            assert str(parameter.envvar).startswith("JANUA_"), parameter.name
            assert parameter.help, parameter.name


def test_a_variable_means_the_same_for_every_command() -> None:
    meanings: dict[str, set[str]] = {}
    for command in OWN:
        for parameter in loaded(command.name).params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                meanings.setdefault(parameter.envvar, set()).add(parameter.opts[0])
    assert {variable: options for variable, options in meanings.items() if len(options) > 1} == {}


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_a_command_is_loaded_when_it_is_called(command: Command) -> None:
    function = command.load()
    assert function.__name__ == command.name.replace("-", "_")
    assert inspect.getdoc(function)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["frob"], "janua frob: No such command 'frob'."),
        (["nodes", "--frob"], "janua nodes: No such option: --frob"),
        (["nodes", "extra"], "janua nodes: Got unexpected extra argument"),
        (["--frob"], "janua: No such option: --frob"),
        (["nodes", "-o", "xml"], "janua nodes: Invalid value for '--output' / '-o'"),
        (["nodes", "--server", "localhost"], f"{WRONG_SERVER} 'localhost' is not HOST:PORT."),
        (["nodes", "--server", ":80"], f"{WRONG_SERVER} ':80' is not HOST:PORT."),
        (["nodes", "--server", "h:0"], f"{WRONG_SERVER} 'h:0' is not HOST:PORT."),
        (["nodes", "--server", "h:99999"], f"{WRONG_SERVER} 'h:99999' is not HOST:PORT."),
        (["get"], "janua get: Missing argument 'KIND'."),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(expected), err
    assert err.count("\n") == 1
    assert "--help" in err


async def test_variables_are_read() -> None:
    done = await run_janua("nodes", env={"JANUA_SERVER": "127.0.0.1:1", "JANUA_OUTPUT": "json"})
    assert "127.0.0.1:1" in done.err
    wrong = await run_janua("nodes", env={"JANUA_OUTPUT": "xml"})
    assert wrong.code == 2


async def test_no_colours_where_nobody_looks() -> None:
    done = await run_janua("--help", env={"TERM": "xterm-256color"})
    assert done.code == 0
    assert "\x1b" not in done.out


def test_a_reader_that_goes_away_is_no_crash() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([JANUA, "--help"], stdout=write, stderr=subprocess.PIPE, env={}, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(("command", "module"), [("config-server", "config_server"), ("gateway", "gateway")])
def test_planes_get_all_arguments(command: str, module: str) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={})
        return done.returncode, done.stdout, done.stderr

    code, out, err = run(JANUA, command, "--help")
    assert (code, out, err) == run(sys.executable, "-P", "-m", module, "--help")
    assert code == 0
    code, _, err = run(JANUA, command, "--frob", "-x", "1")
    assert code == 2
    assert "--frob" in err


async def test_what_an_encoding_does_not_have_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "janua.yaml"
    file.write_text("upstreams:\n- {name: pool, endpoints: [{address: 'é'}]}\n", encoding="utf-8")
    done = await run_janua("validate", "-f", str(file), env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 1
    assert "\\xe9" in done.err
    assert "Traceback" not in done.err
