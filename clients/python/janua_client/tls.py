"""TLS towards Janua's servers: whom to trust, and the certificate to show."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM. `ca_file` None: what the system trusts. `certificate_file` is shown to servers that ask for one;
    `key_file` None: its key is in the same file."""

    ca_file: str | Path | None = None
    certificate_file: str | Path | None = None
    key_file: str | Path | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTP. Raises OSError, of which `ssl.SSLError` is one, for files that cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            # An empty password: without one, a key that is encrypted would be asked for on the terminal.
            context.load_cert_chain(self.certificate_file, self.key_file, password="")
        return context

    def channel_credentials(self) -> "grpc.ChannelCredentials":
        """For gRPC. Raises as `ssl_context` does."""
        import grpc  # what speaks HTTP, and help, do without it

        self.ssl_context()  # gRPC would not say what is wrong with the files
        trusted = _read(self.ca_file or ssl.get_default_verify_paths().cafile)
        return grpc.ssl_channel_credentials(
            trusted, _read(self.key_file or self.certificate_file), _read(self.certificate_file)
        )


def _read(file: str | Path | None) -> bytes | None:
    return Path(file).read_bytes() if file is not None else None
