"""When two requests are the same: the key that an answer is kept under. Pure.

Whatever can change the answer is in the key or does not reach the backend: `seen_headers` are all that backends get of
a caller's headers when the answer may be kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any, Final

import msgspec

from gateway.context import RequestContext
from gateway.types import WholeRequest

Headers = Mapping[bytes, bytes]

# The first part of the scope of answers that only one consumer gets.
OF_CONSUMER: Final = "consumer"

# Parts that are encoded so cannot be shifted into each other.
_encode = msgspec.msgpack.Encoder().encode

# For the next hop, for the node itself, made anew for each backend, or of no concern to any.
_NOT_SEEN = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"upgrade-insecure-requests",
        b"host", b"content-length", b"content-type", b"accept", b"accept-encoding", b"expect", b"priority",
        b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie",
        b"x-request-id", b"cache-control", b"pragma",
        b"traceparent", b"tracestate",
        b"user-agent", b"x-goog-api-client", b"x-client-name", b"baggage", b"forwarded", b"via", b"x-real-ip",
    }
)  # fmt: skip
_NOT_SEEN_PREFIXES = (b"x-stainless-", b"x-forwarded-", b"x-janua-", b"grpc-", b":")

# They say where a request comes from in a trace, and nothing of what is wanted.
_OF_TRACES = (b"traceparent", b"tracestate")


def seen_headers(sent: Headers) -> dict[bytes, bytes]:
    """What backends may see of a caller's headers, traces aside."""
    unseen = _NOT_SEEN
    if (connection := sent.get(b"connection")) is not None:
        unseen = unseen | {name.strip().lower() for name in connection.split(b",")}
    return {
        name: value for name, value in sent.items() if name not in unseen and not name.startswith(_NOT_SEEN_PREFIXES)
    }


def headers_to_show(seen: Headers, sent: Headers) -> Headers:
    """What backends may see, with those of the caller's headers that say where the request stands in a trace."""
    of_trace = {name: sent[name] for name in _OF_TRACES if name in sent}
    return {**seen, **of_trace} if of_trace else seen


def request_key(
    context: RequestContext,
    *,
    scope: tuple[str, ...],
    version: bytes,
    form: str,
    effective: bytes,
    seen: Headers,
    shape: Sequence[bytes] = (),
) -> str:
    """The key of a request. `form` says how the answer is written, `effective` what is asked, with insignificant
    differences taken out; `version` is that of the configuration that shapes the answer, `shape` what policies add to
    it for this caller."""
    asked = (
        version,
        context.protocol,
        context.operation.name,
        form,
        context.model.encode("utf-8", "surrogatepass"),
        context.is_streaming,
        effective,
        scope,
        sorted(seen.items()),
        shape,
    )
    return f"{context.route}/{_caller(scope)}/{sha256(_encode(asked)).hexdigest()}"


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """Some of all keys: those of a route, those that only one consumer shares; None: whatever route or caller."""

    route: str | None = None
    consumer: str | None = None

    @property
    def glob(self) -> str:
        """With `*` for anything."""
        return f"{self.route or '*'}/{'*' if self.consumer is None else _caller((OF_CONSUMER, self.consumer))}/*"

    def matches(self, key: str) -> bool:
        """Whether the key is one of them."""
        route, caller, _ = key.split("/")
        if self.route is not None and route != self.route:
            return False
        return self.consumer is None or caller == _caller((OF_CONSUMER, self.consumer))


ALL_KEYS: Final = KeyPattern()


@lru_cache(maxsize=4096)
def _caller(scope: tuple[str, ...]) -> str:
    """Of fixed length and without special characters, which names of callers that issuers give may have."""
    return blake2b("\0".join(scope).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def canonical_json(body: bytes) -> bytes | None:
    """The JSON without white space, and with members in order; None for what is not JSON, or may mean different things
    to different readers: an object with two members of the same name."""
    try:
        value = msgspec.json.decode(body)
        written = msgspec.json.encode(value, order="sorted")
        # Members that occur twice are lost on the way, each with its colon. Only an escaped colon, `\u003a`, which is
        # none before, could make up for one. A single byte is found ten times as fast as several.
        hides_colons = b"\\" in body and b"\\u003" in body
        if (hides_colons or written.count(b":") != body.count(b":")) and _has_twins(body):
            return None
        return written
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        return None


def effective_request(request: WholeRequest) -> bytes | None:
    """What has been read, as bytes: every field, and of which kind each part is. None if it cannot be written so."""
    try:
        return msgspec.msgpack.encode(request, order="sorted")
    except (msgspec.MsgspecError, OverflowError, TypeError, ValueError, RecursionError):
        return None


class _TwinError(ValueError):
    """Two members have the same name."""


def _has_twins(body: bytes) -> bool:
    try:
        json.loads(body, object_pairs_hook=_checked)
    except _TwinError:
        return True
    return False


def _checked(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _TwinError
