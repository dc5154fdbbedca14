"""Headers and metadata of what is passed through: all that is end-to-end, no credential of the client, and nothing that
it could pass off as ours."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.providers.pass_through import (
    CONNECTION_HEADERS,
    ClientSide,
    nominated,
    pass_through_headers,
    pass_through_metadata,
    text,
    with_host,
)
from gateway.transport.http import HttpTransport
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response

CLIENT = ClientSide(
    request_id="r-1", address="192.0.2.7", scheme="https", http_version="1.1", authority="api.example:8443"
)
OURS = [
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "api.example:8443"),
    ("via", "1.1 janua"),
    ("x-request-id", "r-1"),
]
CREDENTIALS = [b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key"]
Raw = Sequence[tuple[bytes, bytes]]


def theirs(inbound: Raw, *, dropped: frozenset[bytes] = frozenset()) -> list[tuple[str, str]]:
    """What goes on beside our own."""
    headers = pass_through_headers(inbound, CLIENT, dropped=dropped)
    return [header for header in headers if header not in OURS]


def test_a_request_without_headers_goes_on_with_ours_alone() -> None:
    assert pass_through_headers([], CLIENT) == OURS


def test_end_to_end_headers_go_on_as_they_came() -> None:
    inbound = [
        (b"accept", b"text/html"),
        (b"x-empty", b""),
        (b"user-agent", b"test/1"),
        (b"x-twice", b"a"),
        (b"x-twice", b"b, c"),
        (b"accept-encoding", b"gzip"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"12"),
        (b"traceparent", b"00-1-2-03"),
    ]
    assert theirs(inbound) == [(name.decode(), value.decode()) for name, value in inbound]


@pytest.mark.parametrize("name", sorted(CONNECTION_HEADERS - {b"transfer-encoding"}))
def test_headers_of_the_connection_end_here(name: bytes) -> None:
    assert theirs([(name, b"x"), (b"a", b"1")]) == [("a", "1")]


@pytest.mark.parametrize(
    "connection",
    [
        [b"x-hop, x-other"],
        [b"x-hop", b"x-other"],
        [b"  X-Hop ,, X-OTHER,close"],
        [b"keep-alive, x-other,x-hop,"],
    ],
)
def test_headers_that_connection_names_end_here_too(connection: list[bytes]) -> None:
    inbound = [*((b"connection", value) for value in connection), (b"x-hop", b"1"), (b"x-other", b"2"), (b"a", b"1")]
    assert theirs(inbound) == [("a", "1")]
    assert nominated(inbound) >= {b"x-hop", b"x-other"}


def test_connection_cannot_make_what_is_ours_disappear() -> None:
    named = b", ".join(name.encode() for name, _ in OURS)
    assert pass_through_headers([(b"connection", named)], CLIENT) == OURS


def test_with_transfer_encoding_the_length_does_not_count() -> None:
    assert theirs([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]) == []
    assert theirs([(b"transfer-encoding", b"gzip, chunked"), (b"content-length", b"5")]) == []
    assert theirs([(b"content-length", b"5")]) == [("content-length", "5")]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials_end_here(name: bytes) -> None:
    assert theirs([(name, b"sk-theirs"), (name, b"again")]) == []


@pytest.mark.parametrize(
    "name",
    [
        b"host",
        b"expect",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-janua-timeout-ms",
        b"x-janua-anything",
    ],
)
def test_what_only_a_proxy_may_say_is_not_taken_from_the_client(name: bytes) -> None:
    assert pass_through_headers([(name, b"forged")], CLIENT) == OURS


def test_the_way_so_far_is_kept_and_ours_is_added_at_its_end() -> None:
    inbound = [
        (b"x-forwarded-for", b"203.0.113.1, 10.0.0.1"),
        (b"via", b"1.0 first"),
        (b"x-forwarded-for", b"10.0.0.2"),
        (b"via", b"2 second"),
    ]
    headers = dict(pass_through_headers(inbound, CLIENT))
    assert headers["x-forwarded-for"] == "203.0.113.1, 10.0.0.1, 10.0.0.2, 192.0.2.7"
    assert headers["via"] == "1.0 first, 2 second, 1.1 janua"


def test_what_is_not_known_of_the_client_is_not_told() -> None:
    unknown = ClientSide(request_id="r-1", address="", scheme="http", http_version="1.0", authority="")
    assert pass_through_headers([], unknown) == [
        ("x-forwarded-proto", "http"),
        ("via", "1.0 janua"),
        ("x-request-id", "r-1"),
    ]


def test_pieces_of_a_cookie_become_one() -> None:
    assert theirs([(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2; c=3")]) == [
        ("x", "y"),
        ("cookie", "a=1; b=2; c=3"),
    ]
    assert theirs([(b"cookie", b"a=1"), (b"connection", b"cookie")]) == []
    assert theirs([(b"cookie", b"a=1")], dropped=frozenset({b"cookie"})) == []


def test_headers_that_the_provider_must_not_see_are_dropped() -> None:
    assert theirs([(b"openai-organization", b"o"), (b"a", b"1")], dropped=frozenset({b"openai-organization"})) == [
        ("a", "1")
    ]


def test_the_services_own_headers_win_over_the_clients_and_ours() -> None:
    inbound = [(b"openai-beta", b"theirs"), (b"authorization", b"Bearer theirs"), (b"via", b"1.0 first")]
    configured = [("OpenAI-Beta", "own"), ("authorization", "Bearer own"), ("Via", "own"), ("x-forwarded-for", "none")]
    headers = pass_through_headers(inbound, CLIENT, configured=configured)
    assert Counter(name for name, _ in headers).most_common(1)[0][1] == 1
    assert dict(headers) == dict(OURS) | {
        "openai-beta": "own",
        "authorization": "Bearer own",
        "via": "own",
        "x-forwarded-for": "none",
    }


def test_the_host_is_the_transports_unless_it_is_rewritten() -> None:
    inbound = [(b"host", b"api.example")]
    assert "host" not in dict(pass_through_headers(inbound, CLIENT))
    rewritten = pass_through_headers(inbound, CLIENT, host="inner.example")
    assert [value for name, value in rewritten if name == "host"] == ["inner.example"]


def test_a_host_is_added_where_there_is_none() -> None:
    assert with_host([("a", "1")], "box.example") == [("a", "1"), ("host", "box.example")]
    assert with_host([("host", "inner.example")], "box.example") == [("host", "inner.example")]
    assert with_host([("a", "1")], None) == [("a", "1")]


# Bytes.


@pytest.mark.parametrize(
    ("value", "expected"), [(b"", ""), (b"a\tb", "a\tb"), ("ü€".encode(), "ü€"), (b"\xfc", "ü"), (b"\xc3", "Ã")]
)
def test_values_that_are_no_utf8_are_latin1(value: bytes, expected: str) -> None:
    assert text(value) == expected


async def test_values_arrive_at_the_backend_as_the_bytes_they_were(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(200))
    transport = HttpTransport(idle_timeout_s=1)
    headers = pass_through_headers([(b"x-a", "ü€".encode()), (b"x-b", b'a;\tb="c"')], CLIENT)
    answer = await transport.send("GET", URL(faulty_upstream.url), headers=headers, body=None, connect_timeout_s=5)
    answer.close()
    await transport.close()
    (request,) = faulty_upstream.requests
    assert (request.header("x-a") or "").encode("latin-1") == "ü€".encode()
    assert request.header("x-b") == 'a;\tb="c"'


# Whatever comes.

NAMES = st.sampled_from(
    [
        *CREDENTIALS,
        *sorted(CONNECTION_HEADERS),
        *(b"host", b"cookie", b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-port", b"content-length"),
        *(b"accept", b"x-a", b"x-b", b"x-janua-a", b"expect"),
    ]
)
VALUES = st.binary(max_size=12).filter(lambda value: not set(value) & set(b"\r\n\0"))
INBOUND = st.lists(st.tuples(NAMES, st.one_of(VALUES, NAMES)), max_size=12)
SECRET = b"sk-theirs"


@given(INBOUND)
def test_nothing_that_ends_a_line_or_belongs_to_the_connection_comes_out(inbound: Raw) -> None:
    headers = pass_through_headers(inbound, CLIENT)
    hop = {name.decode() for name in CONNECTION_HEADERS}
    for name, value in headers:
        assert name == name.lower()
        assert not set(name + value) & set("\r\n\0")
        assert name not in hop
    assert [header for header in headers if header[0] in dict(OURS)][-1] == ("x-request-id", "r-1")


@given(INBOUND, st.sampled_from(CREDENTIALS), st.integers(0, 12))
def test_no_credential_ever_comes_out(inbound: Raw, name: bytes, place: int) -> None:
    carrying = [*inbound[:place], (name, SECRET), (name, b"Bearer " + SECRET), *inbound[place:]]
    assert SECRET.decode() not in repr(pass_through_headers(carrying, CLIENT))
    assert SECRET.decode() not in repr(pass_through_metadata(carrying, "r-1"))


@given(INBOUND)
def test_both_a_length_and_a_coding_never_come_out_and_end_to_end_headers_always_do(inbound: Raw) -> None:
    headers = pass_through_headers(inbound, CLIENT)
    names = [name for name, _ in headers]
    is_coded = any(name == b"transfer-encoding" for name, _ in inbound)
    assert "transfer-encoding" not in names
    assert not (is_coded and "content-length" in names)
    hop = nominated(inbound)
    kept = [(name, value) for name, value in inbound if name in (b"accept", b"x-a", b"x-b") and name not in hop]
    assert [header for header in headers if header[0] in ("accept", "x-a", "x-b")] == [
        (name.decode(), text(value)) for name, value in kept
    ]


# Metadata.


def test_metadata_goes_on_and_binary_values_stay_binary() -> None:
    inbound = [(b"x-a", b"1"), (b"x-data-bin", b"\x00\xff"), (b"x-a", b"2"), (b"traceparent", b"00")]
    assert pass_through_metadata(inbound, "r-1") == [
        ("x-a", "1"),
        ("x-data-bin", b"\x00\xff"),
        ("x-a", "2"),
        ("traceparent", "00"),
        ("x-request-id", "r-1"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *CREDENTIALS,
        *sorted(CONNECTION_HEADERS),
        b":authority",
        b"host",
        b"user-agent",
        b"content-type",
        b"grpc-timeout",
        b"grpc-encoding",
        b"grpc-accept-encoding",
        b"grpc-trace-bin",
        b"x-request-id",
        b"x-janua-route",
    ],
)
def test_metadata_of_the_call_itself_and_credentials_end_here(name: bytes) -> None:
    assert pass_through_metadata([(name, b"x")], "r-1") == [("x-request-id", "r-1")]


def test_who_is_outside_learns_nothing_of_the_client() -> None:
    inbound = [(b"cookie", b"a=1"), (b"x-forwarded-for", b"10.0.0.1"), (b"via", b"1.1 other"), (b"accept", b"*/*")]
    headers = pass_through_headers(inbound, CLIENT, configured=[("x-own", "1")], is_outside=True)
    assert headers == [("accept", "*/*"), ("x-own", "1"), ("x-request-id", "r-1")]
