"""Which variables and files a node lets its secrets name."""

from pathlib import Path

import pytest
from janua.config.v1.secret_pb2 import Secret

from gateway.compile.secret import SecretReader, SecretUnreadableError
from gateway.compile.secret_places import SecretPlaces

ENVIRON = {"OPENAI_KEY": "sk-1", "DATABASE_URL": "postgres://", "JANUA_STATE_KEY": "k", "JANUA_PROVIDER_A": "sk-2"}


def read(secret: Secret, **places: object) -> str:
    return SecretReader(environ=ENVIRON, places=SecretPlaces(**places)).compile(secret).value.reveal()  # type: ignore[arg-type]


def refusal(secret: Secret, **places: object) -> str:
    with pytest.raises(SecretUnreadableError) as caught:
        read(secret, **places)
    assert caught.value.field == secret.WhichOneof("source")
    return str(caught.value)


def test_without_a_prefix_all_variables_but_januas_own() -> None:
    assert read(Secret(name="s", env="OPENAI_KEY")) == "sk-1"
    assert read(Secret(name="s", env="DATABASE_URL")) == "postgres://"
    for name in ("JANUA_STATE_KEY", "JANUA_NOT_SET"):
        assert refusal(Secret(name="s", env=name)).startswith(
            f"environment variable {name} may not be read on this node"
        )


def test_with_prefixes_only_those() -> None:
    prefixes = ("OPENAI_", "JANUA_PROVIDER_")
    assert read(Secret(name="s", env="OPENAI_KEY"), env_prefixes=prefixes) == "sk-1"
    assert read(Secret(name="s", env="JANUA_PROVIDER_A"), env_prefixes=prefixes) == "sk-2"
    text = refusal(Secret(name="s", env="DATABASE_URL"), env_prefixes=prefixes)
    assert text.endswith("it begins with no --secrets-env-prefix (OPENAI_, JANUA_PROVIDER_)")
    assert refusal(Secret(name="s", env="JANUA_STATE_KEY"), env_prefixes=prefixes)


def test_files_within_directories(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in-not"
    for directory in (inside, outside):
        (directory / "deep").mkdir(parents=True)
        (directory / "deep" / "key").write_text("sk")
    (inside / "link").symlink_to(outside / "deep" / "key")
    (outside / "link").symlink_to(inside / "deep" / "key")

    def file(path: Path | str) -> Secret:
        return Secret(name="s", file=str(path))

    places = {"directories": (inside,)}
    assert read(file(outside / "deep" / "key")) == "sk"
    assert read(file(inside / "deep" / "key"), **places) == "sk"
    assert read(file(outside / "link"), **places) == "sk", "where it really is counts"
    for path in (outside / "deep" / "key", inside / "link", f"{inside}/../in-not/deep/key", outside / "absent"):
        assert refusal(file(path), **places).endswith(f"it is in no --secrets-dir ({inside})")
    assert refusal(file(inside / "absent"), **places).endswith("no such file or directory")


def test_a_directory_that_is_a_link(tmp_path: Path) -> None:
    """As mounted secrets are, whose content is replaced as a whole."""
    (tmp_path / "data-1").mkdir()
    (tmp_path / "data-1" / "key").write_text("sk")
    (tmp_path / "data").symlink_to("data-1")
    assert read(Secret(name="s", file=str(tmp_path / "data" / "key")), directories=(tmp_path / "data",)) == "sk"


def test_values_are_of_no_place() -> None:
    assert read(Secret(name="s", value="sk-3"), env_prefixes=("A",), directories=(Path("/nowhere"),)) == "sk-3"
