"""Answers that a route gives itself: redirects and direct responses."""

from typing import Final
from urllib.parse import quote

from gateway.config.snapshot import DirectResponseConfig, RedirectConfig
from gateway.context import RequestContext
from gateway.errors import FixedAnswerError

# What may stand as it is in a path (RFC 3986 section 3.3), in a query, and in a host with its port.
_OF_PATH: Final = "/:@!$&'()*+,;=~"
_OF_QUERY: Final = _OF_PATH + "?[]"  # brackets are in wide use there, against the letter
_OF_HOST: Final = ":[]"


def fixed_answer(config: RedirectConfig | DirectResponseConfig, context: RequestContext) -> FixedAnswerError:
    """The answer to a request, to be raised."""
    match config:
        case DirectResponseConfig():
            headers = ((b"content-type", config.content_type.encode()),)
            return FixedAnswerError(status=config.status, headers=headers, body=config.body.encode())
        case RedirectConfig():
            location = (b"location", _location(config, context).encode())
            return FixedAnswerError(status=config.status, headers=(location,), body=b"")


def _location(config: RedirectConfig, context: RequestContext) -> str:
    """What is not configured stays as requested; without a host the reference is relative to the one asked.

    Whatever the client has sent, it ends no line and leads to no other host than the configured or the requested one.
    """
    target = config.path or _requested_target(context)
    host = config.host
    if host is None and config.scheme is not None:
        host = quote(context.headers.get(b"host", b""), safe=_OF_HOST)
    if not host:
        # Two slashes at the beginning would make what follows a host.
        return f"/.{target}" if target.startswith("//") else target
    return f"{config.scheme}://{host}{target}" if config.scheme else f"//{host}{target}"


def _requested_target(context: RequestContext) -> str:
    """Path and query as they came, with everything encoded that clients could read in another way than we do."""
    came = context.raw_path
    path = quote(came, safe=_OF_PATH + "%") if came else quote(context.path, safe=_OF_PATH)
    if not path.startswith("/"):
        path = f"/{path}"
    query = quote(context.query_string, safe=_OF_QUERY + "%")
    return f"{path}?{query}" if query else path
