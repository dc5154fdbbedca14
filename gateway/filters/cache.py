"""Keeping of answers: the `cache` policy. What is asked of it, by whom, and under which key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config.snapshot import CacheConfig, CacheScope
from gateway.context import RequestContext
from gateway.filters.phases import AnswerKeeper
from gateway.response_cache.request_key import OF_CONSUMER
from gateway.response_cache.response_cache import ResponseCache

_SECONDS = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a caller wants. `max_age_s` None: any age will do; `reads` false: no kept answer will."""

    reads: bool = True
    max_age_s: float | None = None


_ANY = Wish()
_ANEW = Wish(reads=False)


class Cache(AnswerKeeper):
    """One policy, with the answers of the node."""

    def __init__(self, config: CacheConfig, answers: ResponseCache) -> None:
        self.config = config
        self.answers = answers

    def wish(self, context: RequestContext) -> Wish | None:
        """What the caller wants; None if its answer is to be neither read nor kept."""
        config = self.config
        if (
            config.bypass_groups
            and context.headers.get(b"x-janua-cache", b"").strip().lower() == b"bypass"
            and not config.bypass_groups.isdisjoint(context.groups)
        ):
            return None
        sent = context.headers.get(b"cache-control") if config.respect_cache_control else None
        return _ANY if sent is None else _wish(_directives(sent))

    def scope(self, context: RequestContext) -> tuple[str, ...]:
        """With whom the caller shares answers: all for whom this is the same."""
        match self.config.scope:
            case CacheScope.ROUTE:
                return ("route",)
            case CacheScope.GROUP if context.groups:
                return ("groups", *sorted(context.groups))
            case _:
                return (OF_CONSUMER, context.consumer_name) if context.consumer else ("anonymous",)


def _wish(directives: Mapping[bytes, bytes]) -> Wish | None:
    if b"no-store" in directives:
        return None
    if b"no-cache" in directives:
        return _ANEW
    max_age = directives.get(b"max-age")
    if max_age is None:
        return _ANY
    # What cannot be understood is stale (RFC 9111 section 4.2.1).
    return Wish(max_age_s=float(max_age)) if _SECONDS.fullmatch(max_age) and int(max_age) else _ANEW


def _directives(sent: bytes) -> Mapping[bytes, bytes]:
    """The directives of a `cache-control`, in lower case, with their arguments."""
    parts = (part.partition(b"=") for part in sent.lower().split(b","))
    return {name.strip(): value.strip().strip(b'"') for name, _, value in parts}
