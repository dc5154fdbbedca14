"""`janua access`, as a process."""

import asyncio
import sys
from pathlib import Path

import pytest

from config_server.access.access_list import AccessList
from tests.clients.janua_client.cli_runner import Finished, run_janua


async def access(*arguments: str) -> Finished:
    return await run_janua("access", *arguments)


async def test_a_token_is_shown_once_and_only_its_digest_kept(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    made = await access("add", "ci", "--role", "editor", "--file", str(file))
    assert made.code == 0
    token = made.out.strip()
    assert len(token) > 40
    assert token not in made.err
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    found = AccessList.read(file).find(token, [])
    assert found is not None
    assert found.name == "ci"


async def test_what_stands_in_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("# by hand\n- {name: root, role: admin, certificates: [root.example]}")
    file.chmod(0o640)
    added = await access(
        "add", "edge", "--role", "node", "--certificate", "e", "--node-id", "edge-*", "--file", str(file)
    )
    assert (added.code, added.out) == (0, "")
    assert file.read_text().startswith("# by hand\n- {name: root")
    assert file.stat().st_mode & 0o777 == 0o640
    listed = await access("list", "--file", str(file))
    assert [line.split() for line in listed.out.splitlines()] == [
        ["NAME", "ROLE", "TOKENS", "CERTIFICATES", "NODE", "IDS"],
        ["root", "admin", "0", "root.example", "-"],
        ["edge", "node", "0", "e", "edge-*"],
    ]


@pytest.mark.parametrize(
    ("content", "arguments", "code", "says"),
    [
        ("- {name: a, role: admin, certificates: [x]}", ("add", "a", "--role", "viewer"), 1, "a stands there twice"),
        ("- {name: half", ("add", "b", "--role", "viewer"), 1, "no YAML"),
        ("", ("add", "b", "--role", "king"), 2, "king"),
        ("", ("add", "b", "--role", "viewer", "--node-id", "x"), 1, "is no node"),
        ("", ("list",), 1, "names nobody"),
    ],
)
async def test_nothing_is_written_that_cannot_be_used(
    tmp_path: Path, content: str, arguments: tuple[str, ...], code: int, says: str
) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(content)
    refused = await access(*arguments, "--file", str(file))
    assert (refused.code, refused.out) == (code, "")
    (line,) = refused.errors
    assert says in line
    assert file.read_text() == content


async def test_help_loads_no_grpc() -> None:
    code = "import sys, config_server.access_command; sys.exit('grpc' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
