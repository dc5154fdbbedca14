"""Keys that seal values: from a file, or from the environment."""

from pathlib import Path

import pytest
from janua_resources.sealing import SealingKeyError, make_key, read_keys

from config_server.encryption_keys import encryption_keys


def test_the_file_counts_before_the_variable(tmp_path: Path) -> None:
    file, one, two = tmp_path / "keys", make_key(), make_key()
    file.write_text(f"{one}\n")
    assert encryption_keys(file, two) == read_keys(one, "")
    assert encryption_keys(None, two) == read_keys(two, "")
    assert encryption_keys(None, "") == []


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "no such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "no text")]
)
def test_a_file_without_a_key(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SealingKeyError, match=complaint):
        encryption_keys(file, make_key())
