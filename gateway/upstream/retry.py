"""When a failed attempt is made again, and after which wait. Pure."""

from dataclasses import dataclass
from random import Random

from gateway.config.snapshot import RetryConfig, RetryOn
from gateway.errors import GatewayError


class AttemptFailedError(Exception):
    """An attempt failed before the client could see anything of it.

    `kind` is the class of failure that a retry policy may name, None if it is never retried; `error` is what the
    client gets if no other attempt is made.
    """

    def __init__(self, kind: RetryOn | None, error: GatewayError) -> None:
        super().__init__(error.message)
        self.kind = kind
        self.error = error


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """What a retry policy allows one request."""

    config: RetryConfig
    random: Random

    def wait_before_retry(self, attempts: int, kind: RetryOn | None) -> float | None:
        """Seconds to wait after that many attempts, the last of which failed so; None if no more may be made.

        Exponential back-off with full jitter.
        """
        config = self.config
        if attempts > config.num_retries or kind not in config.retry_on:
            return None
        bound = min(config.max_interval_s, config.base_interval_s * 2.0 ** (attempts - 1))
        return self.random.uniform(0, bound)
