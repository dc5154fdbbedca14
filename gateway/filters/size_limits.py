"""How large requests may be: the `size_limits` policy."""

from gateway.config.snapshot import SizeLimitsConfig
from gateway.context import RequestContext
from gateway.errors import HeadersTooLargeError, PayloadTooLargeError
from gateway.filters.phases import Authorizer, Screen


class SizeLimits(Screen, Authorizer):
    """Refuses larger requests: before authentication where the route says so, after it where the consumer does.

    Of a body that is still to come only its told length is looked at; who reads it heeds `max_body_bytes`.
    """

    def __init__(self, config: SizeLimitsConfig) -> None:
        self._max_header_bytes = config.max_header_bytes
        self.max_body_bytes = config.max_body_bytes

    def screen(self, context: RequestContext) -> None:
        """Raises `HeadersTooLargeError` and `PayloadTooLargeError`."""
        limit = self._max_header_bytes
        if limit is not None and sum(len(name) + len(value) for name, value in context.headers.items()) > limit:
            raise HeadersTooLargeError(f"the headers are larger than the limit of {limit} bytes")
        if self.max_body_bytes is not None and context.body_size is not None:
            check_body_size(context.body_size(), self.max_body_bytes)

    def authorize(self, context: RequestContext) -> None:
        """As `screen` does."""
        self.screen(context)


def check_body_size(size: int, limit: int) -> None:
    """Raises `PayloadTooLargeError` over the limit, in bytes."""
    if size > limit:
        raise PayloadTooLargeError(f"the body is larger than the limit of {limit} bytes")
