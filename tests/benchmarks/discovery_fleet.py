"""Nodes as a config server sees them, many in one process: `python -m tests.benchmarks.discovery_fleet HOST:PORT …`.

They ask for everything, acknowledge everything, report their status, and come back with what they hold when a stream
ends: to the next server, if there are several. Commands come as lines of JSON, and each is answered by a line: see
`fleet_process`.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click
from grpc import aio
from janua.config.v1.config_service_pb2 import NodeStatus
from janua.config.v1.node_service_pb2 import ReportStatusRequest
from janua.config.v1.node_service_pb2_grpc import NodeServiceStub
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node
from janua_resources.kinds import KINDS, SYNC_STATE_TYPE_URL

from config_server.discovery import SERVICE_NAME

_METHOD = f"/{SERVICE_NAME}/DeltaAggregatedResources"
_TYPES = (*(info.type_url for info in KINDS), SYNC_STATE_TYPE_URL)
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # each node has a connection of its own
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_REPORT_S = 30.0
# Of a message beside its content: gRPC's prefix, and the head of an HTTP/2 frame.
_FRAMING_BYTES = 14


class Fleet:
    """What all nodes have in common: what they hold is the same, and is kept once."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._at = [0] * len(addresses)
        self._tasks: list[asyncio.Task[None]] = []
        self._held: dict[str, dict[str, str]] = {type_url: {} for type_url in _TYPES}
        self._openings: dict[str, bytes] = {}
        self._changed = asyncio.Condition()
        self._acknowledged: Counter[int] = Counter()
        self.synced = 0
        self.resources = 0
        self.bytes = 0
        self.last = 0.0
        self.last_sync = 0.0

    @property
    def seen(self) -> dict[str, Any]:
        """As `fleet_process.Seen` has it."""
        return {
            "synced": self.synced,
            "resources": self.resources,
            "bytes": self.bytes,
            "last": self.last,
            "last_sync": self.last_sync,
            "at": self._at,
        }

    async def connect(self, nodes: int) -> None:
        """More nodes, which hold what the first has been sent; none if it was not there yet. Returns once they have
        synced."""
        first = len(self._tasks)
        self._openings = {type_url: self._opening(type_url) for type_url in _TYPES}
        self._tasks += [asyncio.create_task(self._node(first + number)) for number in range(nodes)]
        await self.has_synced(self.synced + nodes)

    def _opening(self, type_url: str) -> bytes:
        """The first request of a type, but for the node. Messages are joined by joining their bytes."""
        held = {} if type_url == SYNC_STATE_TYPE_URL else self._held[type_url]
        return DeltaDiscoveryRequest(type_url=type_url, initial_resource_versions=held).SerializeToString()

    async def _node(self, number: int) -> None:
        for turn in itertools.count(number):
            server = turn % len(self._addresses)
            async with aio.insecure_channel(self._addresses[server], options=_OPTIONS) as channel:
                reporting = asyncio.create_task(_report(channel, number))
                self._at[server] += 1
                try:
                    await self._come_back(channel, number)
                finally:
                    self._at[server] -= 1
                    reporting.cancel()

    async def _come_back(self, channel: aio.Channel, number: int) -> None:
        """One stream after the other, as long as there is no other server to go to."""
        while True:
            try:
                await self._stream(channel, number)
            except aio.AioRpcError:
                await asyncio.sleep(random.uniform(0.01, 0.2))
            if len(self._addresses) > 1:
                return

    async def _stream(self, channel: aio.Channel, number: int) -> None:
        call: Any = channel.stream_stream(_METHOD)()
        node = DeltaDiscoveryRequest(node=Node(id=_id(number))).SerializeToString()
        for type_url in _TYPES:
            await call.write(node + self._openings[type_url])
        while isinstance(data := await call.read(), bytes):
            response = DeltaDiscoveryResponse.FromString(data)
            answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            acknowledgement = answer.SerializeToString()
            await call.write(acknowledgement)
            self.bytes += len(data) + len(acknowledgement) + 2 * _FRAMING_BYTES
            await self._answered(number, response)

    async def _answered(self, number: int, response: DeltaDiscoveryResponse) -> None:
        self.resources += len(response.resources)
        self.last = time.monotonic()
        if response.type_url == SYNC_STATE_TYPE_URL:
            self.resources -= 1  # a mark, and no resource
            self.synced += 1
            self.last_sync = self.last
        elif response.resources:
            self._acknowledged[int(response.system_version_info)] += 1
        if number == 0:
            held = self._held[response.type_url]
            held.update((resource.name, resource.version) for resource in response.resources)
        async with self._changed:
            self._changed.notify_all()

    async def has_synced(self, count: int) -> None:
        """Waits until so many first syncs have ended, of all streams that there were."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.synced >= count)

    async def has(self, revision: int) -> None:
        """Waits until the last node has acknowledged what changed in `revision`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._acknowledged[revision] >= len(self._tasks))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _report(channel: aio.Channel, number: int) -> None:
    """As real nodes do."""
    stub = NodeServiceStub(channel)
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * _REPORT_S)
        try:
            await stub.ReportStatus(ReportStatusRequest(node_id=_id(number), status=NodeStatus()))
        except aio.AioRpcError:
            continue


def _id(number: int) -> str:
    return f"node-{number:05}"


async def _serve(fleet: Fleet) -> None:
    """Carries out commands until there are no more."""
    commands: dict[str, Callable[[int], Awaitable[None]]] = {
        "connect": fleet.connect,
        "has": fleet.has,
        "has_synced": fleet.has_synced,
        "look": lambda _: asyncio.sleep(0),
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, argument = json.loads(line)
        await commands[command](argument)
        click.echo(json.dumps(fleet.seen))
    await fleet.close()


if __name__ == "__main__":
    asyncio.run(_serve(Fleet(sys.argv[1:])))
