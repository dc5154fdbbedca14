"""CEL expressions in policies, and what they can speak of. The library is imported when the first is compiled."""

from typing import Any

from gateway.context import RequestContext


class ExpressionFailedError(Exception):
    """An expression has no value for this request: it speaks of what is not there, mixes types, or divides by 0."""


class Expression:
    """An expression that `janua_resources.expressions` found nothing wrong with."""

    def __init__(self, text: str) -> None:
        import cel

        self._program = cel.compile(text)

    def evaluate(self, values: dict[str, Any]) -> Any:
        """Its value: a bool, number, text, list or mapping. Raises `ExpressionFailedError`."""
        try:
            return self._program.execute(values)
        except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError) as error:
            raise ExpressionFailedError(str(error)) from None


def request_values(context: RequestContext) -> dict[str, Any]:
    """What expressions can speak of: `request`, `consumer` and `route`. Credentials are not among the headers."""
    consumer = context.consumer
    return {
        "request": {
            "id": context.request_id,
            "method": context.method,
            "path": context.path,
            "host": context.host,
            "protocol": context.protocol,
            "operation": context.operation.name.lower(),
            "model": context.model,
            "is_streaming": context.is_streaming,
            "client_address": context.client_address,
            "headers": {
                name.decode("latin-1"): value.decode("utf-8", "replace")
                for name, value in context.headers.items()
                if name not in _CREDENTIALS
            },
            "query": dict(context.query),
        },
        "consumer": {
            "name": context.consumer_name,
            "groups": sorted(context.groups),
            "labels": dict(consumer.labels) if consumer else {},
        },
        "route": context.route,
    }


_CREDENTIALS = frozenset(
    {b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie"}
)
