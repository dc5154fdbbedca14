"""Passive health: who fails requests is left out for a while, longer each time. Pure; the rules are Envoy's."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from statistics import mean, pstdev
from typing import Generic, TypeVar

from gateway.config.upstream import OutlierConfig

T = TypeVar("T")

_LOCAL_ORIGIN_FAILURES = "connection failures or timeouts"


class Outcome(Enum):
    """What a request tells of the endpoint that answered it, or did not. A refusal (4xx) is a success: it is the
    request that was wrong."""

    SUCCESS = auto()
    SERVER_ERROR = auto()
    GATEWAY_FAILURE = auto()
    LOCAL_ORIGIN_FAILURE = auto()


@dataclass(slots=True)
class _Record:
    """What is known of one endpoint."""

    consecutive_5xx: int = 0
    consecutive_gateway_failure: int = 0
    consecutive_local_origin_failure: int = 0
    requests: int = 0
    successes: int = 0
    ejections: int = 0
    # How long the last ejection was, in base times; it shrinks with every interval without one.
    multiplier: int = 0
    was_ejected: bool = False  # in the present interval
    ejected_until: float | None = None
    since: datetime | None = None
    reason: str = ""

    def forget_failures(self) -> None:
        self.consecutive_5xx = self.consecutive_gateway_failure = self.consecutive_local_origin_failure = 0

    def forget_requests(self) -> None:
        self.requests = self.successes = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionState:
    """How an endpoint stands: how often it has been ejected, until when (of the detector's clock) it is, and why.
    `since` is when it was last ejected or came back."""

    ejections: int = 0
    ejected_until: float | None = None
    since: datetime | None = None
    reason: str = ""


@dataclass(slots=True)
class OutlierDetector(Generic[T]):
    """Watches the endpoints of one upstream. `on_change` is called when some have been ejected or come back.

    `clock` gives seconds. `sweep` must be called when `next_sweep` says so, for ejections to end.
    """

    config: OutlierConfig
    clock: Callable[[], float]
    on_change: Callable[[], None]
    now: Callable[[], datetime]
    _records: dict[T, _Record] = field(default_factory=dict)
    _ejected: int = 0
    _interval_began: float = 0.0

    def __post_init__(self) -> None:
        self._interval_began = self.clock()

    def set_hosts(self, hosts: Iterable[T]) -> None:
        """The endpoints from now on. What is known of those that stay is kept."""
        self._records = {host: self._records.get(host) or _Record() for host in hosts}
        self._count_ejected()

    def reconfigure(self, config: OutlierConfig) -> None:
        """Takes other thresholds. Ejections that are under way go on."""
        self.config = config

    def forget(self) -> None:
        """Brings all endpoints back as if nothing had been, for when nobody will sweep any more. The caller knows it:
        `on_change` is not called."""
        self._records = {host: _Record() for host in self._records}
        self._count_ejected()

    def record(self, host: T, outcome: Outcome) -> None:
        """Takes the outcome of a request into account, and ejects the endpoint if it is one too many."""
        record = self._records.get(host)
        if record is None or record.ejected_until is not None:
            return  # it has left; requests that were under way tell nothing new
        record.requests += 1
        if outcome is Outcome.SUCCESS:
            record.successes += 1
            if record.consecutive_5xx:
                record.forget_failures()
            return
        if (reason := self._count_failure(record, outcome)) is not None:
            self._eject(record, reason)

    def _count_failure(self, record: _Record, outcome: Outcome) -> str | None:
        """The reason to eject, if this failure is one too many."""
        config = self.config
        record.consecutive_5xx += 1
        is_gateway = outcome is not Outcome.SERVER_ERROR
        is_local = outcome is Outcome.LOCAL_ORIGIN_FAILURE
        record.consecutive_gateway_failure = record.consecutive_gateway_failure + 1 if is_gateway else 0
        record.consecutive_local_origin_failure = record.consecutive_local_origin_failure + 1 if is_local else 0
        limits = (
            (
                record.consecutive_local_origin_failure,
                config.consecutive_local_origin_failure,
                _LOCAL_ORIGIN_FAILURES,
            ),
            (record.consecutive_gateway_failure, config.consecutive_gateway_failure, "gateway failures"),
            (record.consecutive_5xx, config.consecutive_5xx, "server errors"),
        )
        return next((f"{count} {what} in a row" for count, limit, what in limits if limit and count >= limit), None)

    def is_ejected(self, host: T) -> bool:
        """Whether the endpoint is left out."""
        if not self._ejected:
            return False
        record = self._records.get(host)
        return record is not None and record.ejected_until is not None

    def state(self, host: T) -> EjectionState:
        """How the endpoint stands."""
        record = self._records.get(host)
        if record is None:
            return EjectionState()
        return EjectionState(
            ejections=record.ejections,
            ejected_until=record.ejected_until,
            since=record.since,
            reason=f"ejected: {record.reason}",
        )

    def unmark(self, host: T) -> None:
        """Brings an endpoint back at once, because an active check has found it well."""
        record = self._records.get(host)
        if record is not None and record.ejected_until is not None:
            self._bring_back(record)
            self.on_change()

    def next_sweep(self) -> float:
        """When `sweep` is due: at the end of the interval, or of an ejection if that is earlier."""
        ends = (record.ejected_until for record in self._records.values() if record.ejected_until is not None)
        return min([self._interval_began + self.config.interval_s, *ends])

    def sweep(self) -> None:
        """Ends the ejections whose time is over and, at the end of an interval, compares success rates."""
        now = self.clock()
        returned = [
            record
            for record in self._records.values()
            if record.ejected_until is not None and record.ejected_until <= now
        ]
        for record in returned:
            self._bring_back(record)
        if now >= self._interval_began + self.config.interval_s:
            self._interval_began = now
            self._end_interval()
        if returned:
            self.on_change()

    def _end_interval(self) -> None:
        for record in self._records.values():
            is_calm = record.ejected_until is None and not record.was_ejected
            record.was_ejected = False
            if is_calm and record.multiplier:
                record.multiplier -= 1
        if self.config.enforcing_success_rate:
            for record in self._success_rate_outliers():
                rate = 100 * record.successes / record.requests
                self._eject(record, f"success rate of {rate:.0f} % far below that of others")
        for record in self._records.values():
            record.forget_requests()

    def _success_rate_outliers(self) -> Sequence[_Record]:
        """Endpoints whose share of successes is below mean - factor * standard deviation."""
        config = self.config
        busy = [
            record
            for record in self._records.values()
            if record.ejected_until is None and record.requests >= config.success_rate_request_volume
        ]
        if len(busy) < config.success_rate_minimum_hosts:
            return ()
        rates = [record.successes / record.requests for record in busy]
        # The mean of equal rates must be that rate to the last bit, or all would be below it.
        threshold = mean(rates) - config.success_rate_stdev_factor * pstdev(rates)
        return [record for record, rate in zip(busy, rates, strict=True) if rate < threshold]

    def _eject(self, record: _Record, reason: str) -> None:
        """Ejects, unless too many are already. One may always be."""
        if self._ejected and 100 * (self._ejected + 1) > self.config.max_ejection_percent * len(self._records):
            return
        config = self.config
        # What is over the longest time would only take longer to shrink.
        if record.multiplier * config.base_ejection_time_s < config.max_ejection_time_s + config.base_ejection_time_s:
            record.multiplier += 1
        record.ejections += 1
        length_s = min(config.base_ejection_time_s * record.multiplier, config.max_ejection_time_s)
        record.ejected_until = self.clock() + length_s
        record.since = self.now()
        record.reason = reason
        record.forget_failures()
        record.forget_requests()
        self._count_ejected()
        self.on_change()

    def _bring_back(self, record: _Record) -> None:
        record.ejected_until = None
        record.was_ejected = True
        record.since = self.now()
        self._count_ejected()

    def _count_ejected(self) -> None:
        self._ejected = sum(record.ejected_until is not None for record in self._records.values())
