"""Names of certificates in configurations: what can be one, and what stands for several."""

import pytest
from janua_resources.certificate_names import is_dns_name, is_uri, name_fault, pattern_fault

NAMES = [
    "spiffe://prod.example/agents/search",
    "https://id.example/a?b=c",
    "urn:example:a",
    "search.prod.example",
    "localhost",
    "_svc.example",
    "CN=search",
    "CN=search,O=Example",
    "CN=a\\, b",
    "1.2.840.113549.1.9.1=a@b.example",
]
NOT_NAMES = {
    "Search.example": "nor a DNS name in lower case",
    "*.example": "nor a DNS name",
    "a..example": "nor a DNS name",
    "localhost:8080": "neither a URI",
    "SPIFFE://prod.example/a": "neither a URI",
    "spiffe://prod.example/a b": "neither a URI",
    "URI:spiffe//a": "neither a URI",
    "": "neither a URI",
    "CN=search, O=Example": "RFC 4514",
    "2.5.4.3=search": "write CN=search",
    "cn=search": "RFC 4514",
    "emailAddress=a@b.example": "RFC 4514",
    "=a": "RFC 4514",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert name_fault(name) is None
    assert pattern_fault(name) is None


@pytest.mark.parametrize("name", NOT_NAMES)
def test_what_no_certificate_can_have(name: str) -> None:
    assert NOT_NAMES[name] in (name_fault(name) or "")
    assert pattern_fault(name) is not None


@pytest.mark.parametrize("name", NAMES)
def test_no_name_has_two_forms(name: str) -> None:
    assert is_uri(name) + is_dns_name(name) + name.split(":")[0].startswith(("CN=", "1.")) == 1


@pytest.mark.parametrize("pattern", ["*", "spiffe://prod.example/*", "spiffe://prod.example/a/b*"])
def test_patterns(pattern: str) -> None:
    assert pattern_fault(pattern) is None
    assert name_fault("*") is not None


@pytest.mark.parametrize(
    "pattern",
    ["spiffe://prod*", "spiffe://*", "spiffe:///*", "prod.example*", "CN=*", "urn:a*", "spiffe://a/*/*", "**"],
)
def test_star_stands_for_no_part_of_a_host(pattern: str) -> None:
    assert "after its host" in (pattern_fault(pattern) or "")
