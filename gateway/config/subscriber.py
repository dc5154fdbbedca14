"""The discovery client: follows one config server after another and hands what they send to a sink.

What is to be said on a stream is decided in `stream` and `subscription`; here stand the connection and the wire.
Source: the xDS protocol, "Incremental xDS".
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from types import MappingProxyType
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio
from janua.config.v1 import config_service_pb2 as config_pb2
from janua.config.v1.sync_state_pb2 import SyncState
from janua.discovery.v3 import ads_pb2
from janua_resources.kinds import KINDS

from gateway.bootstrap import ServerCredentials, ServerCredentialsError
from gateway.config.back_off import BackOff
from gateway.config.connection_status import ConnectionStatus
from gateway.config.discovery import UNDECODABLE, DiscoveryRequest, DiscoveryResponse, SyncMark, error_message, one_line
from gateway.config.resources import RESOURCE_TYPES, SYNC_STATE, NodeIdentity, ReceivedResource, Rejection
from gateway.config.server_channel import open_channel
from gateway.config.sink import ConfigSink
from gateway.config.stream import Stream
from gateway.config.turns import in_turns
from gateway.config.updates import Updates

MAX_RECEIVED_BYTES: Final = 16 * 1024 * 1024
MAX_DETAILS: Final = 100

_MESSAGES: Final[Mapping[str, type[Message]]] = MappingProxyType(
    {SYNC_STATE: SyncState} | {info.type_url: info.message for info in KINDS}
)

# Another try at once would be answered in the same way.
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)

# How long the status of a stream that has ended may stay away.
_STATUS_S: Final = 0.1

_METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

_Call: TypeAlias = aio.StreamStreamCall[Message, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTimes:
    """When a server counts as dead, in seconds. By default that is noticed within 30."""

    connect_s: float = 5.0
    keepalive_s: float = 15.0
    keepalive_timeout_s: float = 10.0
    first_response_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _StreamEnd:
    code: str
    reason: str
    is_refused: bool = False


class Subscriber:
    """Keeps a subscription at one of the servers, for as long as `run` runs.

    `servers` are `host:port`, tried in turn; at least one. What the sink holds is not touched when a stream is lost.
    `random` gives a number from 0 to 1.
    """

    def __init__(
        self,
        servers: Sequence[str],
        node: NodeIdentity,
        sink: ConfigSink,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        times: ConnectionTimes | None = None,
        credentials: ServerCredentials | None = None,
    ) -> None:
        if not servers:
            raise ValueError("a subscriber needs the address of at least one config server")
        self.status = ConnectionStatus()
        self._servers = tuple(servers)
        self._node = node
        self._sink = sink
        self._sleep = sleep
        self._back_off = BackOff(random)
        self._times = times or ConnectionTimes()
        self._credentials = credentials or ServerCredentials()
        self._updates = Updates(sink, self.refresh_secret_names)
        self._stream: Stream | None = None
        self._channel: aio.Channel | None = None
        self._stream_is_up = asyncio.Condition()

    @property
    def channel(self) -> aio.Channel | None:
        """The connection to the server that has answered, for other calls to it. It closes with the stream."""
        return self._channel

    async def next_stream(self, seen: int) -> int:
        """Waits until a stream with a number higher than `seen` is up; gives its number, counted from 1."""
        async with self._stream_is_up:
            await self._stream_is_up.wait_for(lambda: self._channel is not None and self.status.counters.streams > seen)
        return self.status.counters.streams

    def refresh_secret_names(self) -> None:
        """Reads the sink's `secret_names` and asks for the difference. To be called when they may have changed."""
        if self._stream is not None:
            self._stream.refresh_secret_names()

    def recover(self, type_url: str, names: Collection[str]) -> None:
        """Lets the server hear that names, refused at their present version, are in use after all.

        They are asked for once more, and go through `update` again.
        """
        if self._stream is not None:
            self._stream.recover(type_url, names)

    async def run(self) -> None:
        """Follows the servers until cancelled. Errors of the sink come out of here."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._updates.run())
            tasks.create_task(self._stay_connected())

    async def _stay_connected(self) -> None:
        refusals = 0
        for server in cycle(self._servers):
            self.status.counters.attempts += 1
            end = await self._follow(server)
            self.status.down(server, end.code, end.reason, is_refused=end.is_refused)
            refusals = refusals + 1 if end.is_refused else 0
            all_refuse = refusals >= len(self._servers)
            await self._sleep(self._back_off.slow_s() if all_refuse else self._back_off.next_s())

    async def _follow(self, server: str) -> _StreamEnd:
        """Holds one stream open for as long as it lasts."""
        try:
            opened = open_channel(server, self._credentials, _channel_options(self._times))
        except ServerCredentialsError as error:
            return _StreamEnd("CREDENTIALS", str(error), is_refused=True)
        async with opened as channel:
            # Responses come as bytes: given one that it cannot parse, grpc would log a traceback and hand out None.
            call = channel.stream_stream(_METHOD, ads_pb2.DeltaDiscoveryRequest.SerializeToString, bytes)()
            stream = self._stream = Stream(self._sink)
            try:
                async with asyncio.TaskGroup() as tasks:
                    opening = tasks.create_task(self._open(stream))
                    writing = tasks.create_task(self._write(stream, call))
                    call.add_done_callback(partial(_stop_writing, writing))
                    end = await self._read(stream, call, partial(self._responded, server, channel))
                    opening.cancel()
                    writing.cancel()
            finally:
                stream.is_live = False
                self._stream = self._channel = None
        return end

    async def _responded(self, server: str, channel: aio.Channel) -> None:
        self.status.counters.responses += 1
        if self._channel is not None:
            return
        self._back_off.reset()
        self._channel = channel
        self.status.up(server)
        async with self._stream_is_up:
            self._stream_is_up.notify_all()

    async def _open(self, stream: Stream) -> None:
        """Lets each type's first request go once no update of an earlier stream is about to change what is held.

        The mark of the sync's end is asked for last, so that the server knows by then all that belongs to the sync.
        """
        async with asyncio.TaskGroup() as tasks:
            for type_url in RESOURCE_TYPES:
                tasks.create_task(self._open_type(stream, type_url))
        await self._open_type(stream, SYNC_STATE)

    async def _open_type(self, stream: Stream, type_url: str) -> None:
        await self._updates.settled(type_url)
        stream.open(type_url)

    async def _write(self, stream: Stream, call: _Call) -> None:
        node: ads_pb2.Node | None = _node_message(self._node, self._sink.epoch)
        try:
            while True:
                await stream.has_news.wait()
                stream.has_news.clear()
                for request in stream.requests():
                    self._count(request)
                    await call.write(_request_message(request, node))
                    node = None
        except (aio.AioRpcError, asyncio.InvalidStateError):
            # The call is over: the reader learns why.
            return

    def _count(self, request: DiscoveryRequest) -> None:
        if request.rejections:
            self.status.counters.nacks += 1
        elif request.nonce:
            self.status.counters.acks += 1

    async def _read(self, stream: Stream, call: _Call, on_response: Callable[[], Awaitable[None]]) -> _StreamEnd:
        try:
            # The first request of a wildcard is answered even when there is nothing to send.
            async with asyncio.timeout(self._times.first_response_s):
                data = await call.read()
            while isinstance(data, bytes):
                response = await _response_value(ads_pb2.DeltaDiscoveryResponse.FromString(data))
                await on_response()
                await self._updates.deliver(stream, response)
                data = await call.read()
        except aio.AioRpcError as error:
            return await _end_of(call, error)
        except DecodeError as error:
            return _StreamEnd("MALFORMED", one_line(f"not a discovery response: {error}"))
        except TimeoutError:
            return _StreamEnd("SILENT", f"no response within {self._times.first_response_s:g} s")
        return _StreamEnd("ENDED", "the server ended the stream")


async def _end_of(call: _Call, error: aio.AioRpcError) -> _StreamEnd:
    """Why the stream has ended. Where a write fails before grpcio has read the status, it says INTERNAL until then."""
    if error.code() is grpc.StatusCode.INTERNAL:
        await asyncio.sleep(_STATUS_S)
    code = await call.code()
    return _StreamEnd(code.name, one_line(await call.details() or ""), code in _REFUSALS)


def _stop_writing(writing: asyncio.Task[None], _: _Call) -> None:
    """Ends the writer with its call: a write that fails then would overwrite the status that the call ended with."""
    writing.cancel()


def _channel_options(times: ConnectionTimes) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
        ("grpc.keepalive_time_ms", int(times.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(times.keepalive_timeout_s * 1000)),
        # Alone, the option above bounds only what TCP leaves unacknowledged: an unanswered ping has its own time limit.
        ("grpc.http2.ping_timeout_ms", int(times.keepalive_timeout_s * 1000)),
        # An idle stream is pinged for as long as it lasts.
        ("grpc.http2.max_pings_without_data", 0),
        # This is also the time that a connection attempt may take.
        ("grpc.min_reconnect_backoff_ms", int(times.connect_s * 1000)),
        # The proxies of the environment are for the world outside; a config server stands near its nodes.
        ("grpc.enable_http_proxy", 0),
        # Each try connects anew, and no two subscribers of a process share a connection.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def _node_message(node: NodeIdentity, epoch: str) -> ads_pb2.Node:
    message = ads_pb2.Node(id=node.id, cluster=node.cluster, user_agent_name="janua", user_agent_version=node.version)
    message.metadata.update({"janua.version": node.version, "janua.epoch": epoch})
    return message


def _request_message(request: DiscoveryRequest, node: ads_pb2.Node | None) -> ads_pb2.DeltaDiscoveryRequest:
    message = ads_pb2.DeltaDiscoveryRequest(
        node=node,
        type_url=request.type_url,
        resource_names_subscribe=request.subscribe,
        resource_names_unsubscribe=request.unsubscribe,
        initial_resource_versions=request.initial_versions,
        response_nonce=request.nonce,
    )
    if request.rejections:
        message.error_detail.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
        message.error_detail.message = error_message(request.rejections)
        for rejection in request.rejections[:MAX_DETAILS]:
            message.error_detail.details.add().Pack(_rejection_message(rejection))
    return message


def _rejection_message(rejection: Rejection) -> config_pb2.Rejection:
    return config_pb2.Rejection(
        type_url=rejection.type_url,
        name=rejection.name,
        version=rejection.version,
        reason=rejection.reason,
        field=rejection.field,
        message=one_line(rejection.message),
    )


async def _response_value(message: ads_pb2.DeltaDiscoveryResponse) -> DiscoveryResponse:
    resources: list[ReceivedResource] = []
    undecodable: list[Rejection] = []
    async for resource in in_turns(message.resources):
        received = ReceivedResource(
            sys.intern(resource.resource.type_url), resource.name, resource.version, resource.resource.value
        )
        resources.append(received)
        if received.type_url == message.type_url and (fault := _undecodable(received)) is not None:
            undecodable.append(fault)
    return DiscoveryResponse(
        type_url=message.type_url,
        nonce=message.nonce,
        revision=message.system_version_info,
        resources=tuple(resources),
        removals=tuple(message.removed_resources),
        undecodable=tuple(undecodable),
        sync=None if undecodable else _sync_mark(message.type_url, resources),
    )


def _undecodable(resource: ReceivedResource) -> Rejection | None:
    message_type = _MESSAGES.get(resource.type_url)
    if message_type is None:
        return None
    try:
        message_type.FromString(resource.value)
    except DecodeError as error:
        return Rejection(
            type_url=resource.type_url,
            name=resource.name,
            version=resource.version,
            reason=UNDECODABLE,
            message=f"the content is not a {message_type.DESCRIPTOR.full_name}: {error}",
        )
    return None


def _sync_mark(type_url: str, resources: Sequence[ReceivedResource]) -> SyncMark | None:
    if type_url != SYNC_STATE or not resources or resources[0].type_url != SYNC_STATE:
        return None
    state = SyncState.FromString(resources[0].value)
    return SyncMark(state.epoch, state.revision)
