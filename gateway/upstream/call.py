"""A call of an upstream: attempts on one endpoint after another until one answers or the retry policy is exhausted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Protocol, TypeVar

from gateway.coarse_timers import TimeLimit
from gateway.config.snapshot import Failure, RetryConfig
from gateway.context import RequestContext
from gateway.errors import TimeoutExceededError, UnavailableError, UpstreamRejectedError, UpstreamStatusError
from gateway.providers.credential import Credential
from gateway.telemetry.metrics import Metrics
from gateway.upstream.circuit_breaker import BreakerOpenError
from gateway.upstream.cluster import Cluster
from gateway.upstream.credential_pool import CredentialTurn
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.lease import Lease
from gateway.upstream.outlier_detection import Outcome
from gateway.upstream.retry import AttemptFailedError, RetryPlan

A_co = TypeVar("A_co", covariant=True)
A = TypeVar("A")

_OUTCOMES: Mapping[Failure, Outcome | None] = {
    Failure.CONNECT_FAILURE: Outcome.LOCAL_ORIGIN_FAILURE,
    Failure.RESET: Outcome.LOCAL_ORIGIN_FAILURE,
    Failure.TIMEOUT: Outcome.LOCAL_ORIGIN_FAILURE,
    Failure.GATEWAY_ERROR: Outcome.GATEWAY_FAILURE,
    Failure.SERVER_ERROR: Outcome.SERVER_ERROR,
    Failure.NO_CREDENTIAL: None,  # nothing has been asked of the endpoint
}


class UpstreamRequest(Protocol[A_co]):
    """A request of some protocol that can be sent to one endpoint and, as long as it is whole, to another."""

    @property
    def deadline(self) -> float:
        """When all attempts must have come to an answer, as a time of the event loop's clock."""

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent once more. A body that streams by can not, once some of it has been read."""

    async def send(self, lease: Lease) -> A_co:
        """Sends it to the lease's endpoint and returns once its answer can be committed to.

        From then on the answer has the lease and closes it at its end. Raises `AttemptFailedError` for what may be
        tried again, `UpstreamRejectedError` and `UpstreamStatusError` for what the backend refused for good.
        """


class Caller:
    """Makes calls. One per node."""

    def __init__(
        self, *, metrics: Metrics, random: Random, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.metrics = metrics
        self._random = random
        self._sleep = sleep

    async def call(
        self,
        cluster: Cluster,
        request: UpstreamRequest[A],
        retry: RetryConfig,
        context: RequestContext,
        key: int | None = None,
        *,
        can_move_on: bool = False,
    ) -> A:
        """The first answer that can be committed to. Notes attempts and endpoint in the context.

        `key` tells which requests belong together, for balancers that care. `can_move_on` says that there is another
        backend, so that a pause an endpoint asks for need not be waited for. Raises `AttemptFailedError` with the error
        of the last attempt, what `send` raises for a request that was refused for good, and `TimeoutExceededError`
        when the request's deadline passes.
        """
        try:
            with TimeLimit(request.deadline):
                return await self._try_endpoints(cluster, request, retry, context, key, can_move_on)
        except TimeoutError:
            raise TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED") from None

    async def _try_endpoints(
        self,
        cluster: Cluster,
        request: UpstreamRequest[A],
        retry: RetryConfig,
        context: RequestContext,
        key: int | None,
        can_move_on: bool,
    ) -> A:
        tried: set[Endpoint] = set()
        attempts = 0
        is_retrying = False
        turn = CredentialTurn(cluster.credentials) if cluster.credentials is not None else None
        try:
            while True:
                credential = turn.next() if turn is not None else None
                lease = await _take_endpoint(cluster, key, tried, credential)
                tried.add(lease.endpoint)
                attempts += 1
                context.attempts += 1
                context.endpoint = lease.endpoint.address
                try:
                    answer = await self._attempt(lease, request, context)
                    if turn is not None:
                        turn.succeeded()
                    return answer
                except AttemptFailedError as failure:
                    if turn is not None and turn.goes_on(failure) and request.is_repeatable:
                        # The credential has failed, not the endpoint, and the policy is about endpoints.
                        tried.discard(lease.endpoint)
                        attempts -= 1
                        continue
                    is_same = not cluster.has_other(tried)
                    plan = RetryPlan(retry, self._random, can_move_on=can_move_on)
                    wait_s = plan.wait_before_retry(attempts, failure, is_same_endpoint=is_same)
                    if wait_s is None or not request.is_repeatable or _now() + wait_s >= request.deadline:
                        raise
                    if not is_retrying:
                        is_retrying = cluster.breaker.try_start_retry()
                        if not is_retrying:
                            raise
                with cluster.breaker.backing_off():
                    await self._sleep(wait_s)
        finally:
            if is_retrying:
                cluster.breaker.end_retry()

    async def _attempt(self, lease: Lease, request: UpstreamRequest[A], context: RequestContext) -> A:
        """One attempt, with what it tells of its endpoint noted."""
        cluster, endpoint = lease.cluster, lease.endpoint
        clock = asyncio.get_running_loop().time
        started = clock()
        outcome: Outcome | None = Outcome.SUCCESS
        result = "ok"
        is_kept = False
        try:
            answer = await request.send(lease)
            endpoint.latency.observe(clock() - started)
            is_kept = True
            return answer
        except AttemptFailedError as failure:
            result = failure.result
            outcome = next((_OUTCOMES[each] for each in failure.failures if each in _OUTCOMES), Outcome.SUCCESS)
            raise
        except (UpstreamRejectedError, UpstreamStatusError):
            result = "rejected"
            raise
        except BaseException:
            # Of the endpoint it says something only if it used up all the time that the configuration gives.
            is_timeout = clock() >= request.deadline and request.deadline != context.deadline
            result, outcome = ("timeout", Outcome.LOCAL_ORIGIN_FAILURE) if is_timeout else ("cancelled", None)
            raise
        finally:
            if not is_kept:
                lease.close()
            self.metrics.attempt(cluster.name, result)
            if outcome is not None:
                cluster.outliers.record(endpoint, outcome)


async def _take_endpoint(
    cluster: Cluster, key: int | None, tried: set[Endpoint], credential: Credential | None
) -> Lease:
    """A place at an endpoint. Waits while the circuit breaker says so."""
    breaker = cluster.breaker
    if not breaker.try_acquire():
        try:
            await breaker.acquire()
        except BreakerOpenError as error:
            message = f"too many requests to {cluster.name}: {error}"
            refusal = UnavailableError(message, reason="CIRCUIT_OPEN", retry_after_s=error.retry_after_s)
            raise AttemptFailedError(refusal, Failure.BREAKER_OPEN) from None
    endpoint = cluster.pick(key, tried)
    if endpoint is None:
        breaker.release()
        message = f"no endpoint of {cluster.name} takes requests"
        raise AttemptFailedError(
            UnavailableError(message, reason="NO_ENDPOINT", retry_after_s=1.0), Failure.NO_ENDPOINT
        )
    return Lease(cluster, endpoint, credential)


def _now() -> float:
    return asyncio.get_running_loop().time()
