"""Paths that are passed through: none that another could read as leading elsewhere, and each rewritten where it was
matched, however it is encoded."""

import re
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Exact, PathMatch, Prefix, RewriteConfig, RouteConfig, RouteMatch
from gateway.errors import InvalidRequestError
from gateway.operations.request_path import backend_path, check_query, checked_path
from gateway.router import Router
from tests.gateway.operations.routes import Request


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/a/b//c/",
        "/a%2Fb",
        "/a%20b%C3%BC",
        "/%ff",
        "/a;v=1/b",
        "/.well-known/x",
        "/...",
        "/a..b/..c/d..",
        "/a/.b",
        "/v1.2/x",
        "/%252e%252e/",
        "/~user/!$&'()*+,;=:@-._",
        '/[x]{y}|"<>^`',
        "/%zz%",
        "/\\a",
    ],
)
def test_a_path_is_taken_as_it_came(path: str) -> None:
    assert checked_path(path.encode()) == path


@pytest.mark.parametrize(
    "path",
    [
        "/.",
        "/..",
        "/../",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/%2e%2e/",
        "/%2E./x",
        "/.%2e",
        "/a%2f..%2fb",
        "/a%2F%2e%2E",
        "/a\\..\\b",
        "/a%5c..%5Cb",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/..%3b/b",
        "/a/.;",
        "/a/..%00",
        "/a/..%00.txt",
        "/a/..%00%2f",
    ],
)
def test_a_path_with_a_dot_segment_in_whatever_guise_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"must not have '\.' or '\.\.' for a segment"):
        checked_path(path.encode())


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"a",
        b"*",
        b"http://other.example/",
        b"/a b",
        b"/a\tb",
        b"/a\r\nx: y",
        b"/a\x00",
        b"/a#b",
        b"/a?b",
        b"/\x7f",
        b"/\xc3\xbc",
    ],
)
def test_what_is_no_path_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"^the path must begin with '/'"):
        checked_path(path)


# Pieces that make paths which are nearly, or really, dangerous.
PIECES = st.sampled_from(
    [*"/.;\\%ab ?#", "%2e", "%2E", "%2f", "%5c", "%5C", "%3b", "%25", "%00", "%0d", "%0a", "%ff", "..", "\r", "\n", "ü"]
)
PATHS = st.one_of(
    st.lists(PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode()),
    st.binary(max_size=20).map(lambda rest: b"/" + rest),
)


@given(PATHS)
def test_what_is_accepted_has_no_dot_segment_after_decoding_and_nothing_that_ends_a_line(raw: bytes) -> None:
    try:
        path = checked_path(raw)
    except InvalidRequestError:
        return
    assert path.encode("ascii") == raw
    assert not set(path) & set(" \t\r\n?#\x00")
    decoded = unquote_to_bytes(raw)
    for understood in (decoded, re.sub(rb";[^/\\]*", b"", decoded), decoded.partition(b"\0")[0]):
        assert {b".", b".."}.isdisjoint(re.split(rb"[/\\]", understood))


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=5))
def test_every_path_without_dot_segments_is_accepted_when_it_is_encoded(segments: list[str]) -> None:
    path = "".join("/" + quote(segment, safe="") for segment in segments)
    if any(re.split(r"[;\0]", part)[0] in (".", "..") for part in re.split(r"[/\\]", "/".join(segments))):
        with pytest.raises(InvalidRequestError):
            checked_path(path.encode())
    else:
        assert checked_path(path.encode()) == path


@pytest.mark.parametrize("query", [b"", b"a=1&b=%20", b"a[]=1|2", b"/../?x", b"%0d%0a", b'{"a":"b"}\\^`<>'])
def test_a_query_is_taken_as_it_came(query: bytes) -> None:
    check_query(query)


@pytest.mark.parametrize("query", [b"a b", b"a\r\nx: y", b"a\n", b"\0", b"a#b", b"\x7f", "ü".encode()])
def test_a_query_that_could_not_be_sent_on_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"^the query must have all special characters percent-encoded$"):
        check_query(query)


# Rewriting.


