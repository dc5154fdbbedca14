"""HTTP header names and values: which are legal, and which names a configuration may never set."""

import re
from typing import Final

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# All control characters but the tab. CR and LF would start a new header, NUL ends a string in some servers.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Headers of one connection, not of the request (RFC 9110, section 7.6.1, and the older ones still in use).
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What a caller, or a gateway, proves itself with.
CREDENTIALS: Final = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization", "set-cookie"}
)

# What the transport computes from the request itself.
FRAMING: Final = frozenset({"content-length", "expect", "host", "transfer-encoding"})


def is_header_name(text: str) -> bool:
    """Whether `text` is a token (RFC 9110, section 5.6.2), as header names must be."""
    return _TOKEN.fullmatch(text) is not None


def is_header_value(text: str) -> bool:
    """Whether `text` can be sent as a header value: no control characters but tabs."""
    return _CONTROL.search(text) is None
