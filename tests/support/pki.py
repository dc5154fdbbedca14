"""Certificates for a node and its callers, in files and as clients use them, valid or wrong in one way."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

Identity = tuple[bytes, bytes]
"""A private key and its certificate, as PEM."""

HTTP1, HTTP2 = ("http/1.1",), ("h2",)


def issue(
    ca: trustme.CA,
    *,
    uris: Sequence[str] = (),
    dns: Sequence[str] = (),
    subject: str = "CN=caller,O=Example",
    expires: datetime | None = None,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> Identity:
    """A certificate of that CA for a client with these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    expires = expires or datetime.now(UTC) + timedelta(days=1)
    authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(signer, EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(expires - timedelta(days=2))
        .not_valid_after(expires)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Pki:
    """A CA for nodes, one for their callers, and one that nobody trusts; files are in `directory`."""

    directory: Path

    @cached_property
    def node_ca(self) -> trustme.CA:
        return trustme.CA()

    @cached_property
    def client_ca(self) -> trustme.CA:
        return trustme.CA()

    @cached_property
    def stranger_ca(self) -> trustme.CA:
        return trustme.CA()

    @cached_property
    def certificate(self) -> Path:
        """The node's certificate."""
        return self.directory / "node.pem"

    @cached_property
    def key(self) -> Path:
        """Its key."""
        return self.directory / "node.key"

    @cached_property
    def ca_file(self) -> Path:
        """What clients trust."""
        return self.write("ca.pem", self.node_ca.cert_pem.bytes())

    @cached_property
    def client_ca_file(self) -> Path:
        """Whose certificates the node takes."""
        return self.write("clients.pem", self.client_ca.cert_pem.bytes())

    def write(self, name: str, content: bytes) -> Path:
        """A file, replaced as a whole."""
        path = self.directory / name
        new = path.with_suffix(".new")
        new.write_bytes(content)
        return new.replace(path)

    def renew_node(self, *, ca: trustme.CA | None = None) -> bytes:
        """Gives the node a certificate, a new one each time, and tells it as DER."""
        leaf = (ca or self.node_ca).issue_cert("localhost", "127.0.0.1")
        self.write(self.key.name, leaf.private_key_pem.bytes())
        self.write(self.certificate.name, b"".join(each.bytes() for each in leaf.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    def node_options(self, *, client_certificates: str | None = None) -> tuple[str, ...]:
        """A node with these files; `client_certificates`: it asks for them, and where it requires them."""
        self.renew_node()
        options = (f"--tls-cert={self.certificate}", f"--tls-key={self.key}")
        if client_certificates is None:
            return options
        asked = (f"--tls-client-ca={self.client_ca_file}", f"--tls-require-client-cert={client_certificates}")
        return (*options, *asked)

    def context(self, identity: Identity | None = None, *, alpn: Sequence[str] = HTTP1) -> ssl.SSLContext:
        """What a client over HTTP connects with."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols(list(alpn))
        if identity is not None:
            key, certificate = identity
            file = self.write("client.pem", key + certificate)
            context.load_cert_chain(file)
            file.unlink()
        return context

    def credentials(self, identity: Identity | None = None) -> grpc.ChannelCredentials:
        """The same over gRPC."""
        return grpc.ssl_channel_credentials(self.node_ca.cert_pem.bytes(), *(identity or ()))
