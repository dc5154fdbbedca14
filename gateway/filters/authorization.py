"""Who may ask for what: the `authorization` policy."""

from gateway.config.snapshot import AllowedRequests, AuthorizationConfig
from gateway.context import RequestContext
from gateway.errors import PermissionDeniedError
from gateway.filters.expressions import Expression, ExpressionFailedError, request_values
from gateway.filters.phases import Authorizer


class Authorization(Authorizer):
    """Allows requests that are in a list and that an expression is true of, where there are these."""

    def __init__(self, config: AuthorizationConfig) -> None:
        self._config = config
        self._expression = Expression(config.expression) if config.expression else None

    def authorize(self, context: RequestContext) -> None:
        """Raises `PermissionDeniedError` for what is not allowed."""
        allow = self._config.allow
        if allow and not any(_is_one_of(context, each) for each in allow):
            who = f"consumer '{context.consumer_name}'" if context.consumer else "an anonymous caller"
            what = f"the model '{context.model}'" if context.model else "this"
            raise PermissionDeniedError(f"{who} may not use {what}")
        if self._expression is not None and not _is_true(self._expression, context):
            raise PermissionDeniedError("this request is not allowed here")


def _is_one_of(context: RequestContext, allowed: AllowedRequests) -> bool:
    if allowed.consumers and context.consumer_name not in allowed.consumers:
        return False
    if allowed.groups and allowed.groups.isdisjoint(context.groups):
        return False
    return not allowed.models or any(_is_model(context.model, pattern) for pattern in allowed.models)


def _is_model(model: str, pattern: str) -> bool:
    if not model:
        return False
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _is_true(expression: Expression, context: RequestContext) -> bool:
    try:
        return expression.evaluate(request_values(context)) is True
    except ExpressionFailedError:
        return False
