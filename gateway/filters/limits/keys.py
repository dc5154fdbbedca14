"""For whom or what a limit counts apart: the keys of a request."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Final, TypeAlias

from gateway.config.limits import KeyConfig, LimitKey
from gateway.context import RequestContext
from gateway.filters.expressions import Expression, ExpressionFailedError, request_values

KeysOf: TypeAlias = Callable[[RequestContext], Sequence[str]]
"""The keys under which a request counts, mostly one. What does not tell counts under the empty one, with all others."""

_LONGEST: Final = 64


def keys_of(config: KeyConfig) -> KeysOf:
    """What reads the keys of requests."""
    match config.kind:
        case LimitKey.HEADER:
            name = config.header.encode()
            return lambda context: (_bounded(context.headers.get(name, b"").decode("latin-1")),)
        case LimitKey.EXPRESSION:
            return _of_expression(config.expression)
        case kind:
            return _OF_KIND[kind]


_OF_KIND: Final = {
    LimitKey.CONSUMER: lambda context: (context.consumer_name,),
    LimitKey.GROUP: lambda context: tuple(context.groups) or ("",),
    LimitKey.ROUTE: lambda context: (context.route,),
    LimitKey.SERVICE: lambda context: (context.service,),
    LimitKey.MODEL: lambda context: (_bounded(context.model),),
    LimitKey.IP: lambda context: (_network(context.client_address),),
}


def _network(address: str) -> str:
    """An IPv4 address; of an IPv6 address the 64 bits before those that its owner may choose at will."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or f"{IPv6Address(int(parsed) >> 64 << 64)}/64")


def _of_expression(text: str) -> KeysOf:
    expression = Expression(text)

    def keys(context: RequestContext) -> Sequence[str]:
        try:
            value = expression.evaluate(request_values(context))
        except ExpressionFailedError:
            return ("",)
        return ("" if value is None else _bounded(str(value)),)

    return keys


def _bounded(text: str) -> str:
    """A text that callers choose, or its digest: it takes memory for a while."""
    return (
        text
        if len(text) <= _LONGEST and "\0" not in text
        else blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    )