@pytest.mark.parametrize(
    ("match", "prefix", "path", "expected"),
    [
        (Prefix("/api"), "/v2", "/api/users", "/v2/users"),
        (Prefix("/api"), "/v2", "/api", "/v2"),
        (Prefix("/api"), "/v2/", "/api/users", "/v2/users"),
        (Prefix("/api/"), "/v2", "/api/users", "/v2/users"),
        (Prefix("/api"), "/", "/api/users", "/users"),
        (Prefix("/api"), "/", "/api", "/"),
        (Prefix("/api"), "/", "/api/", "/"),
        (Prefix("/api"), "/v2", "/api/", "/v2/"),
        (Prefix("/"), "/v2", "/users", "/v2/users"),
        (Prefix("/"), "/v2", "/", "/v2/"),
        (Prefix("/"), "/", "/users", "/users"),
        (Prefix("/api"), "/v2", "/api//users/", "/v2//users/"),
        (Prefix("/api"), "/v2", "/%61pi/us%65rs", "/v2/us%65rs"),
        (Prefix("/a b"), "/v2", "/a%20b/%20", "/v2/%20"),
        (Prefix("/ü"), "/v2", "/%C3%BC/x", "/v2/x"),
        (Prefix("/100%"), "/v2", "/100%25/x", "/v2/x"),
        (Prefix("/100%"), "/v2", "/100%/x", "/v2/x"),
        (Prefix("/a/b"), "/v2", "/a%2Fb/c", "/v2/c"),
        (Prefix("/a"), "/v2", "/a%2Fb", "/v2%2Fb"),
        (Prefix("/a"), "/", "/a%2Fb", "/%2Fb"),
        (Exact("/api"), "/v2/x", "/api", "/v2/x"),
        (Exact("/a b"), "/", "/a%20b", "/"),
    ],
)
def test_the_rewritten_path_stands_for_what_was_matched(
    match: PathMatch, prefix: str, path: str, expected: str
) -> None:
    assert backend_path(path, match, RewriteConfig(path_prefix=prefix)) == expected


@pytest.mark.parametrize("rewrite", [None, RewriteConfig(), RewriteConfig(host="inner.example")])
def test_without_a_new_path_it_stays_as_it_came(rewrite: RewriteConfig | None) -> None:
    for match in (Prefix("/a"), Exact("/a%2Fb"), None):
        assert backend_path("/a%2Fb", match, rewrite) == "/a%2Fb"


def encoded(text: str, choices: list[bool]) -> str:
    """The text with some of its characters percent-encoded, and those that must be."""
    out = []
    for index, character in enumerate(text):
        must = not character.isascii() or character in ' %?#"' or not character.isprintable()
        if must or (character != "/" and choices[index % len(choices)]):
            out += [f"%{byte:02{'x' if choices[0] else 'X'}}" for byte in character.encode()]
        else:
            out.append(character)
    return "".join(out)


SEGMENT = st.text(st.sampled_from("ab ü€%1f;"), min_size=1, max_size=4)


@given(
    prefix=st.lists(SEGMENT, max_size=3).map(lambda segments: "/" + "/".join(segments)),
    rest=st.lists(SEGMENT, max_size=3).map(lambda segments: "".join("/" + segment for segment in segments)),
    choices=st.lists(st.booleans(), min_size=1, max_size=6),
    new=st.sampled_from(["/", "/v2", "/v2/", "/deep/er"]),
)
def test_a_prefix_is_replaced_however_it_is_encoded_and_the_rest_is_not_touched(
    prefix: str, rest: str, choices: list[bool], new: str
) -> None:
    came = encoded(prefix.rstrip("/") + rest, choices) or "/"
    untouched = encoded(prefix.rstrip("/"), choices)
    assert came.startswith(untouched)
    replaced = backend_path(came, Prefix(prefix), RewriteConfig(path_prefix=new))
    assert replaced == (new.rstrip("/") + came[len(untouched) :] or "/")


@given(
    raw=PATHS, prefix=st.sampled_from(["/", "/a", "/a/b", "/%", "/.", "/a;"]), new=st.sampled_from(["/", "/v2", "/x/"])
)
def test_what_a_route_takes_has_no_dot_segment_after_the_rewriting_either(raw: bytes, prefix: str, new: str) -> None:
    try:
        path = checked_path(raw)
    except InvalidRequestError:
        return
    route = RouteConfig(name="r", match=RouteMatch(path=Prefix(prefix)), backends=())
    if Router().changed((), [route]).match(Request(path=unquote(path))) is None:
        return
    rewritten = backend_path(path, route.match.path, RewriteConfig(path_prefix=new))
    assert rewritten.startswith(new.rstrip("/") or "/")
    assert checked_path(rewritten.encode()) == rewritten
