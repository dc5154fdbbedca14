"""`janua access`, as a process."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from config_server.access.access_list import AccessList
from config_server.access_command import main
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


async def test_a_link_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "etc" / "access.yaml", tmp_path / "access.yaml"
    file.parent.mkdir()
    link.symlink_to(file)
    assert (await access("add", "a", "--role", "viewer", "--file", str(link))).code == 0
    assert (await access("add", "b", "--role", "viewer", "--file", str(link))).code == 0
    assert link.is_symlink()
    assert [each.name for each in AccessList.read(file).principals] == ["a", "b"]
    assert [each.name for each in file.parent.iterdir()] == ["access.yaml"]


async def test_what_several_add_at_once_is_all_there(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    names = [f"node-{number}" for number in range(8)]
    done = await asyncio.gather(*(access("add", name, "--role", "node", "--file", str(file)) for name in names))
    assert [each.code for each in done] == [0] * len(names)
    assert sorted(each.name for each in AccessList.read(file).principals) == names


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_file_stays_its_owners(tmp_path: Path) -> None:
    """Root adds somebody, and the server that runs as another user can still read it."""
    file = tmp_path / "access.yaml"
    file.write_text("- {name: root, role: admin, certificates: [x]}\n")
    file.chmod(0o640)
    os.chown(file, 65534, 65533)
    assert main(["add", "b", "--role", "viewer", "--file", str(file)]) == 0
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65533, 0o640)


def test_a_file_of_another_user_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(descriptor: int, user: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    file = tmp_path / "access.yaml"
    assert main(["add", "a", "--role", "viewer", "--file", str(file)]) == 0
    before = file.read_text()
    capsys.readouterr()
    monkeypatch.setattr("os.fchown", refuse)
    assert main(["add", "b", "--role", "viewer", "--file", str(file)]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        f"janua access: {file} belongs to another user: add to it as that user, or as root\n",
    )
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    refused = await access("add", "a", "--role", "viewer", "--file", str(tmp_path / "none" / "access.yaml"))
    assert (refused.code, refused.out) == (1, "")
    assert refused.errors == [f"janua access: {tmp_path / 'none'}: no such file or directory"]


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
