"""The files behind `-f`: what is found below a directory, what cannot be read, and what has changed."""

import io
import os
from pathlib import Path

import pytest
from janua_client.cli.failures import CommandError
from janua_client.cli.file_changes import FileChanges
from janua_client.cli.sources import find_files, read_sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.yaml", "a.yml", "c.json", "notes.txt", "sub/d.yaml", ".git/e.yaml", "sub/.f.yaml", "g.yaml/h.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_of_a_directory_all_configuration_files_below_it(tree: Path) -> None:
    found = [str(path.relative_to(tree)) for path in find_files([str(tree)])]
    assert found == ["a.yml", "b.yaml", "c.json", "g.yaml/h.yaml", "sub/d.yaml"]


def test_a_directory_may_itself_be_hidden(tree: Path) -> None:
    assert [path.name for path in find_files([str(tree / ".git")])] == ["e.yaml"]


def test_a_file_counts_whatever_its_name_and_once(tree: Path) -> None:
    notes = str(tree / "notes.txt")
    assert find_files([notes, notes]) == (tree / "notes.txt",)
    assert [source.text for source in read_sources([notes])] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nowhere.yaml", "no such file or directory"), ("empty", "no .yaml, .yml or .json file in this directory")],
)
def test_what_is_not_there(tree: Path, name: str, expected: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(CommandError, match=expected) as caught:
        read_sources([str(tree / name)])
    assert str(caught.value).startswith(f"{tree / name}: ")


def test_every_file_that_cannot_be_read_is_named(tree: Path) -> None:
    (tree / "a.yml").write_bytes(b"ok\xff")
    (tree / "b.yaml").write_bytes(b"\xfe")
    with pytest.raises(CommandError) as caught:
        read_sources([str(tree)])
    assert caught.value.details == (f"{tree / 'a.yml'}: not UTF-8 text (byte 2)",)
    assert str(caught.value) == f"{tree / 'b.yaml'}: not UTF-8 text (byte 0)"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("routes: é".encode())))
    (source,) = read_sources(["-", "-"])
    assert (source.name, source.text) == ("<stdin>", "routes: é")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    with pytest.raises(CommandError, match="<stdin>: not UTF-8 text"):
        read_sources(["-"])


def test_changes_are_seen_once(tree: Path) -> None:
    changes = FileChanges([str(tree)])
    assert not changes.seen()
    (tree / "b.yaml").write_text("longer than before")
    assert changes.seen()
    assert not changes.seen()
    os.utime(tree / "b.yaml", ns=(1, 1))
    assert changes.seen()
    (tree / "sub" / "new.yaml").write_text("")
    assert changes.seen()
    (tree / "notes.txt").write_text("not configuration")
    assert not changes.seen()


def test_a_file_that_goes_and_comes_back_is_a_change_each_time(tree: Path) -> None:
    path = tree / "b.yaml"
    changes = FileChanges([str(path)])
    path.unlink()
    assert changes.seen()
    assert not changes.seen()
    path.write_text("back")
    assert changes.seen()
