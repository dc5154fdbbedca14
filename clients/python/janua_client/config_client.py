"""The typed client of the config server: write, read and follow the configuration, and see which nodes have it."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from janua.config.v1.config_service_pb2 import (
    AbortCanaryRequest,
    ApiKeyRecord,
    ApplyRequest,
    ApplyResponse,
    CanaryOptions,
    Change,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    DeleteResourceRequest,
    DiffRevisionsRequest,
    DiffRevisionsResponse,
    GetCanaryRequest,
    GetCanaryResponse,
    GetResourceRequest,
    GetRevisionRequest,
    GetRevisionResponse,
    GetRolloutRequest,
    GetRolloutResponse,
    ListApiKeysRequest,
    ListNodesRequest,
    ListNodesResponse,
    ListResourcesRequest,
    ListResourcesResponse,
    ListRevisionsRequest,
    PromoteCanaryRequest,
    PromoteCanaryResponse,
    Revision,
    RevokeApiKeyRequest,
    RevokeApiKeyResponse,
    RollbackRequest,
    RollbackResponse,
    WatchNodesRequest,
    WatchResourcesRequest,
    WatchRolloutRequest,
)
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.resource_pb2 import Kind, ResourceKey, StoredResource

from janua_client.channel import open_channel
from janua_client.errors import AbortedError
from janua_client.fleet_watch import NodesMerger, RolloutMerger, follow_states
from janua_client.rollout import ALL, RolloutProgress, RolloutTracker, RolloutVerdict, WaitTarget, is_over
from janua_client.streams import Reconnecting
from janua_client.tls import Tls
from janua_client.unary import ONCE, Retries, call
from janua_client.watch import WatchBatch, follow

_REJECTION_SETTLES = 1.0  # seconds in which further nodes may add their reasons
_SNAPSHOT_ATTEMPTS = 5
_WATCH_STREAM_AGE = 900.0  # seconds; a new stream now and then, so that no call is without a deadline

Progress = Callable[[RolloutProgress], None]


class ConfigClient:
    """Talks to one config server. An async context manager, to be made in a running event loop.

    Every call has a deadline: `timeout` seconds unless the call is given another. All methods raise `JanuaError`, with
    one subclass per gRPC status code. Calls that may safely happen twice are repeated while the server is UNAVAILABLE.

        async with ConfigClient("127.0.0.1:18000") as client:
            answer = await client.apply([upsert(Service(name="chat", …))])
            await client.wait_for_rollout(answer.revision, connected_at_commit=answer.connected_nodes)
    """

    def __init__(
        self,
        address: str = "127.0.0.1:18000",
        *,
        tls: Tls | None = None,
        token: str = "",
        timeout: float = 30.0,
        retries: Retries | None = None,
        reconnecting: Reconnecting | None = None,
    ) -> None:
        """Raises like `open_channel`."""
        self._channel = open_channel(address, tls=tls, token=token)
        self._stub = ConfigServiceStub(self._channel)
        self._timeout = timeout
        self._retries = retries or Retries()
        self._reconnecting = reconnecting or Reconnecting()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and the connection. May be called again."""
        await self._channel.close()

    async def apply(
        self,
        changes: Iterable[Change],
        *,
        validate_only: bool = False,
        set_name: str = "",
        prune: bool = False,
        prune_kinds: Iterable[Kind.ValueType] = (),
        base_revision: int | None = None,
        request_id: str | None = None,
        author: str = "",
        message: str = "",
        canary: CanaryOptions | None = None,
        accept_new_epoch: bool = False,
        timeout: float | None = None,
    ) -> ApplyResponse:
        """Writes a batch: all of it in one new revision, or nothing. Fields are those of `ApplyRequest`.

        A `request_id` is made if none is given, so a repeated attempt never writes twice. Raises
        `InvalidArgumentError` and `FailedPreconditionError` with all violations, `AbortedError` for an old etag or base
        revision, `AlreadyExistsError`, `NotFoundError`, `ResourceExhaustedError`.
        """
        request = ApplyRequest(
            changes=changes,
            base_revision=base_revision,
            validate_only=validate_only,
            request_id=request_id or str(uuid.uuid4()),
            set=set_name,
            prune=prune,
            prune_kinds=prune_kinds,
            author=author,
            message=message,
            canary=canary,
            accept_new_epoch=accept_new_epoch,
        )
        return await call(self._stub.Apply, request, timeout=timeout or self._timeout, retries=self._retries)

    async def get(
        self, kind: Kind.ValueType, name: str, *, revision: int = 0, timeout: float | None = None
    ) -> StoredResource:
        """Reads one resource, as it was at `revision` if that is given. Raises `NotFoundError`."""
        request = GetResourceRequest(key=ResourceKey(kind=kind, name=name), revision=revision)
        answer = await call(self._stub.GetResource, request, timeout=timeout or self._timeout, retries=self._retries)
        return answer.resource

    async def list(
        self,
        kind: Kind.ValueType = Kind.KIND_UNSPECIFIED,
        *,
        labels: Mapping[str, str] | None = None,
        set_name: str = "",
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[StoredResource]:
        """Yields the resources of a kind, or all, by kind and name, reading page after page.

        The pages may be of different revisions: see `snapshot`. `timeout` is for each page.
        """
        async for page in self._pages(kind, labels=labels, set_name=set_name, page_size=page_size, timeout=timeout):
            for resource in page.resources:
                yield resource

    async def snapshot(
        self,
        kind: Kind.ValueType = Kind.KIND_UNSPECIFIED,
        *,
        set_name: str = "",
        revision: int = 0,
        timeout: float | None = None,
    ) -> tuple[tuple[StoredResource, ...], int]:
        """Reads the resources of a kind, or all, as they were at one revision, and returns that revision too.

        That is `revision`, or the current one. Raises `OutOfRangeError` for one that is older than the history kept,
        and `AbortedError` if the configuration changes faster than it can be read.
        """
        for _ in range(_SNAPSHOT_ATTEMPTS):
            pages = [page async for page in self._pages(kind, set_name=set_name, revision=revision, timeout=timeout)]
            revisions = {page.revision for page in pages}
            if len(revisions) == 1:
                return tuple(resource for page in pages for resource in page.resources), revisions.pop()
        raise AbortedError("the configuration changes faster than it can be read: try again")

    async def _pages(
        self,
        kind: Kind.ValueType,
        *,
        labels: Mapping[str, str] | None = None,
        set_name: str = "",
        page_size: int = 0,
        revision: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerator[ListResourcesResponse]:
        request = ListResourcesRequest(
            kind=kind, labels=labels or {}, set=set_name, page_size=page_size, revision=revision
        )
        while True:
            page = await call(
                self._stub.ListResources, request, timeout=timeout or self._timeout, retries=self._retries
            )
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete(
        self,
        kind: Kind.ValueType,
        name: str,
        *,
        etag: str = "",
        author: str = "",
        message: str = "",
        timeout: float | None = None,
    ) -> int:
        """Deletes one resource and returns the revision without it. Not repeated by itself.

        Raises `NotFoundError`, `AbortedError` for an old etag, and `FailedPreconditionError` naming what still refers
        to the resource.
        """
        request = DeleteResourceRequest(
            key=ResourceKey(kind=kind, name=name), etag=etag, author=author, message=message
        )
        answer = await call(self._stub.DeleteResource, request, timeout=timeout or self._timeout, retries=ONCE)
        return answer.revision

    async def revisions(self, *, limit: int = 0, timeout: float | None = None) -> AsyncGenerator[Revision]:
        """Yields the revisions, the newest first, at most `limit` if that is given. `timeout` is for each page."""
        request = ListRevisionsRequest(page_size=min(limit, 1000))
        left = limit or None
        while True:
            page = await call(
                self._stub.ListRevisions, request, timeout=timeout or self._timeout, retries=self._retries
            )
            for revision in page.revisions[:left]:
                yield revision
            left = left and left - len(page.revisions)
            if not page.next_page_token or (left is not None and left <= 0):
                return
            request.page_token = page.next_page_token

    async def revision(self, revision: int, *, timeout: float | None = None) -> GetRevisionResponse:
        """Who made a revision, and what it changed. Raises `NotFoundError`, `OutOfRangeError`."""
        request = GetRevisionRequest(revision=revision)
        return await call(self._stub.GetRevision, request, timeout=timeout or self._timeout, retries=self._retries)

    async def diff_revisions(
        self, from_revision: int, to_revision: int = 0, *, timeout: float | None = None
    ) -> DiffRevisionsResponse:
        """What differs between two revisions; 0 is the current one. Raises `NotFoundError`, `OutOfRangeError`."""
        request = DiffRevisionsRequest(from_revision=from_revision, to_revision=to_revision)
        return await call(self._stub.DiffRevisions, request, timeout=timeout or self._timeout, retries=self._retries)

    async def rollback(self, request: RollbackRequest, *, timeout: float | None = None) -> RollbackResponse:
        """Makes a new revision with old content. A `request_id` is made if there is none.

        Raises `NotFoundError`, `OutOfRangeError`, `InvalidArgumentError` and `FailedPreconditionError` with all
        violations, and `AbortedError` if the revision to be undone has been changed since.
        """
        sent = RollbackRequest()
        sent.CopyFrom(request)
        sent.request_id = request.request_id or str(uuid.uuid4())
        return await call(self._stub.Rollback, sent, timeout=timeout or self._timeout, retries=self._retries)

    async def canary(self, *, timeout: float | None = None) -> GetCanaryResponse:
        """What is tried on some nodes and how that goes, or how the last canary ended. Raises `NotFoundError`."""
        return await call(
            self._stub.GetCanary, GetCanaryRequest(), timeout=timeout or self._timeout, retries=self._retries
        )

    async def promote_canary(
        self, request: PromoteCanaryRequest, *, timeout: float | None = None
    ) -> PromoteCanaryResponse:
        """Writes for all nodes what is tried. A `request_id` is made if there is none.

        Raises `FailedPreconditionError` if nothing is, and `AbortedError` if that is another canary than named.
        """
        sent = PromoteCanaryRequest()
        sent.CopyFrom(request)
        sent.request_id = request.request_id or str(uuid.uuid4())
        return await call(self._stub.PromoteCanary, sent, timeout=timeout or self._timeout, retries=self._retries)

    async def abort_canary(
        self, revision: int = 0, *, author: str = "", message: str = "", timeout: float | None = None
    ) -> int:
        """Drops what is tried and returns the revision that did. Not repeated by itself. Raises as `promote_canary`."""
        request = AbortCanaryRequest(revision=revision, author=author, message=message)
        answer = await call(self._stub.AbortCanary, request, timeout=timeout or self._timeout, retries=ONCE)
        return answer.revision

    async def create_key(self, request: CreateApiKeyRequest, *, timeout: float | None = None) -> CreateApiKeyResponse:
        """Makes an API key, which is shown this once. Not repeated by itself. Raises `NotFoundError`."""
        return await call(self._stub.CreateApiKey, request, timeout=timeout or self._timeout, retries=ONCE)

    async def keys(
        self, consumer: str = "", *, include_revoked: bool = False, timeout: float | None = None
    ) -> Sequence[ApiKeyRecord]:
        """The keys that the server has made, of one consumer or all. Raises `NotFoundError`."""
        request = ListApiKeysRequest(consumer=consumer, include_revoked=include_revoked)
        answer = await call(self._stub.ListApiKeys, request, timeout=timeout or self._timeout, retries=self._retries)
        return answer.records

    async def revoke_key(
        self, key_id: str, *, author: str = "", message: str = "", timeout: float | None = None
    ) -> RevokeApiKeyResponse:
        """Takes a key away for good. Raises `NotFoundError`."""
        request = RevokeApiKeyRequest(id=key_id, author=author, message=message)
        return await call(self._stub.RevokeApiKey, request, timeout=timeout or self._timeout, retries=self._retries)

    async def watch(
        self, kind: Kind.ValueType = Kind.KIND_UNSPECIFIED, *, after_revision: int | None = None
    ) -> AsyncGenerator[WatchBatch]:
        """Follows a kind, or everything, for ever: first all resources as ADDED and a BOOKMARK, then each revision.

        With `after_revision` only the changes after it. A lost stream is opened again without gap or duplicate. Close
        the iterator (`contextlib.aclosing`) to end it. Raises `UnavailableError` if the first stream cannot be opened,
        `OutOfRangeError` when the changes since the last batch are gone, or the store was put back: begin anew then.
        """
        request = WatchResourcesRequest(kind=kind, after_revision=after_revision)
        async for batch in follow(
            lambda each: self._stub.WatchResources(each, timeout=_WATCH_STREAM_AGE), request, self._reconnecting
        ):
            yield batch

    async def rollout(self, revision: int = 0, *, timeout: float | None = None) -> GetRolloutResponse:
        """Tells how far a revision has come, node by node; 0 is the current one. Raises `NotFoundError`."""
        request = GetRolloutRequest(revision=revision)
        return await call(self._stub.GetRollout, request, timeout=timeout or self._timeout, retries=self._retries)

    async def nodes(self, *, timeout: float | None = None) -> ListNodesResponse:
        """Lists the nodes that are connected or were seen before, and the current revision."""
        return await call(
            self._stub.ListNodes, ListNodesRequest(), timeout=timeout or self._timeout, retries=self._retries
        )

    async def watch_rollout(self, revision: int = 0) -> AsyncGenerator[GetRolloutResponse]:
        """Yields how far a revision has come on all nodes, each time that has changed; 0 follows the newest revision.

        A lost stream is opened again. Close the iterator (`contextlib.aclosing`) to end it. Raises `NotFoundError`,
        `OutOfRangeError`, and `UnavailableError` if the first stream cannot be opened.
        """
        request = WatchRolloutRequest(revision=revision)
        async for state in follow_states(
            lambda: self._stub.WatchRollout(request, timeout=_WATCH_STREAM_AGE), RolloutMerger, self._reconnecting
        ):
            yield state

    async def watch_nodes(self) -> AsyncGenerator[ListNodesResponse]:
        """Yields all nodes each time one has changed, without the revision. Else as `watch_rollout`."""
        async for state in follow_states(
            lambda: self._stub.WatchNodes(WatchNodesRequest(), timeout=_WATCH_STREAM_AGE),
            NodesMerger,
            self._reconnecting,
        ):
            yield state

    async def wait_for_rollout(
        self,
        revision: int,
        *,
        connected_at_commit: int = 0,
        target: WaitTarget = ALL,
        timeout: float = 30.0,
        on_progress: Progress | None = None,
    ) -> RolloutProgress:
        """Waits until `target` of the nodes has the revision, one refuses it, or `timeout` seconds have passed.

        Returns the last state: its verdict is `WAITING` if the time was not enough. `connected_at_commit` is
        `ApplyResponse.connected_nodes`; nodes that join later count too, nodes that were away do not.
        """
        tracker = RolloutTracker(target, connected_at_commit=connected_at_commit)
        progress = tracker.progress(await self.rollout(revision))
        if on_progress is not None:
            on_progress(progress)
        if is_over(progress):
            return progress
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout) as limit, aclosing(self.watch_rollout(revision)) as states:
                async for rollout in states:
                    progress = tracker.progress(rollout)
                    if on_progress is not None:
                        on_progress(progress)
                    if is_over(progress):
                        return progress
                    if progress.verdict is RolloutVerdict.REJECTED:
                        limit.reschedule(min(limit.when() or 0.0, loop.time() + _REJECTION_SETTLES))
        except TimeoutError:
            pass
        return progress
