"""Answers that a route gives itself: where redirects lead, whatever the client has sent, and fixed bodies."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import DirectResponseConfig, RedirectConfig
from gateway.context import RequestContext
from gateway.fixed_answer import fixed_answer
from gateway.types import Operation

HTTPS = RedirectConfig(scheme="https")
HOST = RedirectConfig(host="new.example:8443")
PATH = RedirectConfig(path="/new?x=1")


def request(
    path: str = "/a", *, query: bytes = b"", host: bytes = b"api.example", raw: str | None = None
) -> RequestContext:
    return RequestContext(
        request_id="r-1",
        protocol="http",
        operation=Operation.PROXY,
        method="GET",
        path=path,
        raw_path=path if raw is None else raw,
        host=host.decode("latin-1"),
        query_string=query,
        headers={b"host": host},
        model="",
        is_streaming=False,
        client_address="",
        started=0.0,
    )


def location(config: RedirectConfig, context: RequestContext) -> str:
    answer = fixed_answer(config, context)
    ((name, value),) = answer.headers
    assert (name, answer.status, answer.body) == (b"location", config.status, b"")
    return value.decode("ascii")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HTTPS, "https://api.example/a/b?q=1"),
        (HOST, "//new.example:8443/a/b?q=1"),
        (PATH, "/new?x=1"),
        (RedirectConfig(scheme="https", host="new.example"), "https://new.example/a/b?q=1"),
        (RedirectConfig(scheme="http", path="/new"), "http://api.example/new"),
        (RedirectConfig(host="new.example", path="/new"), "//new.example/new"),
        (RedirectConfig(scheme="https", host="[::1]:1", path="/"), "https://[::1]:1/"),
    ],
)
def test_what_is_not_configured_stays_as_requested(config: RedirectConfig, expected: str) -> None:
    assert location(config, request("/a/b", query=b"q=1")) == expected


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_status_is_the_configured_one(status: int) -> None:
    assert fixed_answer(RedirectConfig(status=status, path="/x"), request()).status == status


def test_a_path_keeps_the_encoding_that_it_came_in() -> None:
    asked = request("/a/b c/ü", raw="/a%2Fb%20c/%C3%BC;v=1", query=b"q=%20a+b&c=[1]")
    assert location(HTTPS, asked) == "https://api.example/a%2Fb%20c/%C3%BC;v=1?q=%20a+b&c=[1]"


def test_the_port_that_was_asked_for_stays() -> None:
    assert location(HTTPS, request(host=b"api.example:8080")) == "https://api.example:8080/a"


# What clients could do with it.


@pytest.mark.parametrize("config", [RedirectConfig(), PATH, HTTPS, HOST])
@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "//evil.example/..",
        "/@evil.example",
        "@evil.example",
        ".evil.example",
        "https://evil.example/",
        "*",
        "",
    ],
)
@pytest.mark.parametrize("is_raw", [True, False])
def test_no_path_leads_to_another_host(config: RedirectConfig, path: str, is_raw: bool) -> None:
    asked = request(path, raw=path if is_raw else "")
    expected = "new.example:8443" if config is HOST else "api.example"
    assert urlsplit(urljoin("https://api.example/", as_browsers_do(location(config, asked)))).netloc == expected


def as_browsers_do(reference: str) -> str:
    """URL Standard: a backslash is a slash, and any number of slashes stand before a host."""
    straight = reference.replace("\\", "/")
    scheme, colon, rest = straight.partition("://")
    if colon:
        return f"{scheme}://{rest.lstrip('/')}"
    return f"//{straight.lstrip('/')}" if straight.startswith("//") else straight


def test_a_path_of_two_slashes_stays_a_path() -> None:
    assert location(RedirectConfig(), request("//a/b")) == "/.//a/b"
    assert location(RedirectConfig(path="//a/b"), request()) == "/.//a/b"


@pytest.mark.parametrize(
    "host", [b"", b"a/b", b"a@evil.example", b"evil.example/?", b"evil.example\\", b"a b", b"\xff"]
)
def test_a_host_that_is_none_is_not_followed(host: bytes) -> None:
    found = urlsplit(location(HTTPS, request("/x", host=host)))
    assert found.path == "/x"
    assert not set("/@?\\ ") & set(found.netloc)


def test_without_a_host_the_reference_is_relative() -> None:
    assert location(HTTPS, request("//evil.example/x", host=b"")) == "/.//evil.example/x"


@given(
    config=st.sampled_from([HTTPS, HOST, PATH, RedirectConfig()]),
    path=st.text(max_size=12),
    raw=st.text(st.characters(max_codepoint=255), max_size=12),
    query=st.binary(max_size=12),
    host=st.binary(max_size=12),
)
def test_nothing_that_ends_a_line_and_nothing_but_ascii_comes_out(
    config: RedirectConfig, path: str, raw: str, query: bytes, host: bytes
) -> None:
    found = location(config, request(path, raw=raw, query=query, host=host))
    assert all("!" <= character <= "~" for character in found)
    assert not set('"<>\\^`{|}') & set(found)


@given(path=st.text(st.sampled_from("/\\.@:ae%"), max_size=10), config=st.sampled_from([HTTPS, HOST, RedirectConfig()]))
def test_whatever_the_path_is_it_leads_to_the_host_that_was_meant(path: str, config: RedirectConfig) -> None:
    found = as_browsers_do(location(config, request(path)))
    expected = "new.example:8443" if config is HOST else "api.example"
    assert urlsplit(urljoin("https://api.example/", found)).netloc == expected


# Direct responses.


def test_a_direct_response_is_what_is_configured() -> None:
    answer = fixed_answer(DirectResponseConfig(status=410, body="göne", content_type="text/html"), request())
    assert (answer.status, answer.body) == (410, "göne".encode())
    assert answer.headers == ((b"content-type", b"text/html"),)
    assert answer.message == "göne"


def test_a_direct_response_without_a_body_is_told_by_its_status() -> None:
    answer = fixed_answer(DirectResponseConfig(status=204), request())
    assert (answer.body, answer.message) == (b"", "the route answers with status 204")
    assert answer.headers == ((b"content-type", b"text/plain; charset=utf-8"),)
