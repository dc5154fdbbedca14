"""Putting the weights together, with a toy package in place of 253 MB."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from janua_client.demo.gemma_weights import ModelNotInstalledError, assembled_weights, cache_dir, require_installed
from janua_client.processes import Child

CONTENT = b"weights" * 100_000


class ToyPackage(ModuleType):
    """Has what the real package has; counts how often the file is made."""

    MODEL_NAME = "toy.gguf"

    def __init__(self, content: bytes = CONTENT) -> None:
        super().__init__("toy")
        self.content = content
        self.made: list[Path] = []

    def assemble(self, output: Path) -> Path:
        """Writes the file, or fails half-way when there is nothing to write."""
        self.made.append(output)
        output.write_bytes(self.content or b"half")
        if not self.content:
            raise ValueError("Assembled file sha256 did not match expected value")
        return output


def test_file_is_made_once(tmp_path: Path) -> None:
    package = ToyPackage()
    first = assembled_weights(package, tmp_path / "new" / "cache")
    assert first.read_bytes() == CONTENT
    assert assembled_weights(package, tmp_path / "new" / "cache") == first
    assert len(package.made) == 1


def test_many_at_once_make_it_once_and_all_see_it_whole(tmp_path: Path) -> None:
    package = ToyPackage()
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: assembled_weights(package, tmp_path).read_bytes(), range(8)))
    assert read == [CONTENT] * 8
    assert len(package.made) == 1


def test_failure_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sha256"):
        assembled_weights(ToyPackage(b""), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.gguf.lock"]
    assert assembled_weights(ToyPackage(), tmp_path).read_bytes() == CONTENT


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_dir() == Path("/var/cache/janua")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "janua"


def test_absent_packages_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelNotInstalledError, match=r"pip install 'janua\[demo\]', or use --model echo"):
        require_installed()


async def test_server_without_the_packages_ends_with_that_line(tmp_path: Path) -> None:
    run = "import sys; sys.modules['xllamacpp'] = None; from janua_client.demo.llama_server import main; main()"
    child = await Child.start("llama", [sys.executable, "-c", run], env={"XDG_CACHE_HOME": str(tmp_path)})
    assert await asyncio.wait_for(child.wait(), 30) == 1
    (line,) = child.log_tail()
    assert line.endswith("pip install 'janua[demo]', or use --model echo")
    await child.stop()
