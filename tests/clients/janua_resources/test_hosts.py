import pytest
from janua_resources.hosts import is_loopback, normalize_host, normalize_host_pattern, pattern_covers


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("API.Example.com", "api.example.com"),
        ("localhost", "localhost"),
        ("svc_1.cluster.local.", "svc_1.cluster.local."),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_hosts_have_one_canonical_form(text: str, canonical: str) -> None:
    assert normalize_host(text) == canonical


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("a b", "not a host name"),
        ("a..b", "not a host name"),
        (".a", "not a host name"),
        ("-a", "not a host name"),
        ("a-", "not a host name"),
        ("a/b", "not a host name"),
        ("a@b", "not a host name"),
        ("a\n", "not a host name"),
        ("*", "not a host name"),
        ("x" * 64, "not a host name"),
        (".".join(["abc"] * 64), "not a host name"),
        ("bücher.example", "punycode"),
        ("256.1.1.1", "IPv4"),
        ("1.2.3", "IPv4"),
        ("127.1", "IPv4"),
        ("2130706433", "IPv4"),
        ("0x7f000001", "IPv4"),
        ("a.0x7f", "IPv4"),
        ("1.2.3.4.", "IPv4"),
        ("fe80::1%eth0", "zone"),
        ("[::1", "IPv6"),
        ("a:80", "IPv6"),
    ],
)
def test_bad_hosts_are_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        normalize_host(text)


@pytest.mark.parametrize("text", ["*", "*.", "a.*.b", "**.a", "*a.com", "*.*.com", "*.1.2.3.4", "*.[::1]"])
def test_bad_patterns_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_host_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "api.example.com.", True),
        ("api.example.com", "x.api.example.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "badexample.com", False),
        ("*.example.com", ".example.com", False),
    ],
)
def test_a_wildcard_stands_for_one_or_more_labels(pattern: str, host: str, covered: bool) -> None:
    assert pattern_covers(normalize_host_pattern(pattern), host) is covered


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_certain_or_not_at_all(host: str, loopback: bool) -> None:
    assert is_loopback(normalize_host(host)) is loopback
