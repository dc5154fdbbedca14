"""The aggregated discovery service: accepts streams, pushes changes to all, ends them when the server drains."""

import asyncio
import functools
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import grpc
import structlog
from google.rpc import code_pb2
from janua.discovery.v3 import ads_pb2

from config_server import rpc
from config_server.access.caller import check_node_id
from config_server.ads_stream import AdsStream
from config_server.discovery_connection import DiscoveryConnection, read_request
from config_server.discovery_variant import VARIANTS, ClientRequest, Variant
from config_server.errors import ApiError
from config_server.fleet.fleet_view import FleetView
from config_server.metrics import Metrics
from config_server.node_record import NodeIdentity
from config_server.nodes import NodeRegistry
from config_server.snapshot_cache import SnapshotCache

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

SERVICE_NAME: Final = ads_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"].full_name

_MAX_NODE_ID: Final = 253
VERSION_KEY: Final = "janua.version"
_EPOCH_KEY: Final = "janua.epoch"

# Logs of changes are cut when they have grown by so much.
_LOG_LENGTH: Final = 1024


class DiscoveryService:
    """Serves all discovery streams from one cache.

    Not built on the generated servicer: responses are bytes already, and go out as they are; requests come as bytes,
    so that what is none is refused in our words.
    """

    def __init__(
        self,
        *,
        cache: SnapshotCache,
        fleet: FleetView,
        nodes: NodeRegistry,
        metrics: Metrics,
        replica_id: str,
        push_delay_s: float,
        drain_jitter_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._cache = cache
        self._nodes = nodes
        self._fleet = fleet
        self._metrics = metrics
        self._encoders = {variant.method: variant.make_encoder(replica_id) for variant in VARIANTS}
        self._push_delay_s = push_delay_s
        self._drain_jitter_s = drain_jitter_s
        self._sleep = sleep
        self._uniform = uniform
        self._stream_ids = itertools.count(1)
        self._connections: set[DiscoveryConnection] = set()
        # Streams that have not said anything yet, each by the time limit of its first request.
        self._opening: set[asyncio.Timeout] = set()
        self._is_draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME, {variant.method: self._method(variant) for variant in VARIANTS}
        )

    def _method(self, variant: Variant) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.stream_stream_rpc_method_handler(
            functools.partial(self.serve, variant), request_deserializer=None, response_serializer=None
        )

    def push(self) -> None:
        """Lets all streams send what has changed. Each writes for itself: a slow node delays no other."""
        for connection in self._connections:
            connection.push()
        self._trim_logs()

    def push_fleet(self) -> None:
        """Lets the streams that ask for nodes send what has changed of them."""
        asking = [connection for connection in self._connections if connection.stream.asks_for_fleet]
        for connection in asking:
            connection.push()
        if self._fleet.log_length > _LOG_LENGTH:
            revisions = (connection.stream.fleet_revision for connection in asking)
            self._fleet.trim(min(revisions, default=self._fleet.revision))

    def has_settled_fleet(self) -> bool:
        """Whether all who ask for nodes have acknowledged which ones there are."""
        return all(connection.stream.has_settled_fleet for connection in self._connections)

    def clients(self) -> Sequence[DiscoveryConnection]:
        """The streams that are open, by their nodes' ids."""
        return sorted(self._connections, key=lambda connection: connection.session.identity.node_id)

    def drain(self) -> None:
        """Ends all streams, spread over some time so that their nodes do not reach the other servers at once."""
        self._is_draining = True
        self._fleet.freeze()
        for connection in self._connections:
            connection.drain()
        for limit in self._opening:
            limit.reschedule(0)

    async def serve(self, variant: Variant, _requests: AsyncIterator[bytes], context: rpc.Context) -> None:
        await self._serve(variant, context)

    @rpc.answers_once
    async def _serve(self, variant: Variant, context: rpc.Context) -> None:
        first = await self._first_request(variant, context)
        if first is None:
            return
        identity = _identity(first.node)
        check_node_id(identity.node_id)
        source = functools.partial(self._cache.for_node, identity.node_id, identity.cluster)
        with self._nodes.connected(identity) as session:
            connection = DiscoveryConnection(
                variant=variant,
                stream=self._stream(variant, source),
                session=session,
                cache=self._cache,
                nodes=self._nodes,
                metrics=self._metrics,
                push_delay_s=self._push_delay_s,
            )
            with self._registered(connection), _told_of(session.identity):
                connection.take_in(first)
                del first  # it may list all that the node holds, and the stream is long
                await connection.run(context, drained=self._drained)

    def _stream(self, variant: Variant, source: Callable[[], SnapshotCache]) -> AdsStream:
        return AdsStream(
            source,
            self._encoders[variant.method],
            fleet=self._fleet,
            stream_id=f"{next(self._stream_ids):x}",
            make_subscription=variant.make_subscription,
        )

    async def _first_request(self, variant: Variant, context: rpc.Context) -> ClientRequest | None:
        """None: the client has closed the stream without one."""
        try:
            async with asyncio.timeout(0 if self._is_draining else None) as limit:
                self._opening.add(limit)
                return await read_request(context, variant)
        except TimeoutError:
            text = "the config server is going down: connect to another"
            raise ApiError(code_pb2.UNAVAILABLE, "DRAINING", text) from None
        finally:
            self._opening.discard(limit)

    async def _drained(self) -> None:
        await self._sleep(self._uniform(0, self._drain_jitter_s))

    @contextmanager
    def _registered(self, connection: DiscoveryConnection) -> Iterator[None]:
        self._connections.add(connection)
        if self._is_draining:
            connection.drain()
        try:
            yield
        finally:
            self._connections.remove(connection)

    def _trim_logs(self) -> None:
        """Forgets changes that every stream has taken in."""
        views = [view for view in self._cache.views if view.log_length > _LOG_LENGTH]
        if not views:
            return
        oldest = min((connection.stream.revision for connection in self._connections), default=self._cache.revision)
        for view in views:
            view.trim(oldest)


@contextmanager
def _told_of(identity: NodeIdentity) -> Iterator[None]:
    _log.info("node connected", node_id=identity.node_id, cluster=identity.cluster, version=identity.version)
    try:
        yield
    finally:
        _log.info("node disconnected", node_id=identity.node_id)


def _identity(node: ads_pb2.Node) -> NodeIdentity:
    if not node.id:
        raise ApiError(code_pb2.INVALID_ARGUMENT, "NODE_ID_MISSING", "the first discovery request needs a node.id")
    if len(node.id) > _MAX_NODE_ID:
        text = f"node.id may have {_MAX_NODE_ID} characters, not {len(node.id)}"
        raise ApiError(code_pb2.INVALID_ARGUMENT, "NODE_ID_TOO_LONG", text)
    for field, value in (("id", node.id), ("cluster", node.cluster)):
        if not value.isprintable():
            text = f"node.{field} may have no control characters, as {value[:_MAX_NODE_ID]!a} has"
            raise ApiError(code_pb2.INVALID_ARGUMENT, "NODE_ID_NOT_PRINTABLE", text)
    return NodeIdentity(
        node_id=node.id,
        cluster=node.cluster[:_MAX_NODE_ID],
        version=_metadata(node, VERSION_KEY),
        epoch=_metadata(node, _EPOCH_KEY),
    )


def _metadata(node: ads_pb2.Node, key: str) -> str:
    fields = node.metadata.fields
    return fields[key].string_value[:_MAX_NODE_ID] if key in fields else ""
