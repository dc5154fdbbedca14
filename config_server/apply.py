"""Carries out Applies: each is planned in a thread on what the one before has made, then written."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import ApplyRequest, ApplyResponse, PromoteCanaryRequest, RollbackRequest
from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.secret_pb2 import Secret
from janua_resources.secret_values import KEPT_VALUE

from config_server.access.caller import denied, may_write_secrets
from config_server.apply_plan import Plan, plan_apply
from config_server.batch import Batch, parse_batch
from config_server.errors import OTHER_EPOCH, ApiError
from config_server.metrics import Metrics
from config_server.nodes import NodeRegistry
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import AnsweredRequest, Commit, Store
from config_server.writer import Writer

WriteRequest: TypeAlias = ApplyRequest | RollbackRequest | PromoteCanaryRequest
Finish: TypeAlias = Callable[[Plan, datetime], Plan]

REQUEST_IDS_KEPT: Final = timedelta(hours=24)
_NAMED: Final = 3  # nodes or secrets that an error names


class Applier:
    """Plans each Apply in a thread and writes it."""

    def __init__(
        self,
        *,
        store: Store,
        cache: SnapshotCache,
        writer: Writer,
        nodes: NodeRegistry,
        metrics: Metrics,
        no_values: str,
        clock: Callable[[], datetime],
    ) -> None:
        """`no_values`: why secrets may not hold their value; empty if they may."""
        self._store = store
        self._cache = cache
        self._writer = writer
        self._nodes = nodes
        self._metrics = metrics
        self._no_values = no_values
        self._clock = clock

    async def apply(self, request: ApplyRequest) -> ApplyResponse:
        """Raises ApiError, and StoreUnavailableError if the store fails; nothing is changed then."""
        return await self.write(request, lambda: asyncio.to_thread(parse_batch, request))

    async def write(
        self, request: WriteRequest, make_batch: Callable[[], Awaitable[Batch]], finish: Finish | None = None
    ) -> ApplyResponse:
        """Writes in its turn the batch that `make_batch` then makes for `request`. Raises as `apply`.

        `finish` makes of its plan what is written. Without one it is refused while a canary runs.
        """
        may_change_secrets = may_write_secrets()  # of the caller, whom nobody knows once the turn has come
        with self._metrics.apply_seconds.time():
            return await self._writer.in_turn(
                lambda: self._write(request, make_batch, finish, may_change_secrets=may_change_secrets)
            )

    async def _write(
        self,
        request: WriteRequest,
        make_batch: Callable[[], Awaitable[Batch]],
        finish: Finish | None,
        *,
        may_change_secrets: bool,
    ) -> ApplyResponse:
        if not request.request_id or request.validate_only:
            return await self._carry_out(
                await make_batch(), request, finish, b"", may_change_secrets=may_change_secrets
            )
        # Before the batch is made: what has been written already could perhaps not be written again.
        digest = await asyncio.to_thread(_digest, request)
        known = await self._store.find_request(request.request_id, not_before=self._clock() - REQUEST_IDS_KEPT)
        if known is None:
            return await self._carry_out(
                await make_batch(), request, finish, digest, may_change_secrets=may_change_secrets
            )
        if known.digest != digest:
            text = f"request_id {request.request_id!r} was used for another request: give each its own"
            raise ApiError(code_pb2.ALREADY_EXISTS, "REQUEST_ID_REUSED", text)
        return ApplyResponse.FromString(known.response)

    async def _carry_out(
        self, batch: Batch, request: WriteRequest, finish: Finish | None, digest: bytes, *, may_change_secrets: bool
    ) -> ApplyResponse:
        if not may_change_secrets:
            _check_gives_no_values(batch)
        self._check_epoch(batch)
        now = self._clock()
        plan = await asyncio.to_thread(plan_apply, batch, self._cache, now=now, no_values=self._no_values)
        if not may_change_secrets:
            _check_no_secrets(plan)
        if finish is not None:
            plan = finish(plan, now)
        nodes = self._nodes
        connected_nodes = nodes.connected_nodes if plan.nodes is None else nodes.connected_among(plan.nodes)
        if request.validate_only:
            return plan.answer_if_not_written(connected_nodes=connected_nodes)
        if finish is None and plan.changes:
            check_no_canary(self._cache)
        response = plan.answer_if_written(connected_nodes=connected_nodes)
        answered = None
        if request.request_id:
            answered = AnsweredRequest(
                request_id=request.request_id, digest=digest, response=response.SerializeToString(), time=now
            )
        if plan.changes:
            await self._writer.commit(_commit(plan, batch, answered, now), plan.update)
        elif answered is not None:
            await self._store.save_request(answered)
        return response

    def _check_epoch(self, batch: Batch) -> None:
        """An empty store that nodes hold more than may be one that was lost."""
        held = self._nodes.of_another_store()
        if held and self._cache.revision == 0 and not batch.accept_new_epoch:
            names = ", ".join(held[:_NAMED]) + (" and more" if len(held) > _NAMED else "")
            text = (
                f"this store is empty, and nodes hold a configuration ({names}): restore the store from a backup, or "
                "apply all of the configuration with --accept-new-epoch, which takes from them what it does not have"
            )
            raise ApiError(code_pb2.FAILED_PRECONDITION, OTHER_EPOCH, text)


def check_no_canary(cache: SnapshotCache) -> None:
    """Raises ApiError while one runs: what it tries was planned on the configuration as it is."""
    if cache.canary is not None:
        proposal = cache.canary.proposal
        text = f"a canary runs since revision {proposal.revision}, by {proposal.message.author or 'somebody'}"
        raise ApiError(code_pb2.FAILED_PRECONDITION, "CANARY_RUNNING", f"{text}: promote or abort it first")


def _check_gives_no_values(batch: Batch) -> None:
    """Raises ApiError for a batch that gives a secret a value, be it the one that it has: answers would tell whether a
    guess is right."""
    for change in batch.changes:
        message = change.message if change.body is None else None  # with a body it comes from the store
        if isinstance(message, Secret) and message.HasField("value") and message.value != KEPT_VALUE:
            text = f"only the role admin may give values of secrets, and this gives one of {change.key.name}"
            raise denied("SECRETS_NEED_ADMIN", f"{text}: leave it out, or write {KEPT_VALUE!r}")


def _check_no_secrets(plan: Plan) -> None:
    """Raises ApiError for a plan that changes any. Those that a batch names and leaves as they are do no harm."""
    names = [change.entry.key.name for change in plan.changes if change.entry.key.kind == KIND_SECRET]
    if names:
        text = f"only the role admin may change secrets, and this changes {', '.join(names[:_NAMED])}"
        raise denied("SECRETS_NEED_ADMIN", text + (" and more" if len(names) > _NAMED else ""))


def _commit(plan: Plan, batch: Batch, answered: AnsweredRequest | None, now: datetime) -> Commit:
    return Commit(
        base_revision=plan.base_revision,
        changes=plan.changes,
        author=batch.author,
        message=batch.message if plan.message is None else plan.message,
        time=now,
        request=answered,
    )


def _digest(request: WriteRequest) -> bytes:
    """What the request asks for: equal for a retry of the same client."""
    kind = b"" if isinstance(request, ApplyRequest) else request.DESCRIPTOR.name.encode()
    return hashlib.sha256(kind + request.SerializeToString(deterministic=True)).digest()
