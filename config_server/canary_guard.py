"""Ends a canary by itself: when one of its nodes refuses it, or too many requests fail on them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog
from janua.config.v1.config_service_pb2 import NodeRollout, Rejection

from config_server.errors import ApiError
from config_server.failure_tally import FailureTally
from config_server.nodes import NodeRegistry
from config_server.proposal import Proposal
from config_server.revision_signal import RevisionSignal, SignalClosedError
from config_server.rollout import ChangedVersions, node_rollout, rejections_of
from config_server.snapshot_cache import CanaryView, SnapshotCache
from config_server.store.base import StoreUnavailableError

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

# Below so many requests a share says nothing.
MIN_REQUESTS: Final = 20
AUTHOR: Final = "canary guard"

_EVERY_S: Final = 1.0
# Answers of many nodes that come close together are looked at together.
_JOINED_S: Final = 0.05


class Abort(Protocol):
    """Ends the canary of that revision. Raises ApiError if it does not run any more."""

    def __call__(
        self, *, revision: int, author: str, reason: str, refusals: Mapping[str, Sequence[Rejection]]
    ) -> Awaitable[int]: ...


class CanaryGuard:
    """Looks at the canary's nodes whenever one of them has said something, and each second."""

    def __init__(
        self,
        *,
        cache: SnapshotCache,
        nodes: NodeRegistry,
        signal: RevisionSignal,
        abort: Abort,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._nodes = nodes
        self._signal = signal
        self._abort = abort
        self._clock = clock
        self._revision = 0
        self._tally = FailureTally()

    def tally(self, revision: int) -> FailureTally:
        """What has been counted for the canary of that revision."""
        if revision != self._revision:
            self._revision, self._tally = revision, FailureTally()
        return self._tally

    async def run(self) -> None:
        """Until cancelled, or until the signal is closed."""
        with suppress(SignalClosedError):
            while True:
                canary = self._cache.canary
                if canary is None:
                    await self._signal.beyond(self._signal.revision)
                    continue
                seen = self._nodes.changes.number
                await self._look(canary)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_EVERY_S):
                        await self._nodes.changes.beyond(seen)
                await asyncio.sleep(_JOINED_S)

    async def _look(self, canary: CanaryView) -> None:
        proposal, versions = canary.proposal, canary.versions()
        refusals = self._refusals(proposal, versions)
        reason = _refused(refusals) if refusals else self._failing(proposal, versions)
        if not reason:
            return
        try:
            await self._abort(revision=proposal.revision, author=AUTHOR, reason=reason, refusals=refusals)
        except ApiError as error:
            _log.info("the canary was not aborted", revision=proposal.revision, reason=str(error))
        except StoreUnavailableError as error:
            _log.error("the canary could not be aborted: it is tried again", exc_info=error)
        else:
            _log.warning("the canary was aborted", revision=proposal.revision, reason=reason)

    def _refusals(self, proposal: Proposal, versions: ChangedVersions) -> Mapping[str, Sequence[Rejection]]:
        return {
            record.node_id: found
            for record in self._nodes.records()
            if record.is_connected and record.is_among(proposal.selection)
            if (found := rejections_of(record, versions))
        }

    def _failing(self, proposal: Proposal, versions: ChangedVersions) -> str:
        """Why too many requests fail; empty if they do not."""
        tally = self.tally(proposal.revision)
        for record in self._nodes.records():
            if record.status is None or not record.is_connected or not record.is_among(proposal.selection):
                continue
            if node_rollout(record, proposal.revision, versions).state == NodeRollout.STATE_SYNCED:
                tally.observe(record.node_id, record.status.requests, record.status.failed_requests, now=self._clock())
        limit = proposal.message.options.max_failed_percent
        if not limit or tally.requests < MIN_REQUESTS or tally.failed * 100 <= limit * tally.requests:
            return ""
        return f"{tally.failed} of {tally.requests} requests failed on its nodes, more than {limit}%"


def _refused(refusals: Mapping[str, Sequence[Rejection]]) -> str:
    node_id, (rejection, *_) = next(iter(refusals.items()))
    others = f" (and {len(refusals) - 1} more nodes)" if len(refusals) > 1 else ""
    kind = rejection.type_url.rpartition(".")[2].lower()
    return f"{node_id} refuses {kind} {rejection.name}: {rejection.message} ({rejection.reason}){others}"
