"""`janua validate`: files as the whole configuration, without a server."""

import json
from pathlib import Path

import pytest
from janua_client.cli import main

GOOD = """\
upstreams:
- name: pool
  endpoints: [{address: "127.0.0.1:9001"}]
  health_checks: [{http: {path: /health}}]
services:
- {name: llm, upstream_service: {upstream: pool}}
policies:
- {name: keys, api_key_auth: {}}
routes:
- {name: chat, backends: [{service: llm}], policies: [keys]}
"""
OPEN = GOOD.replace(", policies: [keys]", "").replace("policies:\n- {name: keys, api_key_auth: {}}\n", "")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "janua.yaml"


def test_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD)
    assert main(["validate", "-f", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == "valid: 4 resources\n"
    assert err == ""


def test_valid_with_warnings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(OPEN)
    assert main(["validate", "-f", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == "valid: 3 resources\n"
    assert err.startswith(f"warning: {file}:8:")
    assert "open to all" in err
    assert main(["validate", "-f", str(file), "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["valid"], data["resources"], data["violations"]) == (True, 3, [])
    (warning,) = data["warnings"]
    assert (warning["kind"], warning["name"], warning["reason"], warning["line"]) == ("route", "chat", "OPEN_ROUTE", 8)


def test_every_violation_with_its_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("127.0.0.1:9001", "no-port").replace("/health", "health"))
    assert main(["validate", "-f", str(file)]) == 1
    out, err = capsys.readouterr()
    *lines, last = err.splitlines()
    assert out == ""
    assert [line.split(": ")[0] for line in lines] == [f"{file}:3:16", f"{file}:4:27"]
    assert last == "janua validate: 2 problems: correct the files and validate again"


def test_files_are_the_whole_configuration(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("routes:\n- name: chat\n  backends: [{service: llm}]\n")
    assert main(["validate", "-f", str(file), "-o", "json"]) == 1
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert (data["valid"], data["warnings"]) == (False, [])
    assert data["violations"] == [
        {
            "file": str(file),
            "line": 3,
            "column": 15,
            "kind": "route",
            "name": "chat",
            "field": "backends[0].service",
            "reason": "UNRESOLVED_REFERENCE",
            "message": "service 'llm' does not exist",
        }
    ]
    assert err == "janua validate: 1 problem: correct the files and validate again\n"


def test_a_text_that_is_not_understood_has_a_place_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("routes:\n- nam: chat\n")
    assert main(["validate", "-f", str(file), "-o", "yaml"]) == 1
    out, _ = capsys.readouterr()
    assert "line: 2\n" in out
    assert "did you mean" in out
    assert "reason" not in out


def test_variables_are_those_of_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(GOOD.replace("127.0.0.1:9001", "${POOL_ADDRESS}"))
    assert main(["validate", "-f", str(file)]) == 1
    monkeypatch.setenv("POOL_ADDRESS", "127.0.0.1:9001")
    assert main(["validate", "-f", str(file)]) == 0
    assert "POOL_ADDRESS" in capsys.readouterr().err


def test_nothing_to_validate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 2
    assert main(["validate", "-f", "/nowhere"]) == 1
    missing, nowhere = capsys.readouterr().err.splitlines()
    assert missing.startswith("janua validate: Missing option '--file' / '-f'")
    assert nowhere == "janua validate: /nowhere: no such file or directory"
