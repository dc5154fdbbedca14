"""The query of a request, as routes see it."""

import pytest

from gateway.context import RequestContext
from gateway.types import Operation


def query(query_string: bytes) -> dict[str, str]:
    context = RequestContext(
        request_id="r",
        protocol="http",
        operation=Operation.CHAT,
        method="POST",
        path="/",
        host="",
        query_string=query_string,
        headers={},
        model="",
        is_streaming=False,
        client_address="",
        started=0.0,
    )
    assert context.query is context.query, "it is read once"
    return dict(context.query)


@pytest.mark.parametrize(
    ("query_string", "expected"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a=1&a=2", {"a": "1"}),
        (b"a", {"a": ""}),
        (b"a=&b", {"a": "", "b": ""}),
        (b"a=b=c", {"a": "b=c"}),
        (b"=1", {"": "1"}),
        (b"&&a=1&", {"a": "1"}),
        (b"a=x%20y+z", {"a": "x y z"}),
        (b"a=%C3%A9%F0%9F%99%82", {"a": "é🙂"}),
        (b"%61=1", {"a": "1"}),
        (b"a=%", {"a": "%"}),
        (b"a=%zz", {"a": "%zz"}),
        (b"a=%ff", {"a": "�"}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"a=\xff", {"a": "\xff"}),
    ],
)
def test_query(query_string: bytes, expected: dict[str, str]) -> None:
    assert query(query_string) == expected


def test_many_parameters_are_read() -> None:
    assert len(query(b"&".join(b"p%d=1" % number for number in range(5000)))) == 5000
