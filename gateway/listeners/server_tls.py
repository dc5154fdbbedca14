"""TLS on the listeners for requests: the files, both protocols' ways to use them, and reading them again."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import grpc
import structlog

from gateway.bootstrap import RequiredOn, TlsFiles, TlsFilesError
from gateway.transport.tls import load_authorities, load_identity

_POLL_S: Final = 2.0
# Of TLS 1.2 what HTTP/2 allows (RFC 9113, section 9.2.2).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

_Newest: TypeAlias = Callable[[], grpc.ServerCertificateConfiguration]

_log = structlog.get_logger("janua.tls")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files held at one moment."""

    contents: tuple[bytes, ...]
    context: ssl.SSLContext
    for_grpc: grpc.ServerCertificateConfiguration


class _NewestContext(ssl.SSLContext):
    """Stands for the newest context, for those who want one for good: each connection gets all of what is in use when
    it is made."""

    newest: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self.newest().wrap_bio(*arguments, **options)


class ServerTls:
    """What the listeners are secured with. Files that are changed to something bad change nothing.

    TLS 1.2 or newer. Connections keep what they were made with.
    """

    def __init__(self, files: TlsFiles, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Reads the files. Raises `TlsFilesError`."""
        self._files = files
        self._sleep = sleep
        self._stamps = _stamps(files)
        self._loaded = _load(files)
        self.context: Final = _NewestContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.newest = lambda: self._loaded.context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For one server. gRPC asks clients for certificates only where it takes none without."""
        given = self._loaded

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if given is self._loaded:
                return None
            given = self._loaded
            return given.for_grpc

        files = self._files
        is_required = files.client_ca is not None and files.required_on is not RequiredOn.NONE
        # Types say that each time something must be given; grpcio itself says that None keeps what there is.
        return grpc.dynamic_ssl_server_credentials(given.for_grpc, cast("_Newest", newest), is_required)

    async def run(self) -> None:
        """Takes the files whenever they have changed."""
        while True:
            await self._sleep(_POLL_S)
            if await asyncio.to_thread(_stamps, self._files) != self._stamps:
                self.reload()

    def reload(self) -> None:
        """Reads the files again. If they are bad, says so and goes on with what was read before."""
        self._stamps = _stamps(self._files)
        try:
            loaded = _load(self._files)
        except TlsFilesError as error:
            _log.error("certificates not taken, going on with those of before", error=str(error))
            return
        if loaded.contents != self._loaded.contents:
            self._loaded = loaded
            _log.info("new certificates in use", certificate=str(self._files.certificate))


def _paths(files: TlsFiles) -> tuple[Path, ...]:
    return (files.certificate, files.key, *((files.client_ca,) if files.client_ca is not None else ()))


def _stamps(files: TlsFiles) -> list[tuple[int, ...] | None]:
    """What tells whether a file has changed, also one that a link leads to."""
    return [_stamp(path) for path in _paths(files)]


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev


def _load(files: TlsFiles) -> _Loaded:
    contents = tuple(_read(path) for path in _paths(files))
    certificate, key, *client_ca = contents
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        raise TlsFilesError(f"{files.certificate}: there is no certificate in it, which is wanted as PEM")
    if b"PRIVATE KEY-----" not in key:
        raise TlsFilesError(f"{files.key}: there is no private key in it, which is wanted as PEM")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        load_identity(context, certificate, key, "certificate")
    except ValueError as error:
        raise TlsFilesError(f"{files.certificate}, {files.key}: {error}") from None
    for pem in client_ca:
        _ask_for_certificates(context, files, pem)
    pairs = [(key, certificate)]
    return _Loaded(contents, context, grpc.ssl_server_certificate_configuration(pairs, *client_ca))


def _ask_for_certificates(context: ssl.SSLContext, files: TlsFiles, pem: bytes) -> None:
    try:
        load_authorities(context, pem.decode("ascii", "replace"))
    except ValueError as error:
        raise TlsFilesError(f"{files.client_ca}: {error}") from None
    context.verify_mode = ssl.CERT_REQUIRED if files.required_on is RequiredOn.ALL else ssl.CERT_OPTIONAL
    # As gRPC does: a CA that is named is trusted, also if another has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFilesError(f"{path}: {error.strerror}") from error
