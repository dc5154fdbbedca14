"""`envoy.service.status.v3.ClientStatusDiscoveryService`: what the clients of this replica have, by its own books."""

# ruff: noqa: N802 (methods of servicers are named as in the .proto)

import asyncio
from collections.abc import Iterator
from typing import Final

from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import Rejection
from janua.discovery.v3 import ads_pb2, client_resource_status_pb2, csds_pb2
from janua.discovery.v3.csds_pb2 import ClientConfig, ClientStatusRequest, ClientStatusResponse

from config_server import rpc
from config_server.discovery import VERSION_KEY, DiscoveryService
from config_server.discovery_connection import DiscoveryConnection
from config_server.errors import ApiError
from config_server.node_matcher import node_matches
from config_server.node_record import NodeIdentity
from config_server.resource_stages import ResourceStage, Stage

# Of one answer: about 10 MB.
MAX_RESOURCES: Final = 100_000


class ClientStatusService:
    """Answers of the streams that are open here; clients of other replicas are asked of there."""

    def __init__(self, discovery: DiscoveryService) -> None:
        self._discovery = discovery

    @rpc.answers_once
    async def FetchClientStatus(self, request: ClientStatusRequest, context: rpc.Context) -> ClientStatusResponse:
        return await self._answer(request)

    @rpc.answers_each
    async def StreamClientStatus(self, request: ClientStatusRequest, context: rpc.Context) -> ClientStatusResponse:
        return await self._answer(request)

    async def _answer(self, request: ClientStatusRequest) -> ClientStatusResponse:
        matches = node_matches(request.node_matchers)
        response = ClientStatusResponse()
        resources = 0
        for connection in self._discovery.clients():
            if not matches(connection.session.identity.node_id):
                continue
            node = _node(connection.session.identity)
            config = ClientConfig(node=node, generic_xds_configs=_resources(connection))
            resources += len(config.generic_xds_configs)
            if resources > MAX_RESOURCES:
                text = f"these clients have more than {MAX_RESOURCES} resources: ask for fewer with node_matchers"
                raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_RESOURCES", text)
            response.config.append(config)
            # A fleet's worth of this takes a while, and streams must not wait for it.
            await asyncio.sleep(0)
        return response


def _node(identity: NodeIdentity) -> ads_pb2.Node:
    node = ads_pb2.Node(id=identity.node_id, cluster=identity.cluster)
    if identity.version:
        node.metadata.update({VERSION_KEY: identity.version})
    return node


def _resources(connection: DiscoveryConnection) -> Iterator[ClientConfig.GenericXdsConfig]:
    types = connection.session.types
    for type_url, resource in connection.stream.stages():
        progress = types.get(type_url)
        rejection = None if progress is None else progress.rejections.get(resource.name)
        yield _resource(type_url, resource, rejection)


def _resource(type_url: str, resource: ResourceStage, rejection: Rejection | None) -> ClientConfig.GenericXdsConfig:
    is_refused = rejection is not None and rejection.version == (resource.version or "")
    config_status, client_status = _ERROR if is_refused else _statuses(resource)
    config = ClientConfig.GenericXdsConfig(
        type_url=type_url,
        name=resource.name,
        version_info=resource.version or "",
        config_status=config_status,
        client_status=client_status,
    )
    if rejection is not None:
        # Also when something newer is on its way: until then the client goes on with what it had before.
        details = ": ".join(text for text in (rejection.reason, rejection.field, rejection.message) if text)
        config.error_state.details = details
        config.error_state.version_info = rejection.version
    return config


_Statuses = tuple[csds_pb2.ConfigStatus.ValueType, client_resource_status_pb2.ClientResourceStatus.ValueType]

_ERROR: Final[_Statuses] = (csds_pb2.ERROR, client_resource_status_pb2.NACKED)


def _statuses(resource: ResourceStage) -> _Statuses:
    match resource.stage:
        case Stage.NOT_SENT:
            return csds_pb2.NOT_SENT, client_resource_status_pb2.REQUESTED
        case Stage.UNDER_WAY:
            return csds_pb2.STALE, client_resource_status_pb2.REQUESTED
        case Stage.SETTLED if resource.version is None:
            return csds_pb2.SYNCED, client_resource_status_pb2.DOES_NOT_EXIST
        case Stage.SETTLED:
            return csds_pb2.SYNCED, client_resource_status_pb2.ACKED
