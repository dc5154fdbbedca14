"""Which variables and files of a node its secrets may name: the configuration comes from elsewhere."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Janua's own settings are no secrets for backends, and some of them are keys.
_OWN: Final = "JANUA_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlaces:
    """`env_prefixes`: how names of variables may begin; empty: in any way but as Janua's own do. `directories`: where
    files may be; empty: anywhere."""

    env_prefixes: Sequence[str] = ()
    directories: Sequence[Path] = ()

    def variable_fault(self, name: str) -> str | None:
        """Why a variable may not be read, to follow its name; None if it may."""
        if self.env_prefixes:
            if name.startswith(tuple(self.env_prefixes)):
                return None
            return (
                f"may not be read on this node: it begins with no --secrets-env-prefix ({', '.join(self.env_prefixes)})"
            )
        if name.startswith(_OWN):
            return f"may not be read on this node: {_OWN}… are its settings, unless --secrets-env-prefix says otherwise"
        return None

    def file_fault(self, file: str) -> str | None:
        """Why a file may not be read, to follow its path; None if it may. Links are followed."""
        real = Path(os.path.realpath(file))
        if not self.directories or any(real.is_relative_to(os.path.realpath(each)) for each in self.directories):
            return None
        return f"may not be read on this node: it is in no --secrets-dir ({', '.join(map(str, self.directories))})"
