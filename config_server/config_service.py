"""`janua.config.v1.ConfigService`: decodes, asks the parts that know, encodes."""

# ruff: noqa: N802 (methods of servicers are named as in the .proto)

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from google.rpc import code_pb2
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1 import config_service_pb2_grpc

from config_server import rpc
from config_server.apply import Applier
from config_server.canary import Canaries
from config_server.canary_guard import CanaryGuard
from config_server.errors import ApiError
from config_server.fleet_watch import FleetWatcher
from config_server.history import History
from config_server.key_service import ApiKeys
from config_server.listing import PastListing, list_page
from config_server.nodes import NodeRegistry
from config_server.request_rules import check_request
from config_server.resources import Key, key_from_proto, stored_resource
from config_server.revision_signal import RevisionSignal, SignalClosedError
from config_server.rollback import Rollbacks
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import Store
from config_server.watch import Watcher

# How long a read waits for a revision that was made through another server.
_PATIENCE_S: Final = 5.0


class ConfigService(config_service_pb2_grpc.ConfigServiceServicer):
    """Reads come from the cache, which has every revision before its Apply is answered."""

    def __init__(
        self,
        *,
        cache: SnapshotCache,
        store: Store,
        signal: RevisionSignal,
        keys: ApiKeys,
        history: History,
        applier: Applier,
        watcher: Watcher,
        nodes: NodeRegistry,
        fleet: FleetWatcher,
        canaries: Canaries,
        guard: CanaryGuard,
    ) -> None:
        self._store = store
        self._keys = keys
        self._signal = signal
        self._history = history
        self._rollbacks = Rollbacks(cache=cache, history=history, applier=applier)
        self._cache = cache
        self._applier = applier
        self._watcher = watcher
        self._nodes = nodes
        self._fleet = fleet
        self._canaries = canaries
        self._guard = guard

    @rpc.answers_once
    async def Apply(self, request: pb.ApplyRequest, context: rpc.Context) -> pb.ApplyResponse:
        if request.HasField("canary"):
            return await self._canaries.propose(request)
        return await self._applier.apply(request)

    @rpc.answers_once
    async def GetResource(self, request: pb.GetResourceRequest, context: rpc.Context) -> pb.GetResourceResponse:
        check_request(request)
        await self._has(request.min_revision)
        key = key_from_proto(request.key)
        if request.revision:
            entry = (await self._history.resources_at(request.revision)).get(key)
            if entry is None:
                raise _not_found(key, request.revision)
            return pb.GetResourceResponse(resource=stored_resource(entry, entry.decode()), revision=request.revision)
        resource = self._cache.resources.get(key)
        if resource is None:
            raise _not_found(key)
        return pb.GetResourceResponse(
            resource=stored_resource(resource.entry, resource.message), revision=self._cache.revision
        )

    @rpc.answers_once
    async def ListResources(self, request: pb.ListResourcesRequest, context: rpc.Context) -> pb.ListResourcesResponse:
        check_request(request)
        await self._has(request.min_revision)
        if request.revision:
            return list_page(PastListing(request.revision, await self._history.resources_at(request.revision)), request)
        return list_page(self._cache, request)

    async def _has(self, revision: int) -> None:
        """Waits until this server has a revision that may have been made through another one."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._signal.beyond(revision - 1)
        except (TimeoutError, SignalClosedError):
            text = f"this server has revision {self._cache.revision}, and not {revision} yet: try again"
            raise ApiError(code_pb2.UNAVAILABLE, "REVISION_NOT_HERE", text) from None

    @rpc.answers_once
    async def DeleteResource(
        self, request: pb.DeleteResourceRequest, context: rpc.Context
    ) -> pb.DeleteResourceResponse:
        check_request(request)
        change = pb.Change(delete=request.key, etag=request.etag)
        response = await self._applier.apply(
            pb.ApplyRequest(changes=[change], author=request.author, message=request.message)
        )
        return pb.DeleteResourceResponse(revision=response.revision)

    @rpc.answers_many
    async def WatchResources(
        self, request: pb.WatchResourcesRequest, context: rpc.Context
    ) -> AsyncIterator[pb.WatchResourcesResponse]:
        check_request(request)
        async for response in self._watcher.watch(request):
            yield response

    @rpc.answers_once
    async def GetRollout(self, request: pb.GetRolloutRequest, context: rpc.Context) -> pb.GetRolloutResponse:
        check_request(request)
        await self._has_if_elsewhere(request.revision)
        rollout = await self._history.rollout(request.revision)
        nodes = filter(None, map(rollout.on, self._nodes.records()))
        return pb.GetRolloutResponse(revision=rollout.revision, nodes=nodes)

    async def _has_if_elsewhere(self, revision: int) -> None:
        """Waits for it if another server may have made it; otherwise it was never made, if it is not here."""
        if self._store.peers is not None and revision > self._cache.revision:
            await self._has(revision)

    @rpc.answers_many
    async def WatchRollout(
        self, request: pb.WatchRolloutRequest, context: rpc.Context
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        check_request(request)
        await self._has_if_elsewhere(request.revision)
        async for response in self._fleet.watch_rollout(request):
            yield response

    @rpc.answers_once
    async def ListNodes(self, request: pb.ListNodesRequest, context: rpc.Context) -> pb.ListNodesResponse:
        nodes = [record.to_proto() for record in self._nodes.records()]
        return pb.ListNodesResponse(nodes=nodes, revision=self._cache.revision)

    @rpc.answers_many
    async def WatchNodes(
        self, request: pb.WatchNodesRequest, context: rpc.Context
    ) -> AsyncIterator[pb.WatchNodesResponse]:
        async for response in self._fleet.watch_nodes():
            yield response

    @rpc.answers_once
    async def ListRevisions(self, request: pb.ListRevisionsRequest, context: rpc.Context) -> pb.ListRevisionsResponse:
        check_request(request)
        return await self._history.list(request)

    @rpc.answers_once
    async def GetRevision(self, request: pb.GetRevisionRequest, context: rpc.Context) -> pb.GetRevisionResponse:
        check_request(request)
        return await self._history.get(request.revision)

    @rpc.answers_once
    async def DiffRevisions(self, request: pb.DiffRevisionsRequest, context: rpc.Context) -> pb.DiffRevisionsResponse:
        check_request(request)
        return await self._history.diff(request)

    @rpc.answers_once
    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: rpc.Context) -> pb.CreateApiKeyResponse:
        check_request(request)
        return await self._keys.create(request)

    @rpc.answers_once
    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: rpc.Context) -> pb.ListApiKeysResponse:
        check_request(request)
        return self._keys.list_keys(request)

    @rpc.answers_once
    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: rpc.Context) -> pb.RevokeApiKeyResponse:
        check_request(request)
        return await self._keys.revoke(request)

    @rpc.answers_once
    async def Rollback(self, request: pb.RollbackRequest, context: rpc.Context) -> pb.RollbackResponse:
        check_request(request)
        return await self._rollbacks.rollback(request)

    @rpc.answers_once
    async def GetCanary(self, request: pb.GetCanaryRequest, context: rpc.Context) -> pb.GetCanaryResponse:
        proposal, canary = self._canaries.latest()
        response = pb.GetCanaryResponse(canary=canary)
        if proposal.is_running:
            rollout = self._history.canary_rollout(proposal)
            response.nodes.extend(filter(None, map(rollout.on, self._nodes.records())))
            tally = self._guard.tally(proposal.revision)
            response.requests, response.failed_requests = tally.requests, tally.failed
        return response

    @rpc.answers_once
    async def PromoteCanary(self, request: pb.PromoteCanaryRequest, context: rpc.Context) -> pb.PromoteCanaryResponse:
        check_request(request)
        return await self._canaries.promote(request)

    @rpc.answers_once
    async def AbortCanary(self, request: pb.AbortCanaryRequest, context: rpc.Context) -> pb.AbortCanaryResponse:
        check_request(request)
        revision = await self._canaries.abort(revision=request.revision, author=request.author, reason=request.message)
        return pb.AbortCanaryResponse(revision=revision)


def _not_found(key: Key, revision: int = 0) -> ApiError:
    then = f"did not exist at revision {revision}" if revision else "does not exist"
    return ApiError(code_pb2.NOT_FOUND, "RESOURCE_NOT_FOUND", f"{key} {then}")
