"""TLS of the config server: its certificate, and the authorities whose clients it takes. Files may change meanwhile."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from config_server.file_stamp import FileStamp

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class TlsError(Exception):
    """The files cannot be used. The text is one line: which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. With `client_ca` every client needs a certificate of one of its authorities."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> Sequence[Path]:
        return [self.certificate, self.key, *([self.client_ca] if self.client_ca else ())]


class ServerTls:
    """What is in the files, as it was when a client last connected. Raises TlsError for files of no use."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamps = self._present()
        self._newest = _load(files)

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            self._newest,  # not the first: a server after this one would go back to what has been replaced
            self._changed,  # type: ignore[arg-type]  # the stubs do not know that None is an answer
            require_client_authentication=self._files.client_ca is not None,
        )

    def _present(self) -> Sequence[FileStamp]:
        return [FileStamp.of(path) for path in self._files.paths]

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by grpcio before each handshake; None: go on with what you have."""
        stamps = self._present()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            self._newest = _load(self._files)
        except TlsError as error:
            _log.error("certificate not taken, going on with the one before", error=str(error))
            return None
        _log.info("certificate taken", path=str(self._files.certificate))
        return self._newest


def _load(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    certificate, key, client_ca = _read(files.certificate), _read(files.key), None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would be asked for at a terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        text = f"{files.certificate} and {files.key} are not a certificate and its key, unencrypted, in PEM: {error}"
        raise TlsError(text) from None
    if files.client_ca is not None:
        client_ca = _read(files.client_ca)
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise TlsError(f"{files.client_ca} has no certificates in PEM: {error}") from None
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {(error.strerror or 'unreadable').lower()}") from None
