"""When a failed attempt is made again, and after which wait. Pure."""

from dataclasses import dataclass
from random import Random

from gateway.config.snapshot import Failure, RetryConfig
from gateway.errors import GatewayError


class AttemptFailedError(Exception):
    """An attempt failed before the client could see anything of it.

    `failures` are the classes that a retry policy or a fallback may name, the most telling first; none: it is never
    made again. `error` is what the client gets if nothing else is tried.
    """

    def __init__(self, error: GatewayError, *failures: Failure) -> None:
        super().__init__(error.message)
        self.error = error
        self.failures = failures

    @property
    def result(self) -> str:
        """One word for the metrics."""
        return self.failures[0].name.lower() if self.failures else "failed"


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What a retry policy allows one request on one backend. `can_move_on` says that there are other backends."""

    config: RetryConfig
    random: Random
    can_move_on: bool = False

    def wait_before_retry(self, attempts: int, failure: AttemptFailedError, *, is_same_endpoint: bool) -> float | None:
        """Seconds to wait after that many attempts, the last of which failed so; None if no more may be made.

        Exponential back-off with full jitter. An endpoint that asked for a pause, and is the only one, gets it.
        """
        config = self.config
        if attempts > config.num_retries or config.retry_on.isdisjoint(failure.failures):
            return None
        bound = min(config.max_interval_s, config.base_interval_s * 2.0 ** (attempts - 1))
        wait_s = self.random.uniform(0, bound)
        pause_s = failure.error.retry_after_s
        if not config.respect_retry_after or not is_same_endpoint or pause_s is None:
            return wait_s
        if self.can_move_on and pause_s > config.max_interval_s:
            return None
        return max(wait_s, pause_s)
