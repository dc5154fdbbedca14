import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from janua_resources.addresses import Address, parse_address, parse_base_path, parse_url


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9001", Address(scheme="http", host="127.0.0.1", port=9001)),
        ("Box-2.example:80", Address(scheme="http", host="box-2.example", port=80)),
        ("[::1]:8080", Address(scheme="http", host="::1", port=8080)),
        ("http://box", Address(scheme="http", host="box", port=80)),
        ("HTTPS://box/", Address(scheme="https", host="box", port=443)),
        ("https://box:8443/base/v", Address(scheme="https", host="box", port=8443, base_path="/base/v")),
        ("https://[::1]/a/", Address(scheme="https", host="::1", port=443, base_path="/a")),
        ("http://box/a%20b", Address(scheme="http", host="box", port=80, base_path="/a%20b")),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("box", "no port"),
        ("box:", "port ''"),
        ("box:0", "1 to 65535"),
        ("box:65536", "1 to 65535"),
        ("box:80a", "1 to 65535"),
        ("box:-1", "1 to 65535"),
        ("box:٣", "outside ASCII"),
        (":80", "host is empty"),
        ("::1:80", "brackets"),
        ("[::1]", "no port"),
        ("[::1]x:80", "IPv6"),
        ("box:80/base", "no scheme"),
        ("ftp://box", "http://"),
        ("http://", "host is empty"),
        ("http:///path", "host is empty"),
        ("http://user:pw@box", "credentials in a secret"),
        ("http://box?x=1", "query"),
        ("http://box/#f", "fragment"),
        ("http://box/a b", "white space"),
        ("http://box/a\nb", "white space"),
        ("http://box\r\nX: y/", "white space"),
        ("http://box/ä", "outside ASCII"),
        ("http://box/a/../b", r"'\.\.'"),
        ("http://box/%zz", "not a path"),
        ("http://0x7f.1/", "IPv4"),
    ],
)
def test_bad_addresses_are_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_address(text)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="password") as caught:
        parse_address("https://user:hunter2@box")
    assert "hunter2" not in str(caught.value)


def test_a_url_needs_a_scheme() -> None:
    with pytest.raises(ValueError, match="http://"):
        parse_url("box:80")


def test_base_paths_lose_slashes_at_the_end_only() -> None:
    assert parse_base_path("") == ""
    assert parse_base_path("/a/b//") == "/a/b"
    with pytest.raises(ValueError, match="starts with '/'"):
        parse_base_path("a")


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:2", "https://box/base", "http://localhost:81"])
def test_text_of_an_address_reads_back(text: str) -> None:
    assert parse_address(str(parse_address(text))) == parse_address(text)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
