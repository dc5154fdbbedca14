"""The credentials of one service: which one the next attempt takes, and which are left alone for a while."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from random import Random

from gateway.config.credential import CredentialConfig
from gateway.config.resources import CredentialReport
from gateway.config.snapshot import Failure
from gateway.errors import GatewayError, RateLimitedError, UnavailableError
from gateway.providers.credential import Credential, make_credential
from gateway.upstream.balancing.schedule import Schedule
from gateway.upstream.retry import AttemptFailedError

# What speaks against the credential, and not against the provider.
_REFUSALS = (Failure.UNAUTHENTICATED, Failure.PERMISSION_DENIED, Failure.RATE_LIMITED, Failure.NO_CREDENTIAL)

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0
# A key that is refused for a day may have been bought more quota meanwhile; trying it once costs nothing.
_LONGEST_ASKED_PAUSE_S = 3600.0


class PooledKey:
    """One credential with its state. `fresh_at` is a time of the pool's clock."""

    __slots__ = ("config", "credential", "fresh_at", "reason", "refusals", "refusals_in_a_row")

    def __init__(self, config: CredentialConfig, credential: Credential) -> None:
        self.config = config
        self.credential = credential
        self.fresh_at = 0.0
        self.reason: Failure | None = None
        self.refusals = 0
        self.refusals_in_a_row = 0

    def __repr__(self) -> str:
        return f"<PooledKey {self.config.secret}>"


class CredentialPool:
    """Keys that are taken in turn, by weight. One that is the only one is never left alone. A change of the
    configuration keeps the state of every key that stays. `clock` is in seconds."""

    def __init__(
        self,
        configs: Sequence[CredentialConfig],
        *,
        random: Random,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._clock = clock
        self._now = now
        self._keys: tuple[PooledKey, ...] = ()
        self._turns: Schedule[PooledKey] = Schedule(random, lambda key: key.config.weight)
        self.reconfigure(configs)

    def reconfigure(self, configs: Sequence[CredentialConfig]) -> None:
        """Takes the credentials of a new configuration."""
        known = {(key.config.secret, key.config.key): key for key in self._keys}
        keys = []
        for config in configs:
            key = known.get((config.secret, config.key))
            if key is None:
                key = PooledKey(config, self._make_credential(config))
            key.config = config
            keys.append(key)
        self._keys = tuple(keys)
        self._turns.update(keys)

    def _make_credential(self, config: CredentialConfig) -> Credential:
        return make_credential(config.key, clock=self._clock, wall_clock=lambda: self._now().timestamp())

    @property
    def has_fresh(self) -> bool:
        """Whether there is a key that is not left alone."""
        now = self._clock()
        return any(key.fresh_at <= now for key in self._keys)

    def choose(self, avoided: Collection[PooledKey]) -> PooledKey:
        """The key whose turn it is, one to be avoided only if no other is fresh. Raises `AttemptFailedError` if all are
        left alone."""
        now = self._clock()
        resting = {key for key in self._keys if key.fresh_at > now}
        key = self._turns.next(resting.union(avoided))
        if key is None and avoided:
            key = self._turns.next(resting)
        if key is None:
            raise self._exhausted(now)
        return key

    def has_other(self, avoided: Collection[PooledKey]) -> bool:
        """Whether there is a fresh key that is not to be avoided."""
        now = self._clock()
        return any(key.fresh_at <= now and key not in avoided for key in self._keys)

    def refused(self, key: PooledKey, failure: AttemptFailedError, reason: Failure) -> None:
        """Leaves a key alone for a while. A refusal of one that is left alone already, by a request that was under way,
        can only make it longer if the provider says so."""
        key.refusals += 1
        key.reason = reason
        if reason is Failure.UNAUTHENTICATED:
            key.credential.refused()
        if len(self._keys) == 1:
            return
        now = self._clock()
        asked_s = failure.error.retry_after_s
        if asked_s is not None:
            pause_s = min(asked_s, _LONGEST_ASKED_PAUSE_S)
        elif key.fresh_at > now:
            return
        else:
            pause_s = min(_FIRST_PAUSE_S * 2.0**key.refusals_in_a_row, _LONGEST_PAUSE_S)
            key.refusals_in_a_row += 1
        key.fresh_at = max(key.fresh_at, now + pause_s)

    def forgive(self, key: PooledKey) -> None:
        """Takes a key that is left alone back."""
        key.fresh_at = 0.0
        key.refusals_in_a_row = 0

    def describe(self, upstream: str) -> list[CredentialReport]:
        """How each key is now."""
        clock, now = self._clock(), self._now()
        return [
            CredentialReport(
                upstream=upstream,
                secret=key.config.secret,
                weight=key.config.weight,
                is_fresh=key.fresh_at <= clock,
                reason=key.reason.name.lower() if key.reason is not None and key.fresh_at > clock else "",
                refusals=key.refusals,
                fresh_at=now + timedelta(seconds=key.fresh_at - clock) if key.fresh_at > clock else None,
            )
            for key in self._keys
        ]

    def _exhausted(self, now: float) -> AttemptFailedError:
        wait_s = max(min(key.fresh_at for key in self._keys) - now, 0.0)
        error: GatewayError
        if any(key.reason is Failure.RATE_LIMITED for key in self._keys):
            text = "the provider's limits are reached for all of the service's credentials"
            error = RateLimitedError(text, reason="CREDENTIALS_EXHAUSTED", retry_after_s=wait_s)
            return AttemptFailedError(error, Failure.RATE_LIMITED)
        text = "the provider refuses all of the service's credentials; check its secrets"
        error = UnavailableError(text, reason="CREDENTIALS_EXHAUSTED", retry_after_s=wait_s)
        return AttemptFailedError(error, Failure.NO_CREDENTIAL)


class CredentialTurn:
    """The keys that one request takes, attempt after attempt: never one again that was refused while another is
    fresh."""

    def __init__(self, pool: CredentialPool) -> None:
        self._pool = pool
        self._refused: dict[PooledKey, Failure] = {}
        self._key: PooledKey | None = None

    def next(self) -> Credential:
        """The credential of the next attempt. Raises `AttemptFailedError` if all are left alone."""
        self._key = self._pool.choose(self._refused)
        return self._key.credential

    def succeeded(self) -> None:
        """Notes that the provider took the credential."""
        if self._key is not None and self._key.refusals_in_a_row:
            self._pool.forgive(self._key)

    def goes_on(self, failure: AttemptFailedError) -> bool:
        """Takes a failure of the attempt, and tells whether the request may go on with another credential at once."""
        reason = next((each for each in failure.failures if each in _REFUSALS), None)
        if reason is None or self._key is None:
            return False
        self._refused[self._key] = reason
        self._pool.refused(self._key, failure, reason)
        if self._pool.has_other(self._refused):
            return True
        # A request that no key may make is no reason to keep the others from them.
        for key, why in self._refused.items():
            if why is Failure.PERMISSION_DENIED:
                self._pool.forgive(key)
        return False
