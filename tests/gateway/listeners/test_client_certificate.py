"""What is read of a client's certificate, from PEM and DER alike."""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from gateway.context import ClientCertificate
from gateway.listeners.client_certificate import certificate_of_call, certificate_of_connection
from tests.support.pki import issue

CA = trustme.CA()


class Call:
    """A gRPC call, as far as certificates go."""

    def __init__(self, **properties: list[bytes]) -> None:
        self._properties = properties

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._properties


def read(pem: bytes) -> ClientCertificate:
    """The same over both protocols."""
    call: Any = Call(x509_pem_cert=[pem], transport_security_type=[b"ssl"])
    over_grpc = certificate_of_call(call)
    over_http = certificate_of_connection(ssl.PEM_cert_to_DER_cert(pem.decode()))()
    assert over_grpc == over_http
    assert over_grpc is not None
    return over_grpc


def test_names_and_end() -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    _, pem = issue(
        CA,
        uris=["spiffe://a.example/x", "https://a.example/y"],
        dns=["A.example", "b.example"],
        subject="CN=a\\, b,O=Example",
        expires=expires,
    )
    assert read(pem) == ClientCertificate(
        names=(
            "spiffe://a.example/x",
            "https://a.example/y",
            "a.example",
            "b.example",
            "CN=a\\, b,O=Example",
            "CN=a\\, b",
        ),
        expires=expires.timestamp(),
    )


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ({"subject": ""}, ()),
        ({"subject": "O=Example"}, ("O=Example",)),
        ({"subject": "CN=a,CN=b"}, ("CN=a,CN=b",)),
        ({"subject": "", "dns": ["*.example", "a b.example", "a\r\nb"]}, ()),
        ({"subject": "", "uris": ["a.example", "spiffe://a\r\nb", "spiffe:a"]}, ()),
        ({"subject": f"CN=a,O={'x' * 60}+OU={'y' * 60}"}, (f"CN=a,O={'x' * 60}+OU={'y' * 60}", "CN=a")),
        ({"subject": "", "uris": [f"spiffe://a.example/{'x' * 2000}"]}, ()),
        ({"subject": "CN=a\\0Ab"}, ()),
    ],
)
def test_what_no_configuration_can_name_is_no_name(shown: Any, names: tuple[str, ...]) -> None:
    assert read(issue(CA, **shown)[1]).names == names


def test_who_has_shown_none() -> None:
    call: Any = Call(transport_security_type=[b"ssl"])
    assert certificate_of_call(call) is None


def test_what_cannot_be_understood_has_no_names_and_has_ended() -> None:
    assert certificate_of_connection(b"\x30\x03\x02\x01\x01")() == ClientCertificate(names=(), expires=0.0)
