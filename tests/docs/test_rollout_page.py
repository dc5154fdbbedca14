"""The page on rolling out is true: its commands do what it says, in its order, on a real server with two nodes."""

import re
import shlex
from pathlib import Path

import pytest
from janua.config.v1.config_service_pb2_grpc import ConfigServiceServicer

from tests.clients.janua_client.cli_runner import janua
from tests.support.processes import ConfigServer, NodeFactory

PAGE = (Path(__file__).parents[2] / "docs" / "rollout.md").read_text()
_FILE = re.compile(r"^`([\w-]+\.yaml)`:\n\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXITS = re.compile(r"  # exits with (\d)$")


async def test_the_commands_do_what_the_page_says(
    config_server: ConfigServer, node: NodeFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node(config_server, "--node-cluster", "edge")
    await node(config_server, "--node-cluster", "core")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUA_SERVER", config_server.address)
    for name, text in _FILE.findall(PAGE):
        (tmp_path / name).write_text(text)
    lines = [line for block in _COMMANDS.findall(PAGE) for line in block.splitlines()]
    assert len(lines) > 15
    outputs = {}
    for line in lines:
        exits = _EXITS.search(line)
        program, *arguments = shlex.split(line, comments=True)
        assert program == "janua"
        done = await janua(*arguments)
        assert done.code == (int(exits[1]) if exits else 0), f"{line}: {done.err}"
        outputs[line.partition("  #")[0]] = done.out + done.err
    told = {line: text for line, text in outputs.items() if line.startswith("janua apply -f broken.yaml")}
    assert "was undone by revision 3" in next(iter(told.values()))
    assert "SECRET_UNREADABLE" in next(iter(told.values()))
    assert "revision 4: 1 updated" in outputs['janua apply -f new.yaml --wait all -m "a second endpoint" --author ci']
    assert "updated   upstream/pool" in outputs["janua diff --revision 1..4"]
    assert "revision 5: 1 updated" in outputs['janua rollback 1 --yes --wait all -m "the second endpoint is slow"']
    assert "revision 6: 1 updated" in outputs["janua rollback --undo 5 --yes"]
    assert "2 of 2 nodes have it" in outputs["janua canary promote --wait all"]


def test_calls_that_are_named_exist() -> None:
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", PAGE)) - {"ConfigService"}
    assert {"GetCanary", "WatchRollout", "DiffRevisions"} <= named
    assert all(hasattr(ConfigServiceServicer, name) for name in named)
