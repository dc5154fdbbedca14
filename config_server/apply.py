"""Carries out Applies one after the other: plan in a thread, commit to the store, then let everybody know."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import ApplyRequest, ApplyResponse

from config_server.apply_plan import Plan, plan_apply
from config_server.batch import Batch, parse_batch
from config_server.errors import ApiError
from config_server.nodes import NodeRegistry
from config_server.revision_signal import RevisionSignal
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import AnsweredRequest, Commit, Store

REQUEST_IDS_KEPT: Final = timedelta(hours=24)

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

# Applies that wait for their turn. Beyond that a caller is told to come back.
_MAX_WAITING: Final = 256


@dataclass(frozen=True, slots=True)
class _Job:
    request: ApplyRequest
    answer: asyncio.Future[ApplyResponse]


class Applier:
    """Takes one Apply at a time, so that each is planned on what the one before has made.

    An Apply whose turn has come is carried through even if its caller goes away: it must not be committed and then
    forgotten by the cache.
    """

    def __init__(
        self,
        *,
        store: Store,
        cache: SnapshotCache,
        signal: RevisionSignal,
        nodes: NodeRegistry,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cache = cache
        self._signal = signal
        self._nodes = nodes
        self._clock = clock
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(_MAX_WAITING)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            job = await self._jobs.get()
            if job.answer.cancelled():
                continue
            try:
                response = await self._apply(job.request)
            except Exception as error:  # belongs to the caller, who has it raised in `apply`
                if not job.answer.cancelled():
                    job.answer.set_exception(error)
            else:
                if not job.answer.cancelled():
                    job.answer.set_result(response)

    async def apply(self, request: ApplyRequest) -> ApplyResponse:
        """Raises ApiError, and StoreUnavailableError if the store fails; nothing is changed then."""
        answer: asyncio.Future[ApplyResponse] = asyncio.get_running_loop().create_future()
        try:
            self._jobs.put_nowait(_Job(request, answer))
        except asyncio.QueueFull:
            text = f"{_MAX_WAITING} batches are waiting already: try again"
            raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_APPLIES", text) from None
        return await answer

    async def _apply(self, request: ApplyRequest) -> ApplyResponse:
        batch = await asyncio.to_thread(parse_batch, request)
        if not request.request_id or request.validate_only:
            return await self._carry_out(batch, request, digest=b"")
        digest = await asyncio.to_thread(_digest, request)
        known = await self._store.find_request(request.request_id, not_before=self._clock() - REQUEST_IDS_KEPT)
        if known is None:
            return await self._carry_out(batch, request, digest)
        if known.digest != digest:
            text = f"request_id {request.request_id!r} was used for another batch: give each batch its own"
            raise ApiError(code_pb2.ALREADY_EXISTS, "REQUEST_ID_REUSED", text)
        return ApplyResponse.FromString(known.response)

    async def _carry_out(self, batch: Batch, request: ApplyRequest, digest: bytes) -> ApplyResponse:
        now = self._clock()
        plan = await asyncio.to_thread(plan_apply, batch, self._cache, now=now)
        connected_nodes = self._nodes.connected_nodes
        if request.validate_only:
            return plan.answer_if_not_written(connected_nodes=connected_nodes)
        response = plan.answer_if_written(connected_nodes=connected_nodes)
        answered = None
        if request.request_id:
            answered = AnsweredRequest(
                request_id=request.request_id, digest=digest, response=response.SerializeToString(), time=now
            )
        await self._write(plan, answered, batch.author, now)
        return response

    async def _write(self, plan: Plan, answered: AnsweredRequest | None, author: str, now: datetime) -> None:
        if not plan.changes:
            if answered is not None:
                await self._store.save_request(answered)
            return
        await self._store.commit(
            Commit(base_revision=plan.base_revision, changes=plan.changes, author=author, time=now, request=answered)
        )
        self._cache.apply(plan.update)
        self._signal.announce(plan.update.revision)
        _log.info("applied", revision=plan.update.revision, changes=len(plan.changes), author=author)


def _digest(request: ApplyRequest) -> bytes:
    """What the request asks for: equal for a retry of the same client."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
