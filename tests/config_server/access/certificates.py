"""Certificates of an authority of the test's own, in files."""

from pathlib import Path

import trustme

from config_server.tls import TlsFiles


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.pem = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.pem)

    def issue(self, name: str, *identities: str, common_name: str | None = None) -> TlsFiles:
        """A certificate and its key; a second one of the same name takes the place of the first."""
        issued = self._ca.issue_cert(*identities, common_name=common_name)
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(certificate)
        return TlsFiles(certificate=certificate, key=key)

    def server(self, *, takes_clients_of: "Authority | None" = None) -> TlsFiles:
        """For a server on loopback."""
        files = self.issue("server", "127.0.0.1", "localhost")
        client_ca = None if takes_clients_of is None else takes_clients_of.pem
        return TlsFiles(certificate=files.certificate, key=files.key, client_ca=client_ca)
