"""A config server that says what a test tells it to: real gRPC on a free port, no logic of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from grpc import aio
from janua.config.v1.config_service_pb2 import Rejection
from janua.config.v1.node_service_pb2 import ReportStatusRequest, ReportStatusResponse
from janua.config.v1.sync_state_pb2 import SyncState
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource
from janua_resources.kinds import kind_by_type_url

from gateway.config.resources import RESOURCE_TYPES, SECRET, SYNC_STATE

WILDCARD_TYPES = tuple(type_url for type_url in RESOURCE_TYPES if type_url != SECRET)
PATIENCE_S = 20

_Context: TypeAlias = aio.ServicerContext[Any, Any]

_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.http2.min_ping_interval_without_data_ms", 10),
    ("grpc.http2.max_ping_strikes", 0),
]


class ServerStream:
    """The server's end of one discovery stream."""

    def __init__(self, context: _Context) -> None:
        self._context = context
        self._nonces = 0
        self._end: asyncio.Future[tuple[grpc.StatusCode, str] | None] = asyncio.get_running_loop().create_future()
        self.is_closed = asyncio.Event()

    @property
    def peer(self) -> str:
        """The client's end of the connection."""
        return str(self._context.peer())

    async def receive(self) -> DeltaDiscoveryRequest:
        """The next request of the client."""
        async with asyncio.timeout(PATIENCE_S):
            request = await self._context.read()
        assert isinstance(request, DeltaDiscoveryRequest), "the client has ended the stream"
        return request

    async def receive_opening(
        self, types: Sequence[str] = (*WILDCARD_TYPES, SYNC_STATE)
    ) -> list[DeltaDiscoveryRequest]:
        """The first request of each of the types; fails when others come between."""
        requests = [await self.receive() for _ in types]
        assert [request.type_url for request in requests] == list(types)
        return requests

    async def send(
        self,
        type_url: str,
        resources: Iterable[Resource] = (),
        removed: Iterable[str] = (),
        revision: str = "1",
    ) -> str:
        """Sends a response and gives its nonce."""
        self._nonces += 1
        response = DeltaDiscoveryResponse(
            type_url=type_url,
            nonce=f"nonce-{self._nonces}",
            system_version_info=revision,
            resources=resources,
            removed_resources=removed,
        )
        await self._context.write(response.SerializeToString())
        return response.nonce

    async def send_raw(self, data: bytes) -> None:
        """Sends bytes in the place of a response."""
        await self._context.write(data)

    async def send_synced(self, epoch: str = "epoch", revision: int = 1) -> str:
        """Says that the sync is complete."""
        return await self.send(SYNC_STATE, [sync_state(epoch, revision)])

    async def exchange(
        self, type_url: str, resources: Iterable[Resource] = (), removed: Iterable[str] = ()
    ) -> DeltaDiscoveryRequest:
        """Sends a response and gives the request that answers it, which must be the next."""
        nonce = await self.send(type_url, resources, removed)
        answer = await self.receive()
        assert (answer.type_url, answer.response_nonce) == (type_url, nonce)
        return answer

    async def exchange_opening(self) -> None:
        """Takes the opening and answers it with one empty response, which makes the client count as connected."""
        await self.receive_opening()
        await self.exchange(SYNC_STATE)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, details: str = "ended by the test") -> None:
        """Ends the stream with a status."""
        self._end.set_result((code, details))

    async def closed(self) -> None:
        """Waits until the stream is over on this side."""
        async with asyncio.timeout(PATIENCE_S):
            await self.is_closed.wait()

    async def serve(self) -> None:
        """Keeps the stream open until it is ended."""
        try:
            if (status := await self._end) is not None and status[0] is not grpc.StatusCode.OK:
                await self._context.abort(*status)
        finally:
            self.is_closed.set()


class ScriptedServer:
    """Streams in the order in which they are opened, and the status reports. Each report is answered by `on_report`."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: asyncio.Queue[ServerStream] = asyncio.Queue()
        self.reports: asyncio.Queue[ReportStatusRequest] = asyncio.Queue()
        self.on_report: Callable[[_Context], Awaitable[None]] | None = None
        self._server: aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts, or starts again at the same port."""
        self._server = aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "envoy.service.discovery.v3.AggregatedDiscoveryService",
                    {
                        "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                            self._stream, request_deserializer=DeltaDiscoveryRequest.FromString
                        )
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "janua.config.v1.NodeService",
                    {
                        "ReportStatus": grpc.unary_unary_rpc_method_handler(
                            self._report,
                            request_deserializer=ReportStatusRequest.FromString,
                            response_serializer=ReportStatusResponse.SerializeToString,
                        )
                    },
                ),
            ]
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Cuts every stream."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def next_stream(self) -> ServerStream:
        """The next stream that a client opens."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.streams.get()

    async def next_report(self) -> ReportStatusRequest:
        """The next status report."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reports.get()

    async def _stream(self, _: object, context: _Context) -> None:
        stream = ServerStream(context)
        self.streams.put_nowait(stream)
        await stream.serve()

    async def _report(self, request: ReportStatusRequest, context: _Context) -> ReportStatusResponse:
        self.reports.put_nowait(request)
        if self.on_report is not None:
            await self.on_report(context)
        return ReportStatusResponse()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """A server that is stopped in the end."""
    server = ScriptedServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def resource(type_url: str, name: str, version: str = "v1", *, value: bytes | None = None, **fields: Any) -> Resource:
    """A resource as it stands in a response."""
    info = kind_by_type_url(type_url)
    assert info is not None
    message = Resource(name=name, version=version)
    message.resource.type_url = type_url
    message.resource.value = info.message(name=name, **fields).SerializeToString() if value is None else value
    return message


def sync_state(epoch: str, revision: int) -> Resource:
    """The mark of a sync's end."""
    message = Resource(name="sync", version=f"{epoch}/{revision}")
    message.resource.Pack(SyncState(epoch=epoch, revision=revision))
    return message


def rejections(request: DeltaDiscoveryRequest) -> list[Rejection]:
    """What a NACK names."""
    assert request.HasField("error_detail"), "not a NACK"
    found = []
    for detail in request.error_detail.details:
        rejection = Rejection()
        assert detail.Unpack(rejection)
        found.append(rejection)
    return found


def is_ack(request: DeltaDiscoveryRequest) -> bool:
    """Whether a request answers a response and accepts it."""
    return bool(request.response_nonce) and not request.HasField("error_detail")


def versions(request: DeltaDiscoveryRequest) -> Mapping[str, str]:
    """What a request lists as held."""
    return dict(request.initial_resource_versions)
