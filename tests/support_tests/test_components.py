"""What happens to tests whose component is absent, and to a wrong list of required components."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.components import COMPONENTS, Component, components_line, find_program, require, required

ABSENT = {
    "envoy": Component(
        modules=("no_such_module",),
        programs=("no-such-program",),
        folders=(Path("/no/such/folder"),),
        install="pip install it",
    )
}
PRESENT = {
    "envoy": Component(modules=("json",), programs=("python3",), folders=(Path(__file__).parent,), install="nothing")
}
MESSAGE = (
    "component envoy is absent: no Python module no_such_module, program no-such-program, folder /no/such/folder; "
    "pip install it"
)


def test_absent_component_skips_and_says_what_to_install() -> None:
    with pytest.raises(pytest.skip.Exception, match=MESSAGE):
        require("envoy", environ={}, components=ABSENT)


def test_absent_component_fails_where_it_is_required() -> None:
    with pytest.raises(pytest.fail.Exception, match=MESSAGE):
        require("envoy", environ={"JANUA_REQUIRE": "buf, envoy"}, components=ABSENT)


def test_present_component_lets_the_test_run() -> None:
    require("envoy", environ={"JANUA_REQUIRE": "envoy"}, components=PRESENT)


def test_unknown_component_in_a_test_is_an_error() -> None:
    with pytest.raises(KeyError):
        require("envoi", environ={})


@pytest.mark.parametrize("names", ["", " ", ",", " buf ,envoy,"])
def test_list_of_required_components(names: str) -> None:
    assert required(names) <= {"buf", "envoy"}


def test_report_line_shows_what_is_missing() -> None:
    assert components_line([*ABSENT.items(), ("python", PRESENT["envoy"])]) == "components: envoy NO, python yes"


def test_programs_beside_this_python_are_found_without_activation(tmp_path: Path) -> None:
    assert find_program("python") == str(Path(sys.executable).with_name("python"))
    assert find_program("no-such-program") is None


def test_misspelt_requirement_stops_the_run() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", __file__],
        env={**os.environ, "JANUA_REQUIRE": "buf,envoi"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unknown components envoi" in run.stderr
    assert all(name in run.stderr for name in COMPONENTS)
