"""What a client certificate that has been verified says of the caller, over HTTP and gRPC alike."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
from janua_resources.certificate_names import is_dns_name, is_uri

from gateway.context import ClientCertificate

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

CERTIFICATE: Final = "client_certificate"
"""Where the state of an HTTP connection has a function that gives it."""

_MAX_NAME: Final = 1024


def certificate_of_call(call: Call) -> ClientCertificate | None:
    """That of a gRPC call's connection."""
    found = call.auth_context().get("x509_pem_cert")
    return _read(next(iter(found))) if found else None


def certificate_of_connection(der: bytes) -> Callable[[], ClientCertificate | None]:
    """The function that reads the certificate of an HTTP connection when it is asked for."""
    return partial(_read, der)


# gRPC tells the certificate anew with each call, and reading it takes longer than all else of the policy.
@lru_cache(maxsize=1024)
def _read(encoded: bytes) -> ClientCertificate:
    """What a certificate says, as PEM or DER. One that cannot be understood has no names."""
    # Where nobody shows a certificate it is not needed.
    from cryptography import x509

    load = x509.load_pem_x509_certificate if encoded.startswith(b"-----") else x509.load_der_x509_certificate
    try:
        certificate = load(encoded)
        names = tuple(name for name in _names(certificate) if len(name) <= _MAX_NAME and name.isprintable())
        return ClientCertificate(names=names, expires=certificate.not_valid_after_utc.timestamp())
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return ClientCertificate(names=(), expires=0.0)


def _names(certificate: "Certificate") -> Iterator[str]:
    """Those that configurations can speak of, each in a form that no other kind of name has."""
    from cryptography.x509 import DNSName, ExtensionNotFound, NameOID, SubjectAlternativeName, UniformResourceIdentifier

    try:
        alternatives = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        pass
    else:
        yield from filter(is_uri, alternatives.get_values_for_type(UniformResourceIdentifier))
        yield from filter(is_dns_name, map(str.lower, alternatives.get_values_for_type(DNSName)))
    subject = certificate.subject
    if subject.rdns:
        yield subject.rfc4514_string()
    common_names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common_names) == 1:
        yield common_names[0].rfc4514_string()
