"""What browsers ask before a page of another origin may call: answered by the node, before authentication, but not to
addresses that may not call.

A preflight tells neither the model nor the headers of the request that is to follow: it is allowed by the most specific
route for its host, path and method whose `cors` policy allows what it asks.
"""

from collections.abc import Iterable

from gateway.context import RequestContext
from gateway.errors import GatewayError, PermissionDeniedError
from gateway.filters.phases import CrossOrigin, Preflight
from gateway.listeners.errors import ErrorAnswer, problem
from gateway.listeners.http_exchange import HttpExchange
from gateway.pipeline import CrossOrigins


class PreflightErrors:
    """Errors as browsers show them to who wrote the page."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`application/problem+json`."""
        return problem(error)

    def event(self, error: GatewayError) -> bytes | None:
        """Nothing is streamed."""
        return None


class PreflightListener:
    """Answers one preflight by these policies, or with their refusal; one of both is there."""

    errors = PreflightErrors()

    def __init__(self, found: CrossOrigins, asked: Preflight) -> None:
        self._found = found
        self._asked = asked

    async def handle(self, exchange: HttpExchange) -> None:
        """The whole answer. Raises `PermissionDeniedError` for what no policy allows."""
        exchange.end_after_body()
        if self._found.refusal is not None:
            raise self._found.refusal
        for policy in self._found.policies:
            if (headers := policy.preflight(self._asked)) is not None:
                await exchange.answer(204, headers, b"")
                return
        text = "pages of this origin may not call here with this method and these headers"
        raise PermissionDeniedError(text, reason="ORIGIN_NOT_ALLOWED")


def read_preflight(context: RequestContext) -> Preflight | None:
    """What a request asks, if it is a preflight."""
    origin = context.headers.get(b"origin")
    method = context.headers.get(b"access-control-request-method")
    if context.method != "OPTIONS" or not origin or not method:
        return None
    names = context.headers.get(b"access-control-request-headers", b"").decode("latin-1").lower().split(",")
    headers = tuple(name.strip() for name in names if name.strip())
    return Preflight(origin=origin, method=method.decode("latin-1"), headers=headers)


def mark_for(context: RequestContext, policies: Iterable[CrossOrigin]) -> None:
    """Has an answer that no route gives be readable by the pages that one of these policies allows."""
    origin = context.headers.get(b"origin", b"")
    for policy in policies:
        if policy.allows(origin):
            policy.mark(context)
            return
