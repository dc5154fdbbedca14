"""Reading secrets: from where, what is usable, and that no error shows them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from janua.config.v1.secret_pb2 import Secret

from gateway.compile.secret import SecretReader, SecretUnreadableError
from gateway.config.secret import SecretValue
from gateway.config.snapshot import SecretConfig


def read_env(value: str | None) -> str:
    environ = {} if value is None else {"KEY": value}
    return SecretReader(environ=environ).compile(Secret(name="s", env="KEY")).value.reveal()


def read_file(path: Path) -> str:
    return SecretReader().compile(Secret(name="s", file=str(path))).value.reveal()


GOOD = [
    ("sk-1", "sk-1"),
    ("sk-1\n", "sk-1"),
    ("  sk-1\r\n\t", "sk-1"),
    ("two words", "two words"),
    ("~!@#$%^&*()", "~!@#$%^&*()"),
]
EMPTY = ["", " ", "\n", "\r\n \t"]
UNUSABLE = ["sk\n-1", "sk\r\nx-injected: 1", "sk\x00", "sk\x7f", "sk-é", "sk-🙂", "a\tb"]


@pytest.mark.parametrize(("written", "value"), GOOD)
def test_value(written: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(written.encode())
    assert read_env(written) == read_file(path) == value


@pytest.mark.parametrize("written", EMPTY)
def test_empty_value_is_none(written: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(written.encode())
    with pytest.raises(SecretUnreadableError, match=r"^environment variable KEY is empty$"):
        read_env(written)
    with pytest.raises(SecretUnreadableError, match=rf"^file {path} is empty$"):
        read_file(path)


@pytest.mark.parametrize("written", UNUSABLE)
def test_value_that_cannot_stand_in_a_header(written: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(written.encode())
    with pytest.raises(SecretUnreadableError, match="cannot stand in a header") as caught:
        read_env(written)
    assert "sk" not in str(caught.value)
    with pytest.raises(SecretUnreadableError, match="cannot stand in a header") as caught:
        read_file(path)
    assert "sk" not in str(caught.value).removeprefix(f"file {path}")


@pytest.mark.parametrize("value", ['{\n  "a": "b\\n"\n}', '{"ä": 1}', '{"broken', "-----BEGIN CERTIFICATE-----\nab\n"])
def test_json_and_certificates_may_have_lines_and_short_texts_may_look_like_json(value: str) -> None:
    assert read_env(value) == value.strip()


@pytest.mark.parametrize("value", ['{"broken\n"', '["a"\n]', '{"a":\n1} {}', '{"a":\n' * 100_000 + "1"])
def test_lines_that_are_no_json_object_are_unusable(value: str) -> None:
    with pytest.raises(SecretUnreadableError, match="cannot stand in a header"):
        read_env(value)


def test_variable_that_is_not_set() -> None:
    with pytest.raises(SecretUnreadableError, match=r"^environment variable KEY is not set on this node$") as caught:
        read_env(None)
    assert caught.value.field == "env"


def directory(path: Path) -> None:
    path.mkdir()


def not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00sk")


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "complaint"),
    [(nothing, "no such file or directory"), (directory, "is a directory"), (not_text, "is not text")],
)
def test_file_that_cannot_be_read(make: Callable[[Path], None], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    make(path)
    with pytest.raises(SecretUnreadableError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"file {path}")
    assert str(caught.value).endswith(complaint)
    assert caught.value.field == "file"


def test_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY_OF_THE_PROCESS", "sk-env")
    assert SecretReader().compile(Secret(name="s", env="TEST_KEY_OF_THE_PROCESS")).value.reveal() == "sk-env"
    assert "TEST_KEY_OF_THE_PROCESS" in os.environ


def test_value_does_not_show_itself() -> None:
    config = SecretConfig(name="s", value=SecretValue("sk-1"))
    assert "sk-1" not in f"{config!r}{config}{config.value!r}{config.value}{[config.value]}"
    assert config.value == SecretValue("sk-1") != SecretValue("sk-2")
    assert len({SecretValue("sk-1"), SecretValue("sk-1")}) == 1
