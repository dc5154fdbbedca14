"""The program's log, in a process of its own: lines of text or JSON on standard error, without values of variables."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
import structlog
from gateway.telemetry.logging import configure_logging

configure_logging(sys.argv[1], sys.argv[2])

def handle(key):
    raise RuntimeError("it broke")

log = structlog.get_logger("janua.test")
log.debug("a detail")
log.info("a fact", number=5)
try:
    handle("sk-very-" + "secret")
except RuntimeError:
    log.exception("request failed", request_id="r-1")
logging.getLogger("library").info("chatter")
logging.getLogger("library").warning("a warning of %s", "a library")
"""


def logged(level: str, log_format: str) -> str:
    run = subprocess.run([sys.executable, "-c", PROGRAM, level, log_format], capture_output=True, text=True, check=True)
    assert run.stdout == ""
    return run.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tracebacks_show_no_values_of_variables(log_format: str) -> None:
    text = logged("info", log_format)
    assert "RuntimeError: it broke" in text
    assert "sk-very-secret" not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(("level", "shown"), [("debug", True), ("info", False), ("error", False)])
def test_level_is_that_of_janua(log_format: str, level: str, shown: bool) -> None:
    text = logged(level, log_format)
    assert ("a detail" in text) is shown
    assert ("a fact" in text) is (level != "error")
    assert "request failed" in text
    assert "chatter" not in text


def test_json_lines_have_what_was_logged() -> None:
    lines = [json.loads(line) for line in logged("info", "json").splitlines()]
    assert [line["event"] for line in lines] == ["a fact", "request failed", "a warning of a library"]
    assert [line["level"] for line in lines] == ["info", "error", "warning"]
    assert [line["logger"] for line in lines] == ["janua.test", "janua.test", "library"]
    assert lines[0]["number"] == 5
    assert lines[1]["request_id"] == "r-1"
    assert lines[1]["exception"].startswith("Traceback")
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_text_is_plain_where_nobody_looks() -> None:
    text = logged("info", "text")
    assert "\x1b[" not in text
    assert "a fact" in text
    assert "number=5" in text
