"""Path and query of a request that is passed through: which are refused, and what the backend gets to see. Pure."""

import re
from urllib.parse import unquote_to_bytes

from gateway.config.snapshot import Exact, PathMatch, Prefix, RewriteConfig
from gateway.errors import InvalidRequestError

# What RFC 3986 lets stand in a path; everything else must be percent-encoded.
_PATH = re.compile(rb"/[^\x00-\x20#?\x7f-\xff]*")
_QUERY = re.compile(rb"[^\x00-\x20#\x7f-\xff]*")
_SEPARATORS = re.compile(rb"[/\\]")
# Where some end a segment's name: at its parameters, or at the end of a string in C.
_END_OF_NAME = re.compile(rb"[;\0]")


def checked_path(raw: bytes) -> str:
    """A path as it came, percent-encoding and all.

    Raises `InvalidRequestError` for one that means another to those who resolve dot segments, encoded or not: the
    backend may be such a one, and the route was chosen by what stands there.
    """
    if _PATH.fullmatch(raw) is None:
        raise InvalidRequestError("the path must begin with '/' and have all special characters percent-encoded")
    if b"." in (decoded := unquote_to_bytes(raw)) and any(
        _END_OF_NAME.split(segment, 1)[0] in (b".", b"..") for segment in _SEPARATORS.split(decoded)
    ):
        raise InvalidRequestError("the path must not have '.' or '..' for a segment")
    return raw.decode("ascii")


def check_query(raw: bytes) -> None:
    """Raises `InvalidRequestError` for a query that could not be sent on as it came."""
    if _QUERY.fullmatch(raw) is None:
        raise InvalidRequestError("the query must have all special characters percent-encoded")


def backend_path(path: str, match: PathMatch | None, rewrite: RewriteConfig | None) -> str:
    """The path that the backend sees, as the route that takes the request rewrites it."""
    if rewrite is None or rewrite.path_prefix is None:
        return path
    match match:
        case Exact():
            return rewrite.path_prefix
        case Prefix(value):
            rest = _after(path, value.rstrip("/"))
            replaced = rewrite.path_prefix.rstrip("/") + rest
            return replaced if replaced.startswith("/") else f"/{replaced}"
        case _:
            return path


def _after(path: str, prefix: str) -> str:
    """What follows a prefix that the decoded path begins with."""
    at = 0
    for _ in prefix.encode():
        at += 3 if path[at : at + 1] == "%" and len(unquote_to_bytes(path[at : at + 3])) == 1 else 1
    return path[at:]
