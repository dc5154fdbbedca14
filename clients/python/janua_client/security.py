"""How a client and its server know each other."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How a server is known to be the right one, and who asks it.

    `tls`: whether to speak TLS; so does whoever gives `ca`, authorities to trust instead of the system's, or
    `certificate` and `key`, all files in PEM. `token` says who asks; without TLS it is sent on this machine only.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = field(default="", repr=False)

    @property
    def uses_tls(self) -> bool:
        return self.tls or self.ca is not None or self.certificate is not None


PLAIN = Security()
