"""What both protocols read of a request before it has a context: header joining, host, request id."""

import random
import re
from collections.abc import Iterable

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def join_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; several values of one name are joined by `, ` (RFC 9110 section 5.3)."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name in headers:
            headers[name] += b", " + value
        else:
            headers[name] = value
    return headers


def host_name(authority: bytes) -> str:
    """The host of a `Host` header or `:authority` as routes name it: in lower case, without port, the brackets of an
    IPv6 address, and the dot that may end a complete name."""
    text = authority.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def request_id(sent: bytes | None) -> str:
    """The caller's request id if it is usable (1 to 128 visible ASCII characters), else a new one."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent.decode("ascii")
    # Unique is enough: an id opens nothing, so it need not be hard to guess.
    return f"{random.getrandbits(128):032x}"
