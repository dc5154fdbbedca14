"""The keys that seal values of secrets: in a file, or in the environment."""

from collections.abc import Sequence
from pathlib import Path

from janua_resources.sealing import MAKE_A_KEY, SealingKeyError, read_keys


def encryption_keys(file: Path | None, variable: str) -> Sequence[bytes]:
    """Those of the file, or of the content of JANUA_ENCRYPTION_KEY if no file is given. Raises SealingKeyError."""
    if file is None:
        return read_keys(variable, "JANUA_ENCRYPTION_KEY")
    try:
        text = file.read_text("ascii")
    except OSError as error:
        raise SealingKeyError(f"--encryption-key-file {file}: {(error.strerror or 'unreadable').lower()}") from None
    except UnicodeDecodeError:
        raise SealingKeyError(f"--encryption-key-file {file} is no text: {MAKE_A_KEY}") from None
    keys = read_keys(text, str(file))
    if not keys:
        raise SealingKeyError(f"--encryption-key-file {file} is empty: {MAKE_A_KEY}")
    return keys
