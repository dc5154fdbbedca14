"""A call of an upstream: attempts on one endpoint after another until one answers or the retry policy is exhausted."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from gateway.config.snapshot import RetryConfig
from gateway.context import RequestContext
from gateway.errors import TimeoutExceededError, UnavailableError
from gateway.telemetry.metrics import Metrics
from gateway.upstream.answer import Answer
from gateway.upstream.attempt import UpstreamRequest, attempt
from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.retry import AttemptFailedError, RetryBudget


class Caller:
    """Makes calls. One per node."""

    def __init__(
        self, *, metrics: Metrics, random: Random, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._metrics = metrics
        self._random = random
        self._sleep = sleep

    async def call(
        self, cluster: Cluster, request: UpstreamRequest, retry: RetryConfig, context: RequestContext
    ) -> Answer:
        """The first answer that can be committed to. Notes attempts and endpoint in the context.

        Raises the error of the last attempt, `UnavailableError` when no endpoint takes requests, and
        `TimeoutExceededError` when the request's deadline passes first.
        """
        try:
            async with asyncio.timeout_at(request.deadline):
                return await self._try_endpoints(cluster, request, RetryBudget(retry, self._random), context)
        except TimeoutError:
            raise TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED") from None

    async def _try_endpoints(
        self, cluster: Cluster, request: UpstreamRequest, budget: RetryBudget, context: RequestContext
    ) -> Answer:
        tried: set[Endpoint] = set()
        while True:
            endpoint = cluster.pick(tried)
            if endpoint is None:
                message = f"no endpoint of {cluster.name} takes requests"
                raise UnavailableError(message, reason="NO_ENDPOINT", retry_after_s=1.0)
            tried.add(endpoint)
            context.attempts += 1
            context.endpoint = endpoint.address
            try:
                answer = await attempt(cluster, endpoint, request)
            except AttemptFailedError as failure:
                self._metrics.attempt(cluster.name, failure.kind.name.lower() if failure.kind else "failed")
                wait_s = budget.wait_before_retry(context.attempts, failure.kind)
                if wait_s is None:
                    raise failure.error from failure
                await self._sleep(wait_s)
            else:
                self._metrics.attempt(cluster.name, "ok")
                return answer
