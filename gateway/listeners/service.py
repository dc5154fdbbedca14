"""What all listeners of a node share: the configuration in use, the count of requests in flight, and the accounting
that runs once for every request however it ends."""

import time
from collections.abc import Callable

from gateway.config.prices import PricedModel, cost
from gateway.context import RequestContext
from gateway.errors import UnavailableError
from gateway.listeners.failures import FailureCount
from gateway.pipeline import Pipeline
from gateway.telemetry.access_log import AccessLog, AccessLogEntry
from gateway.telemetry.metrics import Metrics
from gateway.types import Operation

# As OpenTelemetry's conventions call what models are asked for; it has no names yet for what is neither.
_OPERATIONS = {
    Operation.CHAT: "chat",
    Operation.EMBEDDINGS: "embeddings",
    Operation.RERANK: "rerank",
    Operation.IMAGES: "images",
    Operation.AUDIO: "audio",
    Operation.MODERATIONS: "moderations",
    Operation.INVOCATION: "generate_content",
}

# Most requests end so: nothing about them needs a second look.
_FINE = frozenset({"200", "OK"})


class GatewayService:
    """The node as its listeners see it. `pipeline` is replaced as a whole when the configuration changes."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        access_log: AccessLog,
        on_failure: Callable[[], None] = lambda: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.metrics = metrics
        self.failures = FailureCount(on_failure)
        self.pipeline: Pipeline | None = None
        self.active_requests = 0
        self.is_draining = False
        self._access_log = access_log
        self._wall_clock = wall_clock
        metrics.active_requests.set_function(lambda: self.active_requests)

    @property
    def is_ready(self) -> bool:
        """Whether the node takes traffic: it has a configuration and is not about to stop."""
        return self.pipeline is not None and not self.is_draining

    def pin(self) -> Pipeline:
        """The configuration for one request. Raises `UnavailableError` before the first one has come."""
        if self.pipeline is None:
            raise UnavailableError("this node has no configuration yet", reason="NOT_READY", retry_after_s=1.0)
        return self.pipeline

    def settle(self, context: RequestContext, status: str, reason: str = "") -> None:
        """Accounts for a request that has ended; `reason` is that of its error."""
        self.failures.requests += 1
        if reason or status not in _FINE:
            self.failures.ended(status, reason)
        now = time.perf_counter()
        seconds = now - context.started
        until_content = (context.first_content_at or now) - context.started
        overhead = max(0.0, until_content - context.upstream_seconds)
        metrics = self.metrics
        metrics.request(context.route, context.service, status, seconds=seconds, overhead_seconds=overhead)
        if context.is_streaming and context.first_content_at is not None:
            metrics.first_token(context.route, until_content)
        if (operation := _OPERATIONS.get(context.operation)) is not None and context.first_content_at is not None:
            metrics.inference(context.route, operation, seconds)
            if context.usage is not None:
                metrics.tokens(context.service, operation, context.usage)
                if context.is_streaming:
                    metrics.output_tokens(
                        context.route, operation, seconds - until_content, context.usage.output_tokens
                    )
        # What passes through is answered by refusals too; to count tokens costs none.
        is_answered = context.operation is not Operation.PROXY or not status.startswith(("4", "5"))
        is_charged = is_answered and context.operation is not Operation.COUNT_TOKENS
        if context.priced is not None and context.first_content_at is not None and is_charged:
            self._charge(context, context.priced)
        context.is_answered = not reason and context.first_content_at is not None
        if context.cache:
            metrics.cache(context.cache)
        for reservation in context.reservations:
            reservation.settle(context)
        if self._access_log.is_enabled:
            self._access_log.add(self._entry(context, status, reason, seconds))

    def settle_own_call(self, context: RequestContext) -> None:
        """Accounts for a call that the node has made beside a request: what it took, but no request."""
        context.is_answered = context.first_content_at is not None
        if context.usage is not None:
            self.metrics.tokens(context.service, _OPERATIONS[context.operation], context.usage)
        if context.priced is not None and context.is_answered:
            self._charge(context, context.priced)
        for reservation in context.reservations:
            reservation.settle(context)

    def _charge(self, context: RequestContext, priced: PricedModel) -> None:
        """Notes what an answered request has cost. What is not known is counted as that, not as nothing."""
        if priced.price is None:
            self.metrics.unknown_cost(context.service, priced.label, "NO_PRICE")
            return
        context.cost_usd = cost(context.usage, priced.price)
        if context.cost_usd is None:
            self.metrics.unknown_cost(context.service, priced.label, "NO_USAGE")
        else:
            self.metrics.cost(context.service, priced.label, context.cost_usd)

    def _entry(self, context: RequestContext, status: str, reason: str, seconds: float) -> AccessLogEntry:
        return AccessLogEntry(
            time=round(self._wall_clock(), 3),
            request_id=context.request_id,
            protocol=context.protocol,
            method=context.method,
            path=context.path,
            status=status,
            duration_ms=round(seconds * 1000, 3),
            model=context.model,
            route=context.route,
            service=context.service,
            endpoint=context.endpoint,
            consumer=context.consumer.name if context.consumer else "",
            attempts=context.attempts,
            client=context.client_address,
            stream=context.is_streaming,
            reason=reason,
            input_tokens=context.usage.input_tokens if context.usage else 0,
            output_tokens=context.usage.output_tokens if context.usage else 0,
            cost_usd=context.cost_usd,
            cache=context.cache,
        )
