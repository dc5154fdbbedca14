"""Names in client certificates as configurations write them. No name of one form can be taken for one of another."""

import re
from typing import Final

_URI: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*://|urn:)[!-~]+")
_DNS_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
# The `*` must not stand for a part of a host: spiffe://prod* would let spiffe://prod.of.others in.
_URIS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[!-)+-.0-~]+/[!-)+-~]*\*")


def is_uri(text: str) -> bool:
    """Whether it is a URI as certificates have them: with a scheme in lower case, of visible ASCII."""
    return _URI.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Whether it is a DNS name in lower case, without a wildcard."""
    return _DNS_NAME.fullmatch(text) is not None


def name_fault(text: str) -> str | None:
    """What keeps a certificate from ever having that name; None if nothing does."""
    if is_uri(text) or is_dns_name(text):
        return None
    if "=" in text:
        return _subject_fault(text)
    return "is neither a URI such as spiffe://…, nor a DNS name in lower case, nor a subject such as CN=…"


def pattern_fault(text: str) -> str | None:
    """The same of what stands for names; None for a good one."""
    if text == "*" or _URIS.fullmatch(text):
        return None
    if text.endswith("*"):
        return "may end in * only as a URI and after its host, as in spiffe://HOST/*"
    return name_fault(text)


def _subject_fault(text: str) -> str | None:
    # Few configurations have one.
    from cryptography.x509 import Name

    try:
        written = Name.from_rfc4514_string(text).rfc4514_string()
    except ValueError:
        return "is not a subject as RFC 4514 writes it, as in CN=search,O=Example"
    return None if written == text else f"is not how certificates' subjects are compared: write {written}"
