"""Certificates for servers and clients of a test, signed by a CA that nobody else knows."""

import ssl
from dataclasses import dataclass, field

import trustme

from gateway.config.secret import SecretValue


@dataclass(frozen=True)
class TestCertificates:
    """One CA, and what it vouches for."""

    __test__ = False

    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def ca_pem(self) -> str:
        """The CA's own certificate."""
        return self.ca.cert_pem.bytes().decode()

    def server_context(self, *names: str, alpn: tuple[str, ...] = (), wants_client: bool = False) -> ssl.SSLContext:
        """What a server of these names (host names and IP addresses) listens with."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names).configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if wants_client:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def server_pem(self, *names: str) -> tuple[bytes, bytes]:
        """The private key and the chain of a server of these names."""
        leaf = self.ca.issue_cert(*names)
        return leaf.private_key_pem.bytes(), b"".join(each.bytes() for each in leaf.cert_chain_pems)

    def client_certificate(self, name: str = "node.example") -> SecretValue:
        """A certificate and its key, as the configuration holds them."""
        return SecretValue(self.ca.issue_cert(name).private_key_and_cert_chain_pem.bytes().decode())
