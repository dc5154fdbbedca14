"""What the README shows is true: its configuration is valid, its commands and paths exist."""

import re
import shlex
from pathlib import Path

import pytest
from janua_client.cli import main
from janua_client.cli.app import COMMANDS
from janua_resources import documents, field_rules, rules, world
from janua_resources.kinds import kind_of

from tests.docs.fenced import blocks

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")


def test_the_configuration_is_valid() -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    messages = [located.message for located in documents.parse(text, source="README.md").resources]
    problems = [
        problem for message in messages for problem in (*field_rules.check_fields(message), *rules.check(message))
    ]
    assert problems == []
    assert world.check_world({(kind_of(message).kind, message.name): message for message in messages}) == []
    assert {kind_of(message).plural for message in messages} == {
        *("upstreams", "services", "routes", "policies", "consumers", "secrets")
    }


def _commands() -> list[list[str]]:
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.replace("\\\n", "").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("janua ")]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_commands_and_their_options_exist(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert words[1] in {command.name for command in COMMANDS}
    if words[1] in ("gateway", "config-server"):  # these hand everything on to another process
        return
    assert main([words[1], "--help"]) == 0
    known = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", capsys.readouterr().out))
    assert {word for word in words[2:] if word.startswith("-")} <= known


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:proto|gateway|config_server|clients|tests|docs|examples)/[\w./-]+)`", text)
    missing = [name for name in linked + named if "NAME" not in name and not (ROOT / name).exists()]
    assert missing == []
