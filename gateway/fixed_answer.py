"""Answers that a route gives itself: redirects and direct responses."""

from gateway.config.snapshot import DirectResponseConfig, RedirectConfig
from gateway.context import RequestContext
from gateway.errors import FixedAnswerError


def fixed_answer(config: RedirectConfig | DirectResponseConfig, context: RequestContext) -> FixedAnswerError:
    """The answer to a request, to be raised."""
    match config:
        case DirectResponseConfig():
            headers = ((b"content-type", config.content_type.encode()),)
            return FixedAnswerError(status=config.status, headers=headers, body=config.body.encode())
        case RedirectConfig():
            location = (b"location", _location(config, context).encode("latin-1", "replace"))
            return FixedAnswerError(status=config.status, headers=(location,), body=b"")


def _location(config: RedirectConfig, context: RequestContext) -> str:
    """What is not configured stays as requested; without a host the reference is relative to the one asked."""
    query = context.query_string.decode("latin-1")
    target = config.path or (context.path + (f"?{query}" if query else ""))
    host = config.host
    if host is None and config.scheme is not None:
        host = context.headers.get(b"host", b"").decode("latin-1")
    if host is None:
        return target
    return f"{config.scheme}://{host}{target}" if config.scheme else f"//{host}{target}"
