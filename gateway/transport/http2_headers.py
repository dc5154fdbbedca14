"""The header fields of a request as HTTP/2 has them (RFC 9113, 8.2 and 8.3)."""

import re

from yarl import URL

from gateway.transport.messages import Body, Headers

RawHeaders = list[tuple[bytes, bytes]]

_CONNECTION_HEADERS = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[^\0\r\n]*")


def request_headers(method: str, url: URL, headers: Headers, body: Body) -> RawHeaders:
    """The fields to send: `host` becomes `:authority`, and what is about the connection alone is left out.

    Raises `ValueError` for names and values that no header can have.
    """
    authority = url.host_port_subcomponent or ""
    fields: RawHeaders = []
    has_length = not isinstance(body, bytes)
    for name, value in headers:
        lower = name.lower()
        if not _NAME.fullmatch(lower) or not _VALUE.fullmatch(value):
            raise ValueError(f"header {name!r} cannot be sent")
        if lower == "host":
            authority = value
        elif lower not in _CONNECTION_HEADERS and (lower != "te" or value.lower() == "trailers"):
            has_length = has_length or lower == "content-length"
            fields.append((lower.encode(), value.encode()))
    if not has_length and isinstance(body, bytes):
        fields.append((b"content-length", b"%d" % len(body)))
    return [
        (b":method", method.encode()),
        (b":scheme", url.scheme.encode()),
        (b":authority", authority.encode()),
        (b":path", url.raw_path_qs.encode()),
        *fields,
    ]
