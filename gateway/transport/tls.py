"""TLS towards endpoints: whom to trust, and the certificate to show. Names are checked by those who connect."""

import re
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.config.upstream import TlsConfig

HTTP1_ALPN = ("http/1.1",)
HTTP2_ALPN = ("h2",)

_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----\n?", re.DOTALL)


def client_context(tls: TlsConfig | None, *, alpn: Sequence[str] = HTTP1_ALPN) -> ssl.SSLContext:
    """How connections to `https` endpoints are secured: TLS 1.2 or newer, and without a configuration of its own the
    system's trust.

    Raises `ValueError` for PEM texts that cannot be used; its text shows nothing of them.
    """
    tls = tls or TlsConfig()
    context = _trusting(tls.ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(alpn))
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.client_certificate is not None:
        load_identity(context, *split_certificate(tls.client_certificate.reveal()), "client certificate")
    return context


def split_certificate(pem: str) -> tuple[bytes, bytes]:
    """The certificate chain and the private key of a PEM text that holds both. Raises `ValueError` without a key."""
    key = _PRIVATE_KEY.search(pem)
    if key is None:
        raise ValueError("the client certificate has no private key")
    return (pem[: key.start()] + pem[key.end() :]).encode(), key.group().encode()


def system_trust() -> bytes | None:
    """The certificates that the system trusts, as PEM; None where they are in no single file."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_bytes() if path is not None else None


def load_authorities(context: ssl.SSLContext, ca_pem: str) -> None:
    """Has the context trust these CAs. Raises `ValueError`."""
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, TypeError, ValueError):  # TypeError: not ASCII
        raise ValueError("the CA certificates are not valid PEM") from None
    if not context.cert_store_stats()["x509"]:
        raise ValueError("there is no CA certificate in the PEM text")


def load_identity(context: ssl.SSLContext, certificate: bytes, key: bytes, what: str) -> None:
    """Has the context show this chain of certificates, and prove it with the key. `what` is what errors call it.

    Raises `ValueError`.
    """
    # Only files are accepted. These nobody else can read, and they are gone once they have been read.
    with (
        tempfile.NamedTemporaryFile(suffix=".pem") as chain_file,
        tempfile.NamedTemporaryFile(suffix=".pem") as key_file,
    ):
        for file, pem in ((chain_file, certificate), (key_file, key)):
            file.write(pem)
            file.flush()
        try:
            # An empty password: without one, a key that is encrypted would be asked for on the terminal.
            context.load_cert_chain(chain_file.name, key_file.name, password="")
        except ssl.SSLError as error:
            raise ValueError(_fault(error, what)) from None


def _trusting(ca_pem: str | None) -> ssl.SSLContext:
    if ca_pem is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_authorities(context, ca_pem)
    return context


def _fault(error: ssl.SSLError, what: str) -> str:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"the {what} and its private key do not belong together"
    return f"the {what} or its private key is not valid PEM, or the key is encrypted"
