"""How many requests have ended, how many of them badly, and a word to who wants to hear of it soon."""

import time
from collections.abc import Callable
from typing import Final

# What nobody but the gateway or a backend can be blamed for, beside HTTP's 5xx.
_GRPC_FAILURES: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

# Between two words: the config server hears them of all nodes, and when a backend fails they all fail.
_QUIET_S: Final = 5.0


class FailureCount:
    """Counts since the node has started: `requests`, which whoever settles one adds to, and `failed` of them.

    `on_failure` is called for a failure, then for the first one some seconds later.
    """

    def __init__(self, on_failure: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = 0
        self.failed = 0
        self._on_failure = on_failure
        self._clock = clock
        self._quiet_until = float("-inf")

    def ended(self, status: str, reason: str) -> None:
        """Judges a request by its HTTP or gRPC status, and the reason of its error if there was one."""
        if is_failure(status, reason):
            self.failed += 1
            now = self._clock()
            if now >= self._quiet_until:
                self._quiet_until = now + _QUIET_S
                self._on_failure()


def is_failure(status: str, reason: str) -> bool:
    """Whether it failed by no fault of the caller. A stream that broke off has a good status, and a reason."""
    return status.startswith("5") or status in _GRPC_FAILURES or (reason != "" and (status[0] == "2" or status == "OK"))
