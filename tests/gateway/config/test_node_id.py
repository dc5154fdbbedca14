"""The id that a node makes for itself."""

import re
from pathlib import Path

import pytest
import structlog

from gateway.config.node_id import load_or_make_node_id


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    made = load_or_make_node_id(tmp_path / "state")
    assert re.fullmatch(r"node-[0-9a-f]{12}", made)
    assert load_or_make_node_id(tmp_path / "state") == made


def test_two_nodes_have_two(tmp_path: Path) -> None:
    assert load_or_make_node_id(tmp_path / "a") != load_or_make_node_id(tmp_path / "b")


def test_one_that_a_person_wrote_is_kept(tmp_path: Path) -> None:
    (tmp_path / "node-id").write_text("edge-7.example\n")
    assert load_or_make_node_id(tmp_path) == "edge-7.example"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"a b", b"x" * 254, b"-a"], ids=repr)
def test_what_is_no_id_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node-id").write_bytes(content)
    with structlog.testing.capture_logs() as log:
        assert load_or_make_node_id(tmp_path, make=lambda: "new") == "new"
    assert load_or_make_node_id(tmp_path) == "new"
    assert (tmp_path / "node-id.corrupt-1").read_bytes() == content
    (entry,) = log
    assert entry["log_level"] == "warning"
    assert entry["moved_to"] == str(tmp_path / "node-id.corrupt-1")


def test_a_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(OSError):
        load_or_make_node_id(tmp_path / "state")
