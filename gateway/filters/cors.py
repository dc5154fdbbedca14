"""Web pages of other origins: the `cors` policy (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

import re
from collections.abc import Sequence

from gateway.config.snapshot import CorsConfig
from gateway.context import RequestContext
from gateway.filters.phases import CrossOrigin, HeaderList, Preflight

_ANY = "*"

# What browsers let pages send unasked, or what every body of JSON needs.
_ALWAYS_ALLOWED = ("accept", "accept-language", "content-language", "content-type", "range")

_HOST_LABELS = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


class Cors(CrossOrigin):
    """Tells browsers which pages may call, and may read the answers."""

    def __init__(self, config: CorsConfig) -> None:
        self._config = config
        self._is_for_all = _ANY in config.allow_origins
        self._origins = frozenset(config.allow_origins)
        self._patterns = [origin.split(_ANY) for origin in config.allow_origins if _ANY in origin and origin != _ANY]
        self._headers = frozenset((*config.allow_headers, *_ALWAYS_ALLOWED))
        self._header_prefixes = tuple(name[:-1] for name in config.allow_headers if name.endswith(_ANY))

    def allows(self, origin: bytes) -> bool:
        """Whether pages of that origin may call."""
        text = origin.decode("latin-1")
        return self._is_for_all or text in self._origins or any(_fits(text, *pattern) for pattern in self._patterns)

    def mark(self, context: RequestContext) -> None:
        """Has the answer say who may read it; over HTTP, for no browser speaks gRPC. That this depends on the origin is
        told to all, for caches keep answers for others."""
        if context.protocol != "http":
            return
        context.answers_for_origins = True
        origin = context.headers.get(b"origin", b"")
        if self._is_for_all or (origin and self.allows(origin)):
            context.answer_headers += self._readable_by(origin)
            if self._config.expose_headers:
                context.answer_headers.append((b"access-control-expose-headers", _join(self._config.expose_headers)))
        else:
            context.answer_headers.append((b"vary", b"origin"))

    def preflight(self, asked: Preflight) -> HeaderList | None:
        """The headers of the answer to a preflight; None if what it asks for is not allowed."""
        if not self.allows(asked.origin) or asked.method not in self._config.allow_methods:
            return None
        if not all(map(self._allows_header, asked.headers)):
            return None
        headers = [
            *self._readable_by(asked.origin),
            (b"access-control-allow-methods", _join(self._config.allow_methods)),
        ]
        if asked.headers:
            headers.append((b"access-control-allow-headers", _join(asked.headers)))
        if self._config.max_age_s is not None:
            headers.append((b"access-control-max-age", b"%d" % self._config.max_age_s))
        headers.append((b"vary", b"access-control-request-method, access-control-request-headers"))
        return headers

    def _allows_header(self, name: str) -> bool:
        if _HEADER_NAME.fullmatch(name) is None:
            return False
        return name in self._headers or name.startswith(self._header_prefixes)

    def _readable_by(self, origin: bytes) -> HeaderList:
        if self._is_for_all:
            return [(b"access-control-allow-origin", b"*")]
        headers = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if self._config.allow_credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        return headers


def _fits(origin: str, before: str, after: str) -> bool:
    """Whether the origin is that of a host below the one of `https://*.example.com`."""
    if not origin.startswith(before) or not origin.endswith(after):
        return False
    return _HOST_LABELS.fullmatch(origin[len(before) : len(origin) - len(after)]) is not None


def _join(values: Sequence[str]) -> bytes:
    return ", ".join(values).encode()
