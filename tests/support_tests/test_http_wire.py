"""Reading requests from bytes, however they are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.http_wire import ReceivedRequest, RequestReader, chunked_response, json_response, response, sse

PLAIN = b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\nX-Case: Kept \r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
EMPTY = b"GET / HTTP/1.1\r\n\r\n"
EXPECTED = [
    ReceivedRequest(
        method="POST",
        target="/a?b=1",
        headers=(("Host", "x"), ("X-Case", "Kept"), ("Content-Length", "5")),
        body=b"hello",
    ),
    ReceivedRequest(method="POST", target="/c", headers=(("Transfer-Encoding", "Chunked"),), body=b"hello"),
    ReceivedRequest(method="GET", target="/", headers=(), body=b""),
]


@given(cuts=st.lists(st.integers(0, len(PLAIN + CHUNKED + EMPTY))))
def test_any_split_gives_the_same_requests(cuts: list[int]) -> None:
    wire = PLAIN + CHUNKED + EMPTY
    reader, found = RequestReader(), []
    edges = [0, *sorted(cuts), len(wire)]
    for start, end in itertools.pairwise(edges):
        reader.feed(wire[start:end])
        while (request := reader.next_request()) is not None:
            found.append(request)
    assert found == EXPECTED


@pytest.mark.parametrize(
    "wire", [b"nonsense\r\n\r\n", b"GET /\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
)
def test_what_is_not_http_is_an_error(wire: bytes) -> None:
    reader = RequestReader()
    reader.feed(wire)
    with pytest.raises(ValueError):
        reader.next_request()


def test_headers_are_found_in_any_case() -> None:
    assert EXPECTED[0].header("x-case") == "Kept"
    assert EXPECTED[0].header("absent") is None


def test_answers_as_bytes() -> None:
    assert response(204) == b"HTTP/1.1 204 No Content\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n"
    assert response(799).startswith(b"HTTP/1.1 799 Unknown\r\n")
    assert json_response(200, {"a": 1}, headers=[("x-b", "c")]).endswith(b'x-b: c\r\n\r\n{"a": 1}')
    assert chunked_response([b"ab", b"c"]).endswith(b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert sse({"a": 1}) == [b'data: {"a": 1}\n\n', b"data: [DONE]\n\n"]
    assert sse("x", done=False) == [b'data: "x"\n\n']
